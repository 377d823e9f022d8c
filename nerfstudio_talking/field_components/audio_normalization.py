"""The normalisation of the clip's audio features as buffers of a model: it is saved with the weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from nerfstudio_talking.audio.normalization import FeatureNormalization
from nerfstudio_talking.dataset_io.track import TalkingTrack


class AudioNormalization(nn.Module):
    """Buffers with the feature normalisation of a track; NaN where the track has none.

    Args:
        track: the clip's.
    """

    levels: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, track: TalkingTrack) -> None:
        super().__init__()
        channels = np.full(track.audio.shape[2], np.nan)
        value = track.audio_normalization or FeatureNormalization(np.nan, np.nan, channels, channels)
        self.register_buffer("levels", torch.tensor([value.reference_db, value.level_db], dtype=torch.float32))
        self.register_buffer("mean", torch.from_numpy(value.mean).float())
        self.register_buffer("std", torch.from_numpy(value.std).float())

    def value(self) -> FeatureNormalization | None:
        """The normalisation; None where there is none."""
        if torch.isnan(self.levels).any():
            return None
        reference, level = self.levels.tolist()
        mean, std = (buffer.cpu().numpy().astype(np.float64) for buffer in (self.mean, self.std))
        return FeatureNormalization(reference, level, mean, std)
