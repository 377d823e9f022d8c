"""Ready parsing maps from a folder, in any of the field's formats, converted to a dataset's frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from nerfstudio_talking.dataset_io.parsing_labels import AD_NERF_COLOURS, PARSING_CLASSES, from_ad_nerf, from_bisenet
from nerfstudio_talking.dataset_io.sequence import ParsingFormat
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.process.crop import Crop

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
_FORMAT_SAMPLES = 8  # maps that the format is recognised by
_BISENET_IDS = 19
_ROUNDING = 0.01  # tolerance of the aspect ratio: sizes are whole pixels
_COLOUR_TOLERANCE = 40.0  # levels: JPEG changes a colour less
_HINT = "Give 8-bit images of class ids (ours or BiSeNet's nineteen) or AD-NeRF's coloured images, one per frame."


def parsing_files(folder: Path) -> list[Path]:
    """The images of a folder in the order of the numbers in their names.

    Raises:
        TalkingError: there is no such folder, or no image in it.
    """
    hint = "Give a folder with one parsing map per frame, numbered."
    if not folder.is_dir():
        raise TalkingError(folder, expected="a folder of parsing maps", found="no such folder", hint=hint)
    files = [path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and not path.stem.endswith("_face")]
    if not files:
        raise TalkingError(folder, expected="a folder of parsing maps", found="no images in it", hint=hint)
    return sorted(files, key=lambda path: (len(path.stem), path.stem))


def read_parsings(
    folder: Path, crop: Crop, source_size: tuple[int, int], start: int, num_frames: int
) -> Iterator[UInt8[np.ndarray, "height width"]]:
    """Parsing labels of the dataset's frames, in whichever format `parsing_format` finds.

    Maps of the source's size are cropped and resized like the frames; others must show the cropped image, at any scale.
    As many maps as the dataset has frames are taken in order; if there are more, those from `start` on are taken.

    Args:
        folder: the folder of maps.
        crop: crop of the dataset.
        source_size: width and height of the source, pixels.
        start: first frame of the dataset in the source.
        num_frames: number of frames of the dataset.

    Raises:
        TalkingError: too few maps, one that cannot be read, or one of another shape or format.
    """
    files = parsing_files(folder)
    if len(files) != num_frames:
        files = files[start : start + num_frames]
    if len(files) < num_frames:
        raise TalkingError(
            folder,
            expected=f"{num_frames} parsing maps",
            found=f"{len(files)}",
            hint="Make one for each frame of the range, or leave --parsing out.",
        )
    kind = parsing_format(folder)
    size = (crop.out_width, crop.out_height)
    for path in files:
        ids = decode_parsing(read_map(path), kind, path)
        height, width = ids.shape
        if (width, height) == source_size:
            ids = ids[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
        elif abs(width * size[1] - height * size[0]) > max(ids.shape) * max(size) * _ROUNDING:
            raise TalkingError(
                path,
                expected=f"the size of the video, {source_size[0]}x{source_size[1]}, or the shape of the dataset's "
                f"images, {size[0]}x{size[1]}",
                found=f"{width}x{height}",
                hint="Parse the images of this video, not others.",
            )
        yield np.asarray(Image.fromarray(ids).resize(size, Image.Resampling.NEAREST))


def parsing_format(folder: Path) -> ParsingFormat:
    """Recognise the format of a folder's maps by a few of them.

    Single-channel images with ids past our eleven are BiSeNet's: each of its maps shows neck, clothes or hair, whose
    ids are 14, 16 and 17.

    Raises:
        TalkingError: there are no maps, or they have none of the known formats.
    """
    files = parsing_files(folder)
    samples = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, _FORMAT_SAMPLES).round().astype(int))]
    images = [read_map(path) for path in samples]
    if all(image.ndim == 2 for image in images):
        highest, path = max((int(image.max(initial=0)), path) for image, path in zip(images, samples))
        if highest >= _BISENET_IDS:
            raise TalkingError(
                path, expected=f"class ids below {_BISENET_IDS}", found=f"the value {highest}", hint=_HINT
            )
        return "bisenet" if highest >= len(PARSING_CLASSES) else "ids"
    for path, image in zip(samples, images):
        _require_colours(image, path)
    return "ad-nerf"


def decode_parsing(
    image: UInt8[np.ndarray, "height width *channels"], kind: ParsingFormat, path: Path
) -> UInt8[np.ndarray, "height width"]:
    """Convert one map to class ids.

    Raises:
        TalkingError: the map is not in the given format.
    """
    if kind == "ad-nerf":
        _require_colours(image, path)
        return from_ad_nerf(image)
    limit = _BISENET_IDS if kind == "bisenet" else len(PARSING_CLASSES)
    if image.ndim != 2 or image.max(initial=0) >= limit:
        found = f"{image.shape[2]} channels" if image.ndim != 2 else f"the value {image.max()}"
        raise TalkingError(path, expected=f"class ids below {limit}, as in the other maps", found=found, hint=_HINT)
    return from_bisenet(image) if kind == "bisenet" else image


def _require_colours(image: np.ndarray, path: Path) -> None:
    """Refuse coloured images that are not AD-NeRF's."""
    if image.ndim == 3:
        anchors = np.array([*AD_NERF_COLOURS.values(), (100, 100, 100), (0, 0, 0)], dtype=np.float32)
        colours, count = np.unique(image.reshape(-1, 3), axis=0, return_counts=True)
        off = np.linalg.norm(colours[:, None] - anchors, axis=2).min(axis=1) > _COLOUR_TOLERANCE
        if count[off].sum() <= 0.02 * count.sum():
            return
        found = f"other colours in {count[off].sum() / count.sum():.0%} of it"
    else:
        found = "a single channel among coloured maps"
    raise TalkingError(path, expected="AD-NeRF's red, green, blue and white", found=found, hint=_HINT)


def read_map(path: Path) -> np.ndarray:
    """Read a map as ids (2-D) where it has one channel or three equal ones, else as RGB."""
    try:
        with Image.open(path) as file:
            image = np.asarray(file if file.mode in ("L", "P") else file.convert("RGB"))
    except OSError as error:  # PIL's UnidentifiedImageError is one
        raise TalkingError(path, expected="a parsing map", found=str(error), hint="Make it again.") from error
    if image.ndim == 3 and image.max(initial=0) < _BISENET_IDS and (image == image[..., :1]).all():
        return image[..., 0]
    return image
