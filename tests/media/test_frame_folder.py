"""Rendered frames on disk: filled, resumed, recorded, read and checked."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.frame_folder import RECORD_NAME, RenderedRecord, fill_folder, read_record, read_rendered

RECORD = RenderedRecord(checkpoint="c" * 64, sequence="s" * 64, num_frames=3, train_fraction=10 / 11)


def level_of(frame: int) -> np.ndarray:
    return np.full((4, 6, 3), 10 * frame, np.uint8)


def fill(folder: Path, record: RenderedRecord = RECORD, broken: int = -1) -> list[int]:
    """Numbers of the frames that were rendered; frame `broken` fails."""
    rendered = []

    def render(frame: int) -> np.ndarray:
        if frame == broken:
            raise KeyboardInterrupt
        rendered.append(frame)
        return level_of(frame)

    with contextlib.suppress(KeyboardInterrupt):
        fill_folder(folder, record, render)
    return rendered


def test_frames_come_back_with_their_record(tmp_path):
    assert fill(tmp_path / "new" / "r") == [0, 1, 2]
    frames = read_rendered(tmp_path / "new" / "r", 3, 4, 6)
    assert frames[:, 0, 0, 0].tolist() == [0, 10, 20]
    assert read_record(tmp_path / "new" / "r") == RECORD
    assert sorted(path.name for path in (tmp_path / "new" / "r").iterdir())[-1] == RECORD_NAME
    assert fill(tmp_path / "new" / "r") == []


def test_an_interrupted_rendering_is_unfinished_and_resumes(tmp_path):
    assert fill(tmp_path, broken=2) == [0, 1]
    assert not (tmp_path / RECORD_NAME).exists()
    with pytest.raises(TalkingError, match="unfinished"):
        read_record(tmp_path)
    assert fill(tmp_path) == [2]
    assert read_record(tmp_path) == RECORD


@pytest.mark.parametrize("broken", [-1, 2])
def test_frames_of_two_checkpoints_are_never_mixed(tmp_path, broken):
    fill(tmp_path, broken=broken)
    with pytest.raises(TalkingError, match="another checkpoint"):
        fill(tmp_path, replace(RECORD, checkpoint="d" * 64))


def test_images_of_unknown_origin_are_left_alone(tmp_path):
    fill(tmp_path)
    (tmp_path / RECORD_NAME).unlink()
    assert read_record(tmp_path) is None
    with pytest.raises(TalkingError, match="3 images without"):
        fill(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"checkpoint": "c"})])
def test_a_broken_record_is_named(tmp_path, text):
    (tmp_path / RECORD_NAME).write_text(text)
    with pytest.raises(TalkingError, match=RECORD_NAME):
        read_record(tmp_path)


def test_number_and_size_of_frames_are_checked(tmp_path):
    fill(tmp_path)
    for count, height, message in ((4, 4, "3 images"), (3, 5, "6x4")):
        with pytest.raises(TalkingError, match=message):
            read_rendered(tmp_path, count, height, 6)
    with pytest.raises(TalkingError, match="no such file"):
        read_rendered(tmp_path / "none", 3, 4, 6)


def test_a_video_is_read_and_checked(tmp_path):
    from nerfstudio_talking.media.writing import VideoWriter

    path = tmp_path / "r.mp4"
    with VideoWriter(path, 25, 16, 16) as writer:
        for level in (20, 120, 220):
            writer.write(np.full((16, 16, 3), level, np.uint8))
    frames = read_rendered(path, 3, 16, 16)
    np.testing.assert_allclose(frames.mean((1, 2, 3)), (20, 120, 220), atol=4)
    assert read_record(path) is None
    for count in (2, 4):
        with pytest.raises(TalkingError, match=r"r\.mp4"):
            read_rendered(path, count, 16, 16)
