"""Videos side by side as an animated image."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.videos import write_video
from PIL import Image

from nerfstudio_talking.io.errors import TalkingError


@pytest.fixture(scope="module")
def comparison() -> Any:
    return runpy.run_path(str(ROOT / "scripts/benchmarks/figures/comparison.py"))["Comparison"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A red and a blue one of 48x32 that become brighter, 20 and 30 frames at 25 per second."""
    folder = tmp_path_factory.mktemp("videos")

    def colour(channel: int, count: int) -> list[np.ndarray]:
        levels = np.linspace(100, 250, count)[:, None, None, None] * np.eye(3)[channel]
        return list(np.broadcast_to(levels, (count, 32, 48, 3)).round().astype(np.uint8))

    return (
        write_video(folder / "red.mp4", colour(0, 20), with_audio=False),
        write_video(folder / "blue.mp4", colour(2, 30), with_audio=False),
    )


def test_videos_stand_side_by_side_under_their_labels(comparison, videos, tmp_path):
    comparison(videos, ("red", "blue"), tmp_path / "both.webp", height=64).main()
    with Image.open(tmp_path / "both.webp") as image:
        # 0.8 s of the shorter video at 12.5 frames per second, each 96x64
        assert image.n_frames == 10
        assert image.size == (96 + 4 + 96, 64 + 26)
        pixels = np.asarray(image.convert("RGB")).astype(int)
    left, right = pixels[40:80, 10:86].mean((0, 1)), pixels[40:80, 110:186].mean((0, 1))
    assert np.abs(left - (100, 0, 0)).max() < 15 and np.abs(right - (0, 0, 100)).max() < 15
    assert pixels[:26].min() < 100 < pixels[:26].mean(), "black letters on white"


def test_quality_is_lowered_until_it_fits_or_it_is_refused(comparison, videos, tmp_path):
    with pytest.raises(TalkingError, match="quality 20"):
        comparison(videos, ("red", "blue"), tmp_path / "both.webp", max_megabytes=1e-4).main()
    assert not list(tmp_path.iterdir())


def test_each_video_needs_a_label_and_frames(comparison, videos, tmp_path):
    with pytest.raises(TalkingError, match="1 labels, 2 videos"):
        comparison(videos, ("red",), tmp_path / "both.webp").main()
    with pytest.raises(TalkingError, match=r"more than 3.0 s; found 0.8 s"):
        comparison(videos, ("red", "blue"), tmp_path / "both.webp", start=3.0).main()
