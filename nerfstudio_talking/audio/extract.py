"""Audio features of a whole recording, one window per video frame; of the kind asked for."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from nerfstudio_talking.audio.features.registry import find_computed_kind
from nerfstudio_talking.audio.features.streams import RATE
from nerfstudio_talking.audio.normalization import FeatureNormalization
from nerfstudio_talking.audio.ready_arrays import read_feature_array
from nerfstudio_talking.audio.voice_activity import voice_activity
from nerfstudio_talking.audio.windows import frame_windows
from nerfstudio_talking.io.errors import TalkingError


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
        features, name, note = read_feature_array(Path(kind), num_frames, fps)
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
