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
    from nerfstudio_talking.field_components.mouth_shape_predictor import MouthShapePredictor
    from nerfstudio_talking.models.portrait_model import PortraitModel

AdaptMouth = Callable[[Float32[np.ndarray, "window channels"], float], Float32[np.ndarray, "2 count"]]
"""From a frame's audio features and voice activity to its row of `TalkingTrack.mouth_adaptation`; frames in order."""
_SPEECH = 0.5
"""Voice activity above which a frame is speech."""
_EVERY = 8
"""Of so many frames of speech one is looked at: its neighbours are alike, and a live server has little time."""
_BLOCK = 256
"""Frames that are predicted at a time."""


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
    adaptation, spoken = _adaptation(predictor), count()

    def adapt(window: Float32[np.ndarray, "window channels"], activity: float) -> Float32[np.ndarray, "2 count"]:
        if activity > _SPEECH and next(spoken) % _EVERY == 0:
            adaptation.add(_predicted(predictor, window[None])[0])
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
    predictor = model.mouth_shape_predictor
    if predictor is None or predictor.prior is None:
        return None
    adaptation, spoken, rows = _adaptation(predictor), count(), []
    for start in range(0, len(windows), _BLOCK):
        predicted = _predicted(predictor, windows[start : start + _BLOCK])
        for row, active in zip(predicted, activity[start : start + _BLOCK]):
            if active > _SPEECH and next(spoken) % _EVERY == 0:
                adaptation.add(row)
            rows.append(adaptation.values)
    return np.stack(rows).astype(np.float32)


def _adaptation(predictor: MouthShapePredictor) -> VoiceAdaptation:
    return VoiceAdaptation(predictor.speech_mean.cpu().numpy(), predictor.speech_std.cpu().numpy())


@torch.no_grad()
def _predicted(predictor: MouthShapePredictor, windows: Float32[np.ndarray, "frames window channels"]) -> np.ndarray:
    return predictor.from_regression(torch.from_numpy(windows).to(predictor.bias)).double().cpu().numpy()
