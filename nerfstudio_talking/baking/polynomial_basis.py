"""Per-vertex quadratic regression of density and colour on the audio, eye and view condition: its terms.

A frame's condition is a handful of numbers, the same for every vertex. The field's values at a vertex are smooth
functions of them, so they are sampled under some conditions and fitted by least squares; a frame is then the product of
one matrix, the same for every frame, with the frame's terms. Conditions outside the range of the samples are clamped to
it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

MAX_AUDIO = 6
"""Number of principal components of the audio condition in a polynomial: as many as a mouth shape has coefficients."""
_VIEW_SCALE = 4.0
"""Factor that brings the directions of a recording camera to order one."""
_VIEW_MARGIN = 0.1
"""How far beyond the sampled directions a view is still covered, in scaled units: 1.4 degrees."""


@dataclass(frozen=True)
class PolynomialBasis:
    """Terms of the polynomial: a constant, audio, eyes, products within audio and within eyes, and the view."""

    mean: Float[Tensor, " audio"]
    """Mean of the audio condition."""
    directions: Float[Tensor, "audio components"]
    """Principal directions of the audio condition, divided by its standard deviation along them."""
    low: Float[Tensor, " inputs"]
    """Least value of each input: components of the audio, eyes, and the view's x and y."""
    high: Float[Tensor, " inputs"]
    """Greatest value of each input."""

    def __call__(
        self,
        audio: Float[Tensor, "frames audio"],
        eyes: Float[Tensor, "frames eyes"],
        positions: Float[Tensor, "frames 3"],
    ) -> Float[Tensor, "frames terms"]:
        """The terms of frames.

        Args:
            audio: audio condition.
            eyes: eye condition.
            positions: position of the camera in the head's frame, metres; a small head's look depends on its direction.
        """
        inputs = torch.cat([(audio - self.mean) @ self.directions, eyes, _view(positions)], -1)
        inputs = inputs.clamp(self.low, self.high)
        count = self.directions.shape[1]
        audio_terms, eye_terms, view_terms = inputs[:, :count], inputs[:, count:-2], inputs[:, -2:]
        return torch.cat(
            [
                torch.ones_like(view_terms[:, :1]),
                audio_terms,
                eye_terms,
                view_terms,
                _products(audio_terms),
                _products(eye_terms),
            ],
            -1,
        )

    def covers(self, position: Float[Tensor, " 3"]) -> bool:
        """Whether a camera at a position (head's frame, metres) looks from within the range of sampled directions."""
        view = _view(position)
        inside = (view >= self.low[-2:] - _VIEW_MARGIN) & (view <= self.high[-2:] + _VIEW_MARGIN)
        return bool(inside.all()) and float(position[2]) > 0

    def tensors(self) -> dict[str, Tensor]:
        """The fields by name, for a file."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}


def polynomial_basis(
    audio: Float[Tensor, "samples audio"], eyes: Float[Tensor, "samples eyes"], positions: Float[Tensor, "samples 3"]
) -> PolynomialBasis:
    """The basis whose inputs are scaled to sampled conditions."""
    mean = audio.mean(0)
    _, spread, axes = torch.linalg.svd(audio - mean, full_matrices=False)
    kept = spread[:MAX_AUDIO] > 1e-6 * spread[0].clamp_min(1e-6)
    directions = (axes[:MAX_AUDIO][kept] / spread[:MAX_AUDIO][kept, None] * len(audio) ** 0.5).T
    inputs = torch.cat([(audio - mean) @ directions, eyes, _view(positions)], -1)
    return PolynomialBasis(mean, directions, inputs.amin(0), inputs.amax(0))


def fit_matrix(terms: Float[Tensor, "samples terms"], penalty: float = 0.3) -> Float[Tensor, "terms samples"]:
    """The matrix that turns sampled values into coefficients: ridge regression without a penalty on the constant."""
    ridge = penalty * torch.eye(terms.shape[1], dtype=torch.float64)
    ridge[0, 0] = 1e-9
    double = terms.double()
    return torch.linalg.solve(double.T @ double + ridge, double.T).to(terms.dtype)


def _view(positions: Float[Tensor, "*bs 3"]) -> Float[Tensor, "*bs 2"]:
    return _VIEW_SCALE * torch.nn.functional.normalize(positions, dim=-1)[..., :2]


def _products(values: Float[Tensor, "frames inputs"]) -> Float[Tensor, "frames products"]:
    i, j = torch.triu_indices(values.shape[1], values.shape[1])
    return values[:, i] * values[:, j]
