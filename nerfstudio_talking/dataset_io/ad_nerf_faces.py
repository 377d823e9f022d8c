"""Eyes and landmarks of AD-NeRF-family folders: OpenFace's au.csv, SyncTalk's bs.npy, .lms of the family's scripts."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from nerfstudio_talking.io.arrays import load_array
from nerfstudio_talking.io.errors import TalkingError

_BLENDSHAPE_BLINKS = (8, 9)
"""Columns of SyncTalk's bs.npy that hold eyeBlinkLeft and eyeBlinkRight (MediaPipe's order without `_neutral`)."""
_BLENDSHAPES = 52
_LEAST_SHARE = 0.5
"""Share of the rows of au.csv that have to hold a number."""
_EYES_HINT = "Make it again, or remove the file: eyes are then taken as open."


def read_eyes(folder: Path, ids: Int64[np.ndarray, " frames"]) -> Float32[np.ndarray, "frames 1"]:
    """Eye opening from OpenFace's AU45 (0 to 5, a blink is above 1), or SyncTalk's blendshapes; else 1 (open).

    Raises:
        TalkingError: the file that is there is damaged.
    """
    if (folder / "au.csv").is_file():
        return _eyes_of_openface(folder / "au.csv", ids)
    if (folder / "bs.npy").is_file():
        return _eyes_of_blendshapes(folder / "bs.npy", ids)
    return np.ones((len(ids), 1), dtype=np.float32)


def _eyes_of_openface(path: Path, ids: np.ndarray) -> Float32[np.ndarray, "frames 1"]:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # comments and paths of other systems; numbers are the same
    try:
        rows = [{key.strip(): value for key, value in row.items() if key} for row in csv.DictReader(text.splitlines())]
    except csv.Error as error:  # a field without an end
        raise TalkingError(path, expected="a table of values", found=str(error), hint=_EYES_HINT) from error
    if not rows or "AU45_r" not in rows[0]:
        raise TalkingError(
            path,
            expected="a column AU45_r (OpenFace FeatureExtraction)",
            found=", ".join(list(rows[0])[:6]) if rows else "no rows",
            hint=_EYES_HINT,
        )
    # OpenFace counts frames from 1, and leaves out those without a face; a row that is cut off lacks its last columns
    at = np.array([_number(row.get("frame", str(index + 1))) - 1 for index, row in enumerate(rows)])
    closed = np.array([_number(row["AU45_r"]) for row in rows])
    usable = np.isfinite(at) & np.isfinite(closed)
    if usable.sum() < max(_LEAST_SHARE * len(rows), 1):
        found = f"numbers in {int(usable.sum())} of {len(rows)} rows"
        raise TalkingError(path, expected="a frame and AU45_r in every row", found=found, hint=_EYES_HINT)
    order = np.argsort(at[usable], kind="stable")
    closed = np.interp(ids, at[usable][order], closed[usable][order])
    return (1 - np.clip(closed, 0, 2) / 2).astype(np.float32)[:, None]


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def _eyes_of_blendshapes(path: Path, ids: np.ndarray) -> Float32[np.ndarray, "frames 1"]:
    expected = f"an array (frames, {_BLENDSHAPES}) of numbers from 0 to 1"
    shapes = load_array(path, expected, _EYES_HINT)
    if shapes.dtype.kind not in "fiu" or shapes.ndim != 2 or not shapes.size:
        raise TalkingError(path, expected=expected, found=f"{shapes.dtype} {shapes.shape}", hint=_EYES_HINT)
    if shapes.shape[1] != _BLENDSHAPES:
        hint = "SyncTalk's script writes 52 columns, `_neutral` left out. " + _EYES_HINT
        raise TalkingError(path, expected=expected, found=str(shapes.shape), hint=hint)
    blink = shapes[np.minimum(ids, len(shapes) - 1)][:, list(_BLENDSHAPE_BLINKS)].mean(1)
    if not np.isfinite(blink).all():
        raise TalkingError(path, expected=expected, found="NaN or infinity", hint=_EYES_HINT)
    return (1 - np.clip(blink, 0, 1)).astype(np.float32)[:, None]


def read_landmarks(folder: Path, ids: Int64[np.ndarray, " frames"]) -> Float32[np.ndarray, "frames 68 2"] | None:
    """The landmarks of each frame, NaN where it has none; None where over a tenth of the frames have none.

    Raises:
        TalkingError: a file holds something else.
    """
    paths = [folder / "ori_imgs" / f"{i}.lms" for i in ids]
    if sum(path.is_file() for path in paths) < 0.9 * len(paths):
        return None
    points = np.full((len(ids), 68, 2), np.nan, dtype=np.float32)
    for row, path in enumerate(paths):
        if path.is_file():
            points[row] = _landmarks(path)
    return points


def _landmarks(path: Path) -> Float32[np.ndarray, "68 2"]:
    expected, hint = "68 rows of x y", "Remove the file: the frame then has no landmarks."
    try:
        numbers = [[float(word) for word in line.split()] for line in path.read_text(encoding="utf-8").splitlines()]
        values = np.array([row for row in numbers if row], dtype=np.float32)
    except ValueError as error:  # words, rows of other lengths, or bytes that are no text
        raise TalkingError(path, expected=expected, found=str(error), hint=hint) from error
    if values.shape != (68, 2) or not np.isfinite(values).all():
        found = str(values.shape) if values.shape != (68, 2) else "NaN or infinity"
        raise TalkingError(path, expected=expected, found=found, hint=hint)
    return values
