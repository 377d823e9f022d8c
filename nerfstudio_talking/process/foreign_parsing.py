"""Parsing maps made elsewhere, brought to the frames of a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from nerfstudio_talking.errors import TalkingError
from nerfstudio_talking.process.crop import Crop
from nerfstudio_talking.process.parsing_folder import decode_parsing, parsing_files, parsing_format, read_map


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
    kind = parsing_format(folder)
    for path in files:
        ids = decode_parsing(read_map(path), kind, path)
        if (ids.shape[1], ids.shape[0]) == source_size:
            ids = ids[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
        yield np.asarray(Image.fromarray(ids).resize((crop.out_width, crop.out_height), Image.Resampling.NEAREST))
