"""Rendered frames of a sequence on disk: a folder of images with a record of their origin, or a video."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import make_folder, new_file, write_json
from nerfstudio_talking.media.images import read_image

RECORD_NAME = "rendered.json"
"""File beside the frames that says what rendered them; written once all of them are there."""
_UNFINISHED_NAME = "rendered.unfinished.json"
"""The same file while frames are missing."""
_IMAGES = (".png", ".jpg", ".jpeg")
_HINT = "Give one rendered frame for every frame of the dataset, in its size and order."


@dataclass(frozen=True)
class RenderedRecord:
    """What rendered the frames of a folder."""

    checkpoint: str
    """SHA-256 of the portrait's checkpoint."""
    sequence: str
    """Digest of the sequence that was rendered."""
    num_frames: int
    """Number of frames of the sequence."""
    train_fraction: float
    """Share of the frames that the portrait was trained on."""


def read_record(folder: Path) -> RenderedRecord | None:
    """The record of a folder of rendered frames; None where it has none, as that of another program.

    Raises:
        TalkingError: the rendering is unfinished, or the record cannot be read.
    """
    path = folder / RECORD_NAME
    if path.is_file():
        return _parse_record(path)
    if (folder / _UNFINISHED_NAME).is_file():
        hint = "Run the same `ns-talking render-frames` again; it resumes."
        raise TalkingError(folder, expected="all rendered frames", found="an unfinished rendering", hint=hint)
    return None


def fill_folder(
    folder: Path,
    record: RenderedRecord,
    render: Callable[[int], UInt8[np.ndarray, "height width 3"]],
    advance: Callable[[], object] = lambda: None,
) -> None:
    """Render the frames that a folder still lacks, as 000000.png and so on, and then write its record.

    Args:
        folder: created where it does not exist. Frames in it are kept if its record is the same.
        record: what renders the frames.
        render: renders the frame of a number.
        advance: called after each frame.

    Raises:
        TalkingError: the folder holds images of another origin.
    """
    finished, unfinished = folder / RECORD_NAME, folder / _UNFINISHED_NAME
    begun = next((path for path in (finished, unfinished) if path.is_file()), None)
    if begun is not None and _parse_record(begun) != record:
        found = "frames of another checkpoint or sequence"
        raise TalkingError(folder, expected="frames of this portrait", found=found, hint="Give another folder.")
    if begun is None:
        if count := len(_image_paths(folder)):
            found = f"{count} images without {RECORD_NAME}"
            raise TalkingError(folder, expected="a new folder", found=found, hint="Give another folder.")
        make_folder(folder)
        write_json(asdict(record), unfinished)
    for frame in range(record.num_frames):
        path = folder / f"{frame:06d}.png"
        if not path.is_file():
            image = Image.fromarray(render(frame))
            with new_file(path) as file:
                image.save(file, "png", compress_level=3)
        advance()
    if begun != finished:
        os.replace(unfinished, finished)


def read_rendered(source: Path, num_frames: int, height: int, width: int) -> UInt8[np.ndarray, "frames height width 3"]:
    """Read all rendered frames of a sequence.

    Args:
        source: a folder of images, taken in the order of their names, or a video.
        num_frames: number of frames of the sequence.
        height: height of a frame, pixels.
        width: width of a frame, pixels.

    Raises:
        TalkingError: there is no such source, or its frames have another number or size.
    """
    frames = np.empty((num_frames, height, width, 3), dtype=np.uint8)
    expected = f"{num_frames} frames of {width}x{height}"

    def put(index: int, image: np.ndarray, name: Path | str) -> None:
        if image.shape != frames.shape[1:]:
            found = f"{image.shape[1]}x{image.shape[0]}"
            raise TalkingError(name, expected=expected, found=found, hint=_HINT)
        frames[index] = image

    if source.is_dir():
        paths = _image_paths(source)
        if len(paths) != num_frames:
            raise TalkingError(source, expected=expected, found=f"{len(paths)} images", hint=_HINT)
        with ThreadPoolExecutor() as pool:  # decoding releases the interpreter's lock
            for _ in pool.map(lambda item: put(item[0], read_image(item[1], "RGB"), item[1]), enumerate(paths)):
                pass
        return frames
    if not source.is_file():
        raise TalkingError(source, expected=expected, found="no such file or folder", hint=_HINT)
    from nerfstudio_talking.media.reading import read_frames

    count = 0
    for count, image in enumerate(read_frames(source, stop=num_frames + 1), start=1):
        if count <= num_frames:
            put(count - 1, image, source)
    if count != num_frames:
        found = f"{count} frames" if count < num_frames else "more frames"
        raise TalkingError(source, expected=expected, found=found, hint=_HINT)
    return frames


def _image_paths(folder: Path) -> list[Path]:
    """Images of a folder by name; none where there is no folder."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in _IMAGES)


def _parse_record(path: Path) -> RenderedRecord:
    try:
        return RenderedRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        hint = "Delete the folder and render it again: `ns-talking render-frames`."
        raise TalkingError(path, expected="a record of rendered frames", found=str(error), hint=hint) from error
