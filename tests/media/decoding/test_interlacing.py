"""Interlaced video: two moments in alternate lines become one; progressive video that is flagged so stays as it is."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from nerfstudio_talking.media.decoding.interlacing import combing
from nerfstudio_talking.media.reading import probe_video, read_frames

COUNT = 12


def moments() -> list[np.ndarray]:
    """A soft texture that moves by 3 pixels from one field to the next."""
    noise = gaussian_filter(np.random.default_rng(0).standard_normal((96, 192)), 2.5, mode="wrap")
    image = (128 + 40 * noise / noise.std()).clip(0, 255).astype(np.uint8)
    return [np.repeat(np.roll(image, 3 * step, axis=1)[:, :128, None], 3, axis=2) for step in range(2 * COUNT)]


def write(path: Path, frames: list[np.ndarray], flagged: bool) -> None:
    with av.open(str(path), "w") as container:
        options = {"crf": "4"} | ({"flags": "+ilme+ildct"} if flagged else {})
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def weave(fields: list[np.ndarray]) -> list[np.ndarray]:
    """Frames of which the odd lines are one moment and the even lines the next: bottom field first, as written here."""
    woven = [first.copy() for first in fields[::2]]
    for frame, second in zip(woven, fields[1::2]):
        frame[::2] = second[::2]
    return woven


def error(path: Path, wanted: list[np.ndarray]) -> float:
    found = list(read_frames(path))
    assert len(found) == len(wanted)
    return float(np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(found[1:-1], wanted[1:-1])]))


def test_fields_are_separated(tmp_path: Path) -> None:
    fields = moments()
    write(tmp_path / "i.mp4", weave(fields), flagged=True)
    write(tmp_path / "unflagged.mp4", weave(fields), flagged=False)
    assert any("deinterlaced" in note for note in probe_video(tmp_path / "i.mp4").notes)
    combed = error(tmp_path / "unflagged.mp4", fields[::2])
    assert combed > 8
    assert error(tmp_path / "i.mp4", fields[::2]) < 0.3 * combed


def test_progressive_video_with_the_flag_is_not_touched(tmp_path: Path) -> None:
    frames = moments()[::2]
    write(tmp_path / "flagged.mp4", frames, flagged=True)
    with av.open(str(tmp_path / "flagged.mp4")) as container:
        raw = list(container.decode(video=0))
    assert all(frame.interlaced_frame for frame in raw)
    decoded = [frame.to_ndarray(format="rgb24", interpolation=0x40000 | 0x2000 | 4) for frame in raw]
    np.testing.assert_array_equal(list(read_frames(tmp_path / "flagged.mp4")), decoded)


def test_stripes_that_stand_still_are_no_combing() -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[::2] = 200
    assert combing(stripes) > 0.9
    assert combing(stripes, stripes) == 0
    assert combing(np.zeros((8, 8), np.uint8)) == 0


@pytest.mark.parametrize("stop", [1, 5])
def test_a_part_is_the_part_of_the_whole(tmp_path: Path, stop: int) -> None:
    write(tmp_path / "i.mp4", weave(moments()), flagged=True)
    whole = list(read_frames(tmp_path / "i.mp4"))
    np.testing.assert_array_equal(list(read_frames(tmp_path / "i.mp4", stop=stop)), whole[:stop])
