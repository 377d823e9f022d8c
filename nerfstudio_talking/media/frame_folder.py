"""Rendered frames of a clip on disk: a folder of images that fills up and can be resumed, or a video."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import part_of, publish
from nerfstudio_talking.media.images import read_image

_IMAGES = (".png", ".jpg", ".jpeg")
_HINT = "Give a trained portrait's config.yml, or as many rendered frames as the dataset has, in its size and order."


def fill_folder(
    folder: Path,
    num_frames: int,
    render: Callable[[int], UInt8[np.ndarray, "height width 3"]],
    advance: Callable[[], object] = lambda: None,
) -> None:
    """Render the frames that a folder still lacks, as 000000.png ...

    Args:
        folder: made where there is none; images in it are kept, each is whole or not there.
        num_frames: frames of the clip.
        render: a frame by its number.
        advance: called after each frame.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for frame in range(num_frames):
        path = folder / f"{frame:06d}.png"
        if not path.is_file():
            Image.fromarray(render(frame)).save(part_of(path), "png", compress_level=3)
            publish(part_of(path), path)
        advance()


def read_rendered(source: Path, num_frames: int, height: int, width: int) -> UInt8[np.ndarray, "frames height width 3"]:
    """All rendered frames of a clip, from a folder of images (in the order of their names) or a video.

    Raises:
        TalkingError: nothing is there, or it holds another number or size of frames.
    """
    frames = np.empty((num_frames, height, width, 3), dtype=np.uint8)
    expected = f"{num_frames} frames of {width}x{height}"

    def put(index: int, image: np.ndarray, name: Path | str) -> None:
        if image.shape != frames.shape[1:]:
            found = f"{image.shape[1]}x{image.shape[0]}"
            raise TalkingError(name, expected=expected, found=found, hint=_HINT)
        frames[index] = image

    if source.is_dir():
        paths = sorted(path for path in source.iterdir() if path.suffix.lower() in _IMAGES)
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
