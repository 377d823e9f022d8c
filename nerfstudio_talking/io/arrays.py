"""Reading .npy and .npz files that may be damaged."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from nerfstudio_talking.io.errors import TalkingError


def load_array(path: Path, expected: str, hint: str) -> np.ndarray:
    """The array of a .npy file.

    Args:
        path: the file.
        expected: what it should hold, for the message.
        hint: what the user can do where it does not.

    Raises:
        TalkingError: there is no such file, or it is damaged, holds objects or several arrays.
    """
    loaded = _load(path, expected, hint)
    if not isinstance(loaded, np.ndarray):
        raise TalkingError(path, expected=expected, found="an archive of several arrays", hint=hint)
    return loaded


def load_archive(path: Path, expected: str, hint: str) -> dict[str, np.ndarray]:
    """The arrays of a .npz file.

    Args:
        path: the file.
        expected: what it should hold, for the message.
        hint: what the user can do where it does not.

    Raises:
        TalkingError: there is no such file, or it is damaged or holds objects or a single array.
    """
    loaded = _load(path, expected, hint)
    if isinstance(loaded, np.ndarray):
        raise TalkingError(path, expected=expected, found="a single array", hint=hint)
    return loaded


def _load(path: Path, expected: str, hint: str) -> np.ndarray | dict[str, np.ndarray]:
    if not path.is_file():
        raise TalkingError(path, expected=expected, found="no such file", hint=hint)
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as archive:
            arrays = {name: archive[name] for name in archive.files}
            if not all(isinstance(array, np.ndarray) for array in arrays.values()):
                raise ValueError("a file that is no array")
            return arrays
    # of a damaged header, numpy's, zipfile's and zlib's readers raise whatever their parsing meets
    except Exception as error:
        found = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TalkingError(path, expected=expected, found=found, hint=hint) from error


def require_shapes(*instances: Any) -> None:
    """Check arrays, tensors and numbers in dataclasses that were read from a file against the fields' annotations.

    Args:
        instances: dataclasses; sizes of one name are the same in all of them.

    Raises:
        ValueError: a field has another type or shape, or holds NaN or infinity.
    """
    import jaxtyping

    with jaxtyping.jaxtyped("context"):
        for instance in instances:
            hints = get_type_hints(type(instance))
            for field in dataclasses.fields(instance):
                value, hint = getattr(instance, field.name), hints[field.name]
                name = f"{type(instance).__name__}.{field.name}"
                if hint is float and (isinstance(value, bool) or not isinstance(value, int | float)):
                    raise ValueError(f"{name} is {value!r:.40}, not a number")
                if hint in (int, str) and not isinstance(value, hint):
                    raise ValueError(f"{name} is {value!r:.40}, not of type {hint.__name__}")
                array: Any = value if hasattr(value, "dtype") else None
                if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray) and not isinstance(value, hint):
                    kind = type(value).__name__ if array is None else f"{array.dtype} {tuple(array.shape)}"
                    raise ValueError(f"{name} is {kind}, not {hint.dim_str or 'a number'}".replace("torch.", ""))
                if (array is not None or isinstance(value, float)) and not np.isfinite(np.asarray(value)).all():
                    raise ValueError(f"{name} holds NaN or infinity")
