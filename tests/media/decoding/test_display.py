"""Frames as they are meant to be seen: all orientations of a display matrix, pixels that are not square."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from nerfstudio_talking.media.reading import probe_video, read_frames
from nerfstudio_talking.media.writing import VideoWriter

HEIGHT, WIDTH = 32, 48


def corners() -> np.ndarray:
    """Another colour in each quarter."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:16, :24], image[:16, 24:] = (200, 60, 60), (60, 200, 60)
    image[16:, :24], image[16:, 24:] = (60, 60, 200), (200, 200, 200)
    return image


def set_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Write a display matrix into an mp4: (x, y) is shown at (a x + c y, b x + d y)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    one = 1 << 16
    data[at : at + 36] = np.array([a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30], ">i4").tobytes()
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((1, 0, 0, 1), lambda image: image),
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
        ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),  # clockwise: the left edge comes to the top
        ((0, -1, 1, 0), np.rot90),
        ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda image: np.rot90(image, 2).swapaxes(0, 1)),
    ],
)
def test_every_orientation(tmp_path, matrix, shown):
    path = tmp_path / "phone.mp4"
    with VideoWriter(path, 25, WIDTH, HEIGHT, crf=2) as writer:
        writer.write(corners())
    set_matrix(path, *matrix)
    expected = shown(corners())
    info = probe_video(path)
    assert (info.height, info.width) == expected.shape[:2]
    frame = next(iter(read_frames(path)))
    assert frame.shape == expected.shape
    assert np.abs(frame.astype(int) - expected).mean() < 4


@pytest.mark.parametrize(
    ("aspect", "turned", "size"),
    [
        (Fraction(4, 3), False, (64, 32)),
        (Fraction(8, 9), False, (48, 36)),
        (Fraction(4, 3), True, (32, 64)),
        (Fraction(1, 1), False, (48, 32)),
        (Fraction(1000, 1001), False, (48, 32)),
        (Fraction(200, 1), False, (48, 32)),  # an error of the file
    ],
)
def test_pixels_become_square(tmp_path, aspect, turned, size):
    path = tmp_path / "dv.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
        image[:, :12] = 220  # a quarter of the width
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    if turned:
        set_matrix(path, 0, 1, -1, 0)
    info = probe_video(path)
    assert (info.width, info.height) == size
    assert any("not square" in note for note in info.notes) == (size != (48, 32))
    frame = next(iter(read_frames(path)))
    assert frame.shape == (size[1], size[0], 3)
    bright = (frame.mean(axis=(1, 2)) if turned else frame.mean(axis=(0, 2))) > 130
    assert bright.sum() == pytest.approx(len(bright) / 4, abs=1)
