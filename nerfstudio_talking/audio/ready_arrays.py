"""Ready arrays of audio features, as the AD-NeRF family and its successors write them: one reader for all layouts.

Their sizes distinguish them: windows per frame (N, window, channels) or (N, channels); rows or windows at 50 a second,
as the feature models give them, before the family's scripts cut them into windows; any of them with transposed axes.
What fits two of these, or none, is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from nerfstudio_talking.audio.features.registry import feature_kinds, kind_of_array
from nerfstudio_talking.io.arrays import load_array
from nerfstudio_talking.io.errors import TalkingError

RAW_RATE = 50.0
"""Rows per second of DeepSpeech logits and HuBERT's hidden states."""
_HINT = "Give the .npy array that an AD-NeRF or ER-NeRF preprocessing wrote for this audio."
_TOLERATED = 2
"""Rows by which an array may differ from the frames: windows at the end are counted differently everywhere."""
_MOST_MISSING, _MISSING_SHARE = 25, 0.05
_SURPLUS_ROWS, _SURPLUS_SHARE = 50, 0.2
"""Further rows that an array may have where the frames may be a part of the clip."""
_CHANNELS_FIRST = (29, 32, 44)


@dataclass(frozen=True)
class _Reading:
    """One way to understand an array."""

    windows: np.ndarray
    """(rows, window, channels), or (rows, channels) of raw rows."""
    rate: float
    """Rows per second."""
    window: int
    """Rows of a window that raw rows are cut into."""
    is_known: bool
    """Whether a kind of features has these sizes."""
    what: str
    """What it would be, for a note."""


def read_feature_array(
    path: Path, num_frames: int, fps: float = 25.0, exact: bool = True
) -> tuple[Float32[np.ndarray, "frames window channels"], str, str | None]:
    """A ready array as one window per frame.

    Args:
        path: a .npy file.
        num_frames: rows wanted.
        fps: frames per second.
        exact: whether the array has to have as many rows as there are frames, but for two. Otherwise up to 25 may be
            missing, and it may be longer.

    Returns:
        The windows, the name of their kind, and a note on what was done to the array, if anything.

    Raises:
        TalkingError: no such file, not an array of numbers, sizes that fit nothing or several things, or too different
            a length.
    """
    array = _load(path)
    readings = [one for one in _readings(array, fps) if _fits(one, num_frames, fps, exact)]
    if not readings:
        raise _no_fit(path, array, num_frames, fps)
    readings.sort(key=lambda one: (_mismatch(one, num_frames, fps), not one.is_known))
    best = readings[0]
    for other in readings[1:]:
        if other.is_known == best.is_known and _mismatch(other, num_frames, fps) == _mismatch(best, num_frames, fps):
            found = f"{array.shape}, which may be {best.what} or {other.what}"
            raise TalkingError(path, expected=_expected(num_frames, fps), found=found, hint=_HINT)
    windows = _per_frame(best, num_frames, fps)
    notes = [] if best.what == "one window per frame" else [f"{path.name} {array.shape} is read as {best.what}"]
    missing = round(num_frames / fps * best.rate) - len(best.windows)
    if missing > 0:
        notes.append(f"{path.name} has {missing} rows fewer than there are frames: the last one is repeated")
    elif missing < 0 and exact:
        notes.append(f"{path.name} has {-missing} rows more than there are frames: they are left off")
    return windows, kind_of_array(*windows.shape[1:]), ". ".join(notes) + "." if notes else None


def _load(path: Path) -> np.ndarray:
    array = load_array(path, "a .npy array of audio features", _HINT)
    if array.dtype.kind not in "fiu" or array.ndim not in (2, 3) or not array.size:
        found = f"{array.dtype} {array.shape}"
        raise TalkingError(path, expected="numbers of shape (frames, window, channels)", found=found, hint=_HINT)
    array = np.asarray(array, dtype=np.float32)
    if not np.isfinite(array).all():
        raise TalkingError(path, expected="finite numbers", found="NaN or infinity", hint=_HINT)
    return array


