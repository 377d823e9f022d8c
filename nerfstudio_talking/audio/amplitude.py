"""Amplitude of predicted mouth shapes: as large as the recording's, closures included.

Least squares shrinks what it predicts towards the mean: a prediction of correlation r has r times the spread of its
target, and lips that touch in every third frame of the recording touch in none of the prediction's. A monotone curve
gives the prediction the distribution that the recording has, and leaves its order in time as it is.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

NUM_KNOTS = 33
"""Knots of a curve: quantiles, evenly spaced."""
_OUTER = 0.03
"""Share of the frames beyond either end of a curve: other voices are often predicted there, where the recording has
single frames, of which a portrait has learned little."""
_MARGIN = 0.25
"""How far a shape may be beyond a range, over the range."""
_PRIOR, _MEMORY = 10.0, 100.0
"""Predictions that the recording's mean and spread count as, and that those of a voice are taken over."""
_LEEWAY = 1.1
"""Spread of a voice over the recording's up to which it is left: estimates vary by chance."""
_LEAST_FACTOR = 0.4
"""Of a voice's predictions about their mean; the greatest is 1, since noise is never turned up."""


def amplitude_curves(
    predicted: Float[np.ndarray, "frames count"],
    target: Float[np.ndarray, "frames count"],
    num_measures: int,
    least_correlation: float = 0.15,
) -> Float[np.ndarray, "count 2 knots"]:
    """For each coefficient the curve from the quantiles of its prediction to those of its target, 3 to 97 %.

    Noise is never turned up: where a coefficient's correlation with its prediction is too low, and for those that are
    no measures, the curve changes nothing and goes from the least to the greatest prediction.

    Args:
        predicted: coefficients by regressions that have not seen the frames.
        target: coefficients of the same frames.
        num_measures: how many coefficients, the first ones, get a curve.
        least_correlation: correlation up to which a coefficient gets none.
    """
    shares = np.linspace(_OUTER, 1 - _OUTER, NUM_KNOTS)
    x, unchanged = (np.quantile(predicted, at, axis=0).T for at in (shares, np.linspace(0, 1, NUM_KNOTS)))
    # a curve needs ascending knots: a constant prediction has none
    rise = np.arange(NUM_KNOTS) * (1e-6 * (1 + predicted.std(0)))[:, None]
    x, y = x + rise, np.quantile(target, shares, axis=0).T
    for column in range(predicted.shape[1]):
        spread = predicted[:, column].std() * target[:, column].std()
        product = (predicted[:, column] - predicted[:, column].mean()) @ (target[:, column] - target[:, column].mean())
        if column >= num_measures or product <= least_correlation * len(target) * spread or spread < 1e-12:
            x[column] = y[column] = unchanged[column] + rise[column]
    return np.stack([x, y], axis=1)


def apply_curves(values: Float[Tensor, "frames count"], curves: Float[Tensor, "count 2 knots"]) -> Tensor:
    """Coefficients after their curves; beyond a curve's ends they keep its last values: those of the recording."""
    x, y = curves[:, 0].contiguous(), curves[:, 1]
    inside = values.T.contiguous().clamp(x[:, :1], x[:, -1:])
    right = torch.searchsorted(x, inside).clamp(1, x.shape[1] - 1)
    x0, x1, y0, y1 = (table.gather(1, index) for table in (x, y) for index in (right - 1, right))
    return (y0 + (inside - x0) / (x1 - x0) * (y1 - y0)).T


def soft_limit(
    values: Float[Tensor, "frames count"], low: Float[Tensor, " count"], high: Float[Tensor, " count"]
) -> Float[Tensor, "frames count"]:
    """Coefficients that stay as they are within a range, and approach a quarter of the range beyond it."""
    margin = _MARGIN * (high - low) + 1e-9
    beyond = values - torch.minimum(torch.maximum(values, low), high)
    return values - beyond + margin * torch.tanh(beyond / margin)


class VoiceAdaptation:
    """Brings what is predicted for a voice to the mean and spread that it has for the recording, as the voice is heard.

    Another voice, room or microphone shifts and widens predictions, so that the curves' ends would be shown for whole
    words. After n predictions the voice's own mean and spread weigh n / (n + 10).

    Args:
        mean: of the predictions for the recording's speech, by regressions that have not seen the frames.
        std: standard deviation of these.
    """

    def __init__(self, mean: Float[np.ndarray, " count"], std: Float[np.ndarray, " count"]) -> None:
        self._mean, self._std = mean.astype(np.float64), std.astype(np.float64) + 1e-9
        self._count = 0.0
        self._sum, self._square = np.zeros_like(self._mean), np.zeros_like(self._mean)

    def add(self, predicted: Float[np.ndarray, " count"]) -> None:
        """Take the prediction for a frame of speech."""
        deviation = predicted - self._mean
        share = 1.0 if self._count < _MEMORY else 1 - 1 / _MEMORY
        self._count = share * self._count + 1
        self._sum = share * self._sum + deviation
        self._square = share * self._square + deviation**2

    @property
    def values(self) -> Float[np.ndarray, "2 count"]:
        """The factor of predictions and what is added to them, to adapt them."""
        trust = self._count / (self._count + _PRIOR)
        offset = self._sum / max(self._count, 1.0)
        spread = np.sqrt(np.maximum(self._square / max(self._count, 1.0) - offset**2, 0.0))
        factor = np.clip(_LEEWAY * self._std / ((1 - trust) * self._std + trust * spread), _LEAST_FACTOR, 1.0)
        own = self._mean + trust * offset  # where the voice's predictions are taken to lie
        return np.stack([factor, self._mean - factor * own])
