"""The examples and the notebook of the docs, run as they are at tiny size."""

from __future__ import annotations

import copy
import json
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import pytest
from helpers.paths import ROOT, SAMPLE
from helpers.videos import write_video
from PIL import Image

from nerfstudio_talking.media.reading import probe_video, read_audio, read_frames

EXAMPLES = ROOT / "docs" / "examples"
TINY = {"size": 64, "frames": "0:30", "refine_poses": False, "report": False, "audio_model": "logmel"}
"""Options of processing."""


def example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="module")
def portrait(folder: Path) -> Path:
    """A portrait trained by the first example."""
    return example("process_and_train")["main"](SAMPLE / "sample.mp4", folder, steps=12, **TINY)


@pytest.fixture(scope="module")
def voice(folder: Path) -> Path:
    """Less than a second of the other voice."""
    import soundfile

    soundfile.write(folder / "voice.wav", read_audio(SAMPLE / "other_voice.flac")[8000:20800], 16000)
    return folder / "voice.wav"


@pytest.mark.slow
def test_process_and_train(portrait):
    assert portrait.is_file()
    assert [path.name for path in (portrait.parent / "nerfstudio_models").iterdir()] == ["step-000000011.ckpt"]


@pytest.mark.slow
def test_drive_portrait(portrait, voice, folder):
    change = example("drive_portrait")["main"](portrait, voice, folder / "spoken.mp4")
    assert 0 < change < 20
    with av.open(str(folder / "spoken.mp4")) as file:
        assert len(file.streams.audio) == 1
        assert sum(1 for _ in file.decode(video=0)) == 20


@pytest.mark.slow
def test_stream_microphone(portrait, voice):
    times = example("stream_microphone")["main"](portrait, voice)
    assert np.allclose(times, np.arange(20) / 25)


@pytest.mark.slow
def test_score_video(folder):
    """Frames of the clip itself, darker: an error that is known."""
    frames = [
        np.clip(frame.astype(int) - 10, 0, 255).astype(np.uint8) for frame in read_frames(SAMPLE / "sample.mp4", stop=8)
    ]
    write_video(folder / "darker.mp4", frames)
    scores = example("score_video")["main"](folder / "darker.mp4", SAMPLE / "sample.mp4", gt_frames="0:8")
    assert scores["psnr"] == pytest.approx(20 * np.log10(255 / 10), abs=0.7)


@pytest.mark.slow
def test_use_splats(portrait, folder):
    side = example("use_splats")["main"](portrait, folder / "face.ply", folder / "side.png")
    info = probe_video(SAMPLE / "sample.mp4")
    assert side.shape == (64, round(64 * info.width / info.height), 3)
    assert np.array_equal(np.asarray(Image.open(folder / "side.png")), side)
    assert (folder / "face.ply").read_bytes().startswith(b"ply\n")


def test_new_audio_feature(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from nerfstudio_talking.audio.features import kinds, registry

    whole, streamed = example("new_audio_feature")["main"](SAMPLE / "other_voice.flac")
    assert whole.shape[1] == 8 and np.allclose(whole, streamed, atol=1e-4)
    assert np.allclose(whole.mean(0), 0, atol=1e-3) and np.allclose(whole.std(0), 1, atol=1e-3)
    # as a file of the registry's folder
    (tmp_path / "bands.py").write_text((EXAMPLES / "new_audio_feature.py").read_text())
    monkeypatch.setattr(kinds, "__path__", [*kinds.__path__, str(tmp_path)])
    registry.feature_kinds.cache_clear()
    try:
        assert registry.find_computed_kind("bands").channels == 8
    finally:
        monkeypatch.undo()
        registry.feature_kinds.cache_clear()
        sys.modules.pop(f"{kinds.__name__}.bands", None)


@pytest.mark.slow
def test_add_method(talking_dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from nerfstudio.plugins.registry import discover_methods

    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("NERFSTUDIO_METHOD_CONFIGS", "glow=add_method:glow")
    methods, descriptions = discover_methods()
    assert "glow" in descriptions
    config = copy.deepcopy(methods["glow"])
    config.pipeline.datamanager.data, config.output_dir, config.max_num_iterations = talking_dataset, tmp_path, 4
    config.experiment_name, config.timestamp, config.vis, config.machine.device_type = "x", "t", "tensorboard", "cpu"
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    before = trainer.pipeline.model.rgba.detach().clone()
    trainer.train()
    assert not np.array_equal(before, trainer.pipeline.model.rgba.detach())


@pytest.mark.slow
def test_the_notebook(portrait, voice, folder, monkeypatch: pytest.MonkeyPatch):
    """Its cells, as Jupyter would run them; the cell with the tag `parameters` is the test's."""
    display = ModuleType("IPython.display")
    display.HTML = str  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    notebook = json.loads((EXAMPLES / "quickstart.ipynb").read_text(encoding="utf-8"))
    parameters = {"VIDEO": SAMPLE / "sample.mp4", "VOICE": voice, "FOLDER": folder, "PROCESS": TINY, "STEPS": 4}
    names: dict[str, Any] = {}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in cells), "outputs are not committed"
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"quickstart.ipynb, code cell {number}", "exec"), names)
        if "parameters" in cell["metadata"].get("tags", []):
            assert parameters.keys() <= names.keys()
            names |= parameters
    assert names["spoken"].is_file() and len(names["frames"]) == 30
    assert names["scores"]["psnr"] > 8


def test_every_example_is_run():
    text = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.iterdir():
        if path.is_file():
            assert path.stem in text, path
