from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.videos import NUM_RENDERED, NUM_TRUE, sample_frames, write_video_pair
from PIL import Image

from nerfstudio_talking.cli.inspection.score import Score
from nerfstudio_talking.cli.main import entrypoint
from nerfstudio_talking.metrics.settings import ScoreSettings
from nerfstudio_talking.reports import score_report


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_video_pair(tmp_path_factory.mktemp("clips"), sample_frames())


def test_score_on_the_command_line(clips: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, report = tmp_path / "new" / "scores.json", tmp_path / "report"
    entrypoint(["score", str(clips["small"]), str(clips["gt"]), "--json", str(out), "--report", str(report)])
    record = json.loads(out.read_text())
    scores = record["scores"]
    assert 15 < scores["psnr"] < 35 and 0.2 < scores["ssim"] < 0.95
    assert scores["lmd"] > 0.1 and scores["aue_geometry_lower"] > 0 and scores["faces_missed"] == 0
    assert 0.5 < scores["lip_correlation"] < 1
    assert scores["torso_flicker"] > 3 and scores["background_flicker"] > scores["gt_background_flicker"] + 2
    assert scores["torso_jitter"] > scores["gt_torso_jitter"]
    assert scores["torso_jitter_error"] > 0
    assert all(np.isfinite(value) for value in scores.values())
    assert len(record["per_frame"]["psnr"]) == NUM_RENDERED == len(record["per_frame"]["lips"])
    assert np.mean(record["per_frame"]["psnr"]) == pytest.approx(scores["psnr"])
    notes = " ".join(record["notes"])
    assert f"{NUM_RENDERED} frames rendered, {NUM_TRUE} true" in notes
    assert "160x160" in notes and "192x192" in notes and "audio of the ground truth" in notes
    printed = " ".join(capsys.readouterr().out.split())
    assert "LMD (px)" in printed and "syncnet left out" in printed
    with Image.open(report / score_report.SHEET_NAME) as image:
        assert image.width > 2 * 3 * 200 and image.height > 200
    page = (report / score_report.PAGE_NAME).read_text()
    assert "Lip opening" in page and "<polyline" in page and "worst frames" in page
    assert not list(report.glob("*.part"))


def test_bad_input_is_one_message(clips: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gt = str(clips["gt"])
    for arguments, words in (
        ([str(tmp_path / "absent.mp4"), gt], "no such file"),
        ([gt, gt, "--gt-frames", "900:"], "--gt-frames 900:"),
        ([gt, gt, "--syncnet", str(tmp_path / "absent.model")], "the weights of SyncNet"),
        ([gt, gt, "--lpips-weights", gt], "AlexNet"),
    ):
        with pytest.raises(SystemExit) as exit_:
            entrypoint(["score", *arguments])
        assert exit_.value.code == 1
        assert words in " ".join(capsys.readouterr().out.split())


def test_the_command_has_the_settings_of_the_library() -> None:
    assert issubclass(Score, ScoreSettings)
    own = set(Score.__annotations__)
    assert own == {"rendered", "gt", "json", "report"} and not own & set(ScoreSettings.__annotations__)


def test_the_command_starts_without_heavy_imports() -> None:
    program = (
        "import nerfstudio_talking.cli.inspection.score, sys;"
        "print(sorted({'torch', 'torchmetrics', 'nerfstudio', 'mediapipe', 'lpips', 'cv2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_metrics_import_no_nerfstudio() -> None:
    program = (
        "import nerfstudio_talking.metrics.score_files, nerfstudio_talking.reports.score_report, sys;"
        "print(sorted({'nerfstudio', 'mediapipe', 'lpips'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
