"""The watermark: invisible, found after coding and resizing, and not where it is not."""

from __future__ import annotations

import functools
import itertools
from fractions import Fraction
from io import BytesIO

import av
import cv2
import numpy as np
import pytest
from helpers.paths import SAMPLE
from scipy import ndimage

from nerfstudio_talking.media.reading import read_frames
from nerfstudio_talking.provenance.watermark import CELLS, DETECTED, WatermarkDetector, mark_frame, watermark_pattern


@functools.cache
def sample_frames() -> tuple[np.ndarray, ...]:
    """Frames of the sample clip, 256 pixels wide."""
    frames = itertools.islice(read_frames(SAMPLE / "sample.mp4"), 60)
    return tuple(cv2.resize(frame, (256, 256), interpolation=cv2.INTER_AREA) for frame in frames)


def grain(seed: int, count: int = 20) -> list[np.ndarray]:
    """Smooth random colours under noise."""
    rng = np.random.default_rng(seed)
    plain = 128 + 300 * ndimage.gaussian_filter(rng.normal(size=(128, 128, 3)), (4, 4, 0))
    return [np.clip(plain + rng.normal(0, 2, plain.shape), 0, 255).astype(np.uint8) for _ in range(count)]


def coded(frames: list[np.ndarray], crf: int, side: int) -> list[np.ndarray]:
    """What H.264 leaves of the frames, at another size."""
    memory = BytesIO()
    with av.open(memory, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.width = stream.height = side
        stream.pix_fmt, stream.options = "yuv420p", {"crf": str(crf)}
        for frame in frames:
            small = cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(small, format="rgb24")))
        container.mux(stream.encode(None))
    memory.seek(0)
    with av.open(memory) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def score_of(frames: list[np.ndarray]) -> float:
    detector = WatermarkDetector()
    for frame in frames:
        detector.add(frame)
    assert detector.num_frames == len(frames)
    assert detector.is_found == (detector.score() > DETECTED)
    return detector.score()


def test_a_frame_changes_by_a_level_in_a_third_of_its_cells():
    frame = np.full((100, 130, 3), 90, np.uint8)
    change = mark_frame(frame).astype(int) - frame
    rows, columns = np.arange(100) * CELLS // 100, np.arange(130) * CELLS // 130
    assert np.array_equal(change, np.repeat(watermark_pattern()[rows][:, columns, None], 3, 2))
    assert np.mean(watermark_pattern() != 0) == pytest.approx(1 / 3, abs=0.02)
    assert abs(int(watermark_pattern().sum())) < 60  # neither brighter nor darker as a whole


def test_black_and_white_stay_in_range():
    for level in (0, 255):
        marked = mark_frame(np.full((64, 64, 3), level, np.uint8)).astype(int)
        assert np.abs(marked - level).max() == 1


def test_the_psnr_of_36_db_falls_by_less_than_a_tenth():
    truth = sample_frames()[0]
    noise = np.random.default_rng(1).normal(0, 255 * 10 ** (-36 / 20), truth.shape)
    shown = np.clip(np.round(truth + noise), 0, 255).astype(np.uint8)
    before, after = (np.mean((x.astype(float) - truth) ** 2) for x in (shown, mark_frame(shown)))
    assert 0 < 10 * np.log10(after / before) < 0.1


@pytest.mark.parametrize(("crf", "side"), [(18, 256), (23, 256), (23, 192)])
def test_it_is_found_after_coding_and_resizing(crf, side):
    marked = [mark_frame(frame) for frame in sample_frames()]
    assert score_of(coded(marked, crf, side)) > DETECTED


@pytest.mark.parametrize("seed", range(8))
def test_it_is_not_found_where_it_is_not(seed):
    assert abs(score_of(grain(seed))) < 4


def test_the_clip_itself_has_none():
    assert abs(score_of(list(sample_frames()))) < 4


def test_frames_smaller_than_the_grid_are_refused():
    with pytest.raises(ValueError, match="64 pixels"):
        WatermarkDetector().add(np.zeros((64, 63, 3), np.uint8))
    assert WatermarkDetector().score() == 0
