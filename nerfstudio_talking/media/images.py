"""Reading image files, and shrinking images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from nerfstudio_talking.io.errors import TalkingError

_HINT = "Process the video again: `ns-talking process VIDEO --output DIR`."


def read_image(path: Path, mode: str | None = None) -> UInt8[np.ndarray, "height width *channels"]:
    """Read an image file, converted to a PIL mode ("RGB", "RGBA", "L") where one is given.

    Raises:
        TalkingError: the file is missing, truncated or no image.
    """
    try:
        with Image.open(path) as file:
            return np.array(file.convert(mode) if mode else file)
    except FileNotFoundError as error:
        raise TalkingError(path, expected="an image", found="no such file", hint=_HINT) from error
    except Exception as error:  # of a damaged file, Pillow's decoders raise whatever their parsing meets
        raise TalkingError(path, expected="a whole image", found=str(error), hint=_HINT) from error


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image file, from its header alone.

    Raises:
        TalkingError: the file is missing or no image.
    """
    try:
        with Image.open(path) as file:
            return file.size
    except FileNotFoundError as error:
        raise TalkingError(path, expected="an image", found="no such file", hint=_HINT) from error
    except Exception as error:  # as above
        raise TalkingError(path, expected="an image", found=str(error), hint=_HINT) from error


def shrink_image(
    image: UInt8[np.ndarray, "height width *channels"], side: int
) -> UInt8[np.ndarray, "new_height new_width *channels"]:
    """The image itself, or shrunk (area averages) so that its longer side has `side` pixels; never enlarged."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1.0:
        return image
    import cv2

    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
