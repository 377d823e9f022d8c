"""Image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from nerfstudio_talking.io.errors import TalkingError

_HINT = "Process the video again: `ns-talking process VIDEO --output DIR`."


def read_image(path: Path, mode: str | None = None) -> UInt8[np.ndarray, "height width *channels"]:
    """An image file as an array, converted to a PIL mode where one is given.

    Raises:
        TalkingError: missing, truncated or no image.
    """
    try:
        with Image.open(path) as file:
            return np.array(file.convert(mode) if mode else file)
    except FileNotFoundError as error:
        raise TalkingError(path, expected="an image", found="no such file", hint=_HINT) from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise TalkingError(path, expected="a whole image", found=str(error), hint=_HINT) from error


def image_size(path: Path) -> tuple[int, int]:
    """Width and height from an image's header alone.

    Raises:
        TalkingError: missing or no image.
    """
    try:
        with Image.open(path) as file:
            return file.size
    except FileNotFoundError as error:
        raise TalkingError(path, expected="an image", found="no such file", hint=_HINT) from error
    except (UnidentifiedImageError, OSError) as error:
        raise TalkingError(path, expected="an image", found=str(error), hint=_HINT) from error
