"""`ns-talking export`: the Gaussians of a frame, and what it refuses."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.portraits import untrained_portrait

from nerfstudio_talking.cli.export import Export
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.splatting.ply import read_ply
from nerfstudio_talking.splatting.projection import project_gaussians
from nerfstudio_talking.splatting.rasterize import rasterize


@pytest.fixture(scope="module")
def portrait(talking_dataset) -> Any:
    """Untrained, but as it begins on the person; the modes answer to the conditions."""
    from nerfstudio_talking.method_configs.splat_portrait import splat_portrait_small

    torch.manual_seed(0)
    config: Any = copy.deepcopy(splat_portrait_small.config.pipeline)
    config.datamanager.data, config.model.max_gaussians = talking_dataset, 600
    pipeline = config.setup(device="cpu", test_mode="inference").eval()
    pipeline.model.prepare_training()
    return pipeline.model


@pytest.fixture
def loaded(portrait, monkeypatch) -> SimpleNamespace:
    """What the configuration is read as."""
    # the module that reads runs imports all of nerfstudio's methods
    found = SimpleNamespace(model=portrait)
    loader = SimpleNamespace(load_portrait=lambda *_: (None, found.model))
    monkeypatch.setitem(sys.modules, "nerfstudio_talking.inference.checkpoints", loader)
    return found


@pytest.mark.parametrize("axes", ["y-down", "y-up"])
def test_the_file_shows_the_frame(portrait, loaded, tmp_path, axes):
    """The exported Gaussians over the model's background are the frame that the model renders."""
    output = tmp_path / "new folder" / "frame.ply"
    Export(Path("config.yml"), output, 5, axes).main()
    assert [path.name for path in output.parent.iterdir()] == ["frame.ply"]
    assert b"comment synthetic media" in output.read_bytes()[:200]
    track, camera = portrait.track, portrait.track.camera
    gaussians = read_ply(output)
    if axes == "y-down":
        assert gaussians.means[:, 2].mean() > -portrait.gaussians_of(5).means[:, 2].mean() - 1e-6
        gaussians = gaussians.transform(torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))[:3])
    pose = torch.from_numpy(track.camera_to_worlds[5])
    seen = project_gaussians(gaussians.means, gaussians.covariances, pose, camera)
    arguments = seen.means, seen.conics, gaussians.opacities, gaussians.colors, seen.depths, seen.radii
    with torch.no_grad():
        background = portrait.backdrop[0].permute(1, 2, 0)
        image = rasterize(*arguments, camera.width, camera.height, background, "torch").image
    view = camera.to_nerfstudio(track.camera_to_worlds[5:6], track.times[5:6])
    torch.testing.assert_close(image.clamp(0, 1), portrait.get_outputs_for_camera(view)["rgb"], atol=1e-3, rtol=0)
    assert (image - background).abs().max() > 0.1


def test_the_torso_moves_with_the_camera_and_the_head_stays(portrait):
    first, later = portrait.gaussians_of(0), portrait.gaussians_of(6)
    head, torso = portrait.groups["head"].count, portrait.groups["torso"].count
    moved = (later.means - first.means).norm(dim=1)
    assert len(moved) == head + torso + portrait.groups["mouth"].count
    assert moved[:head].median() < 0.003 < 0.006 < moved[-torso:].median()


@pytest.mark.parametrize("frame", [-1, 22])
def test_a_frame_out_of_range_is_refused(loaded, tmp_path, frame):
    with pytest.raises(TalkingError, match=rf"--frame: expected 0 to 21; found {frame}\."):
        Export(Path("config.yml"), tmp_path / "frame.ply", frame).main()
    assert not list(tmp_path.iterdir())


def test_a_portrait_without_gaussians_is_refused(loaded, talking_dataset, tmp_path):
    loaded.model = untrained_portrait(talking_dataset)
    with pytest.raises(TalkingError, match=r"a splat portrait; found a portrait without Gaussians \(TalkingPortrait"):
        Export(Path("config.yml"), tmp_path / "frame.ply").main()


def test_an_output_that_cannot_be_written_is_refused(loaded, tmp_path):
    with pytest.raises(TalkingError, match=r"ending in \.ply"):
        Export(Path("config.yml"), tmp_path / "frame.obj").main()
    (tmp_path / "folder.ply").mkdir()
    with pytest.raises(TalkingError, match="found a folder"):
        Export(Path("config.yml"), tmp_path / "folder.ply").main()
    (tmp_path / "file").touch()
    with pytest.raises(TalkingError, match="a file where a folder belongs"):
        Export(Path("config.yml"), tmp_path / "file" / "frame.ply").main()
