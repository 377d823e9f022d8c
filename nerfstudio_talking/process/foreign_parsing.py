"""Parsing maps made elsewhere: a folder of AD-NeRF's coloured pictures or of BiSeNet's nineteen ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from nerfstudio_talking.errors import TalkingError
from nerfstudio_talking.process.crop import Crop
from nerfstudio_talking.semantics import from_ad_nerf, from_bisenet

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")


def parsing_files(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of the numbers in their names.

    Raises:
        TalkingError: there is no such folder, or no picture in it.
    """
    mend = "Give a folder with one parsing map per frame, numbered."
    if not folder.is_dir():
        raise TalkingError(folder, expected="a folder of parsing maps", found="no such folder", mend=mend)
    files = [path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and not path.stem.endswith("_face")]
    if not files:
        raise TalkingError(folder, expected="a folder of parsing maps", found="no pictures in it", mend=mend)
    return sorted(files, key=lambda path: (len(path.stem), path.stem))


def read_parsings(
    folder: Path, crop: Crop, source_size: tuple[int, int], start: int, num_frames: int
) -> Iterator[UInt8[np.ndarray, "height width"]]:
    """Class ids for the dataset's frames.

    Maps of the source's size are cropped and resized like the frames; others are taken to show the cropped picture. A
    folder with as many maps as the dataset has frames is taken in order, a larger one from the range's start.

    Raises:
        TalkingError: there are too few maps, or one cannot be read.
    """
    files = parsing_files(folder)
    if len(files) != num_frames:
        files = files[start : start + num_frames]
    if len(files) < num_frames:
        raise TalkingError(
            folder,
            expected=f"{num_frames} parsing maps",
            found=f"{len(files)}",
            mend="Make one for each frame of the range, or leave --parsing out.",
        )
    for path in files:
        try:
            with Image.open(path) as file:
                picture = np.asarray(file if file.mode in ("L", "P") else file.convert("RGB"))
        except (UnidentifiedImageError, OSError) as error:
            raise TalkingError(path, expected="a parsing map", found=str(error), mend="Make it again.") from error
        ids = from_bisenet(picture) if picture.ndim == 2 else from_ad_nerf(picture)
        if (ids.shape[1], ids.shape[0]) == source_size:
            ids = ids[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
        yield np.asarray(Image.fromarray(ids).resize((crop.out_width, crop.out_height), Image.Resampling.NEAREST))
