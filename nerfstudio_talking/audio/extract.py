"""Audio features of a whole recording, one window per video frame; of the kind asked for."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from nerfstudio_talking.audio.features.registry import find_computed_kind, kind_of_array
from nerfstudio_talking.audio.features.streams import RATE
from nerfstudio_talking.audio.normalization import FeatureNormalization
from nerfstudio_talking.audio.voice_activity import voice_activity
from nerfstudio_talking.audio.windows import frame_windows
from nerfstudio_talking.io.errors import TalkingError

_TOLERATED = 2
"""Rows by which a ready array may differ from the frames: windows at the end are counted differently everywhere."""


@dataclass(frozen=True)
class AudioFeatures:
    """Audio features of a recording."""

    windows: Float32[np.ndarray, "frames window channels"]
    """One window per frame, normalised."""
    kind: str
    """The kind as `find_feature_kind` reads it, for `TalkingTrack.audio_kind`."""
    normalization: FeatureNormalization | None = None
    """What they were normalised with; None for a ready array."""
    mouth_activity: Float32[np.ndarray, " frames"] | None = None
    """Voice activity of each frame, as of `voice_activity`; None where there is no audio."""


def extract_features(
    samples: Float[np.ndarray, " samples"], fps: float, num_frames: int, kind: str = "logmel"
) -> AudioFeatures:
    """Features of the audio around each frame, normalised over this audio.

    Args:
        samples: mono audio at 16 kHz that starts with frame 0.
        fps: frames per second.
        num_frames: frames to describe; what lies before and after the audio is silence.
        kind: 'logmel' (N, 16, 80), 'mfcc' (N, 16, 39), 'whisper' (N, 4, 512), 'wav2vec2', 'hubert', 'hubert-large',
            another speech model's hub name or folder (N, 2, C), as of `find_computed_kind`, or the path of a ready .npy
            array.

    Raises:
        TalkingError: an unknown kind, a model that is not installed, an array that does not fit, or no audio.
    """
    if str(kind).endswith(".npy"):
        features, name, note = read_feature_array(Path(kind), num_frames)
        if note is not None:
            warnings.warn(note, stacklevel=2)
        activity = voice_activity(samples, fps, num_frames) if len(samples) else None
        return AudioFeatures(features, name, mouth_activity=activity)
    if len(samples) == 0:
        raise TalkingError("the audio", expected="audio", found="zero samples", hint="Give a longer recording.")
    found = find_computed_kind(kind)
    tail = max(round(num_frames / fps * RATE) - len(samples), 0)
    rows, normalization = found.extract(np.pad(samples, (found.lead, found.lead + tail)))
    start = -found.lead / RATE
    windows = frame_windows(rows, found.rate, fps, num_frames, found.window, found.window_rate, start=start)
    return AudioFeatures(windows, found.spec, normalization, voice_activity(samples, fps, num_frames))


def read_feature_array(
    path: Path, num_frames: int
) -> tuple[Float32[np.ndarray, "frames window channels"], str, str | None]:
    """A ready array of one window per frame, (N, window, channels) or (N, channels).

    Up to two rows too few are filled by repeating the last, up to two too many are left off.

    Args:
        path: a .npy file.
        num_frames: rows wanted.

    Returns:
        The windows, the name of their kind, and a note where rows were added or left off.

    Raises:
        TalkingError: no such file, not an array of numbers, another shape, or too different a length.
    """
    hint = "Give the .npy array that an AD-NeRF or ER-NeRF preprocessing wrote for this audio."
    if not path.is_file():
        raise TalkingError(path, expected="an array of audio features", found="no such file", hint=hint)
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise TalkingError(path, expected="a .npy array", found=str(error), hint=hint) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.ndim not in (2, 3):
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive of several"
        raise TalkingError(path, expected="numbers of shape (frames, window, channels)", found=found, hint=hint)
    features = np.asarray(array[:, None] if array.ndim == 2 else array, dtype=np.float32)
    if features.shape[2] == 16 and features.shape[1] in (29, 32, 44):  # stored channels first
        features = features.transpose(0, 2, 1)
    if not np.isfinite(features).all():
        raise TalkingError(path, expected="finite numbers", found="NaN or infinity", hint=hint)
    surplus = len(features) - num_frames
    if abs(surplus) > _TOLERATED or len(features) == 0:
        raise TalkingError(path, expected=f"{num_frames} rows, one per frame", found=f"{len(features)}", hint=hint)
    note = None
    if surplus < 0:
        features = np.concatenate([features, np.repeat(features[-1:], -surplus, axis=0)])
        note = f"{path.name} has {-surplus} rows fewer than there are frames: the last one is repeated."
    elif surplus > 0:
        features = features[:num_frames]
        note = f"{path.name} has {surplus} rows more than there are frames: they are left off."
    window, channels = features.shape[1:]
    return features, kind_of_array(window, channels), note
