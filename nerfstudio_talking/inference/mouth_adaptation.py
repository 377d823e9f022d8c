"""Adaptation of a portrait's predicted mouth shapes to the voice that it speaks, frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float32

if TYPE_CHECKING:
    from nerfstudio_talking.audio.normalization import NormalizationMode
    from nerfstudio_talking.models.portrait_model import PortraitModel

AdaptMouth = Callable[[Float32[np.ndarray, "window channels"], float], Float32[np.ndarray, "2 count"]]
"""From a frame's audio features and voice activity to its row of `TalkingTrack.mouth_adaptation`; frames in order."""


def mouth_adapter(model: PortraitModel, normalization: NormalizationMode) -> AdaptMouth | None:
    """Adapts the mouth of a portrait to one voice.

    Args:
        model: the portrait.
        normalization: how the audio features are normalised; 'clip' takes the voice for the clip's.

    Returns:
        None where the mouth is not adapted: under 'clip', and without a mouth prior, where an encoder predicts too.
    """
    from nerfstudio_talking.audio.amplitude import VoiceAdaptation

    predictor = model.mouth_shape_predictor
    if normalization == "clip" or predictor is None or predictor.prior is None:
        return None
    adaptation = VoiceAdaptation(predictor.curves.cpu().numpy())

    @torch.no_grad()
    def adapt(window: Float32[np.ndarray, "window channels"], activity: float) -> Float32[np.ndarray, "2 count"]:
        if activity > 0.5:
            audio = torch.from_numpy(window[None]).to(predictor.bias)
            adaptation.add(predictor.from_regression(audio)[0].double().cpu().numpy())
        return adaptation.values.astype(np.float32)

    return adapt
