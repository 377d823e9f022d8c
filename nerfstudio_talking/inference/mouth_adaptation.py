"""Adaptation of a portrait's predicted mouth shapes to the voice that it speaks, frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float32

from nerfstudio_talking.audio.amplitude import VoiceAdaptation

if TYPE_CHECKING:
    from nerfstudio_talking.audio.normalization import NormalizationMode
    from nerfstudio_talking.models.portrait_model import PortraitModel

AdaptMouth = Callable[[Float32[np.ndarray, "window channels"], float], Float32[np.ndarray, "2 count"]]
"""From a frame's audio features and voice activity to its row of `TalkingTrack.mouth_adaptation`; frames in order."""
_SPEECH = 0.5
"""Voice activity above which a frame is speech."""
_EVERY = 8
"""Of so many frames of speech one is looked at: its neighbours are alike, and a live server has little time."""


def mouth_adapter(model: PortraitModel, normalization: NormalizationMode) -> AdaptMouth | None:
    """Adapts the mouth of a portrait to one voice.

    Args:
        model: the portrait.
        normalization: how the audio features are normalised; 'clip' takes the voice for the clip's.

    Returns:
        None where the mouth is not adapted: under 'clip', and without a mouth prior, where an encoder predicts too.
    """
    predictor = model.mouth_shape_predictor
    if normalization == "clip" or predictor is None or predictor.prior is None:
        return None
    adaptation = VoiceAdaptation(predictor.speech_mean.cpu().numpy(), predictor.speech_std.cpu().numpy())
    spoken = count()

    @torch.no_grad()
    def adapt(window: Float32[np.ndarray, "window channels"], activity: float) -> Float32[np.ndarray, "2 count"]:
        if activity > _SPEECH and next(spoken) % _EVERY == 0:
            audio = torch.from_numpy(window[None]).to(predictor.bias)
            adaptation.add(predictor.from_regression(audio)[0].double().cpu().numpy())
        return adaptation.values.astype(np.float32)

    return adapt


def adapted_mouth(
    model: PortraitModel,
    windows: Float32[np.ndarray, "frames window channels"],
    activity: Float32[np.ndarray, " frames"],
) -> Float32[np.ndarray, "frames 2 count"] | None:
    """`TalkingTrack.mouth_adaptation` of a whole voice; None where the mouth is not adapted.

    Args:
        model: the portrait.
        windows: audio features of each frame.
        activity: voice activity of each frame.
    """
    adapt = mouth_adapter(model, "adapt")
    return None if adapt is None else np.stack([adapt(*frame) for frame in zip(windows, activity.tolist())])