def _known_sizes(raw: bool = False) -> dict[tuple[int, int], str]:
    """Window and channels of each kind; of those only that come as raw rows, too, where asked for."""
    return {
        (kind.window, kind.channels): kind.name
        for kind in feature_kinds()
        if kind.has_array_shape and kind.channels is not None and not (raw and (kind.is_computable or kind.window == 1))
    }


def _readings(array: np.ndarray, fps: float) -> Iterator[_Reading]:
    """Every way to understand an array, whatever its length."""
    known = _known_sizes()
    if array.ndim == 3:
        found = False
        for axes in itertools.permutations(range(3)):
            turned = array.transpose(axes)
            if turned.shape[1:] not in known:
                continue
            found = True
            usual = axes in ((0, 1, 2), (0, 2, 1))
            yield _Reading(turned, fps, 1, True, "one window per frame" if usual else "windows with transposed axes")
            yield _Reading(turned, RAW_RATE, 1, True, "windows at 50 a second")
        if not found:
            first = array.shape[2] == 16 and array.shape[1] in _CHANNELS_FIRST
            yield _Reading(array.transpose(0, 2, 1) if first else array, fps, 1, False, "one window per frame")
        return
    for turned, how in ((array, ""), (array.T, " with transposed axes")):
        channels = turned.shape[1]
        if (1, channels) in known or not how:
            what = "one window per frame" if not how else f"one row per frame{how}"
            yield _Reading(turned[:, None], fps, 1, (1, channels) in known, what)
        for window, wanted in _known_sizes(raw=True):
            if wanted == channels:
                yield _Reading(turned, RAW_RATE, window, True, f"rows at 50 a second{how}")


def _mismatch(reading: _Reading, num_frames: int, fps: float) -> float:
    return abs(float(np.log(len(reading.windows) / max(num_frames / fps * reading.rate, 1))))


def _fits(reading: _Reading, num_frames: int, fps: float, exact: bool) -> bool:
    """Whether the length is that of the frames."""
    step = reading.rate / fps
    surplus = len(reading.windows) - num_frames * step
    if exact:
        return abs(surplus) <= _TOLERATED * max(step, 1)
    missing = max(min(_MOST_MISSING, _MISSING_SHARE * num_frames), _TOLERATED + 1)
    further = _SURPLUS_ROWS + _SURPLUS_SHARE * num_frames if reading.rate == fps else missing
    return -missing * step <= surplus <= further * step


def _per_frame(reading: _Reading, num_frames: int, fps: float) -> np.ndarray:
    """One window per frame. Raw rows become windows as the family cuts them: of two rows from the frame's start on, of
    more rows about it, with zeros beyond the ends."""
    step = reading.rate / fps
    rows = np.round(np.arange(num_frames) * step).astype(int)
    if reading.windows.ndim == 3:
        return reading.windows[np.minimum(rows, len(reading.windows) - 1)]
    before = reading.window // 2 if reading.window > 2 else 0
    chosen = rows[:, None] + np.arange(reading.window) - before
    if before == 0:
        return reading.windows[np.minimum(chosen, len(reading.windows) - 1)]
    padded = np.pad(reading.windows, ((before, reading.window), (0, 0)))
    return padded[np.clip(chosen + before, 0, len(padded) - 1)]


def _expected(num_frames: int, fps: float) -> str:
    shapes = [f"({num_frames}, {window}, {channels}) {name}" for (window, channels), name in _known_sizes().items()]
    raw = round(num_frames / fps * RAW_RATE)
    rows = sorted(channels for _, channels in _known_sizes(raw=True))
    return f"one of {', '.join(shapes)}, or rows at 50 a second ({raw}, {' or '.join(map(str, rows))})"


def _no_fit(path: Path, array: np.ndarray, num_frames: int, fps: float) -> TalkingError:
    return TalkingError(path, expected=_expected(num_frames, fps), found=str(array.shape), hint=_HINT)
