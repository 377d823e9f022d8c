"""Where in space a modality matters: the regional-saliency-aware module of Wang et al. (2025), and its rivals.

Each module takes the features of points and one condition per point (a sound code, the eyes' opening) and returns the
condition weighted channel by channel, and the weights.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

RegionModule = Literal["external", "mlp", "concat"]


class ExternalAttentionSaliency(nn.Module):
    """Saliency by external attention from the point's features and the condition.

    Every channel of the condition is a token. Its query comes from the point's features and from the condition; two
    linear memories, shared by all points, answer it with the double normalisation of Guo et al. (Beyond
    Self-attention, TPAMI 2022, section 3.2): a softmax over the tokens, then each token's row sums to one over the
    slots. The tokens are those of one point, so that the saliency of a point does not depend on which other points
    happen to be rendered beside it.
    """

    def __init__(self, feature_dim: int, condition_dim: int, query_dim: int = 4, slots: int = 8) -> None:
        super().__init__()
        self.condition_dim, self.query_dim = condition_dim, query_dim
        self.point_query = nn.Linear(feature_dim, condition_dim * query_dim)
        self.condition_query = nn.Linear(condition_dim, condition_dim * query_dim, bias=False)
        self.memory_key = nn.Parameter(torch.randn(query_dim, slots) * query_dim**-0.5)
        self.memory_value = nn.Parameter(torch.randn(slots) * 0.5)
        self.gain = nn.Parameter(torch.full((condition_dim,), 2.0))
        self.bias = nn.Parameter(torch.zeros(condition_dim))
        self.direct = nn.Linear(feature_dim, condition_dim, bias=False)

    def forward(
        self, features: Float[Tensor, "points features"], condition: Float[Tensor, "points channels"]
    ) -> tuple[Float[Tensor, "points channels"], Float[Tensor, "points channels"]]:
        """The weighted condition and the saliency, in (0, 1)."""
        query = self.point_query(features) + self.condition_query(condition)
        logits = query.view(-1, self.condition_dim, self.query_dim) @ self.memory_key  # (N, C, S)
        attention = torch.softmax(logits, dim=1)
        attention = attention / attention.sum(dim=2, keepdim=True)
        answer = attention @ self.memory_value  # (N, C)
        saliency = torch.sigmoid(self.gain * answer + self.direct(features) + self.bias)
        return saliency * condition, saliency


class MLPSaliency(nn.Module):
    """ER-NeRF's region attention: a two-layer network of the point's features alone (section 3.3)."""

    def __init__(self, feature_dim: int, condition_dim: int) -> None:
        super().__init__()
        hidden = 64 if condition_dim > 2 else 16
        self.net = nn.Sequential(
            nn.Linear(feature_dim, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, condition_dim, bias=False)
        )

    def forward(
        self, features: Float[Tensor, "points features"], condition: Float[Tensor, "points channels"]
    ) -> tuple[Float[Tensor, "points channels"], Float[Tensor, "points channels"]]:
        """The weighted condition and the weights (unbounded, as published)."""
        weights = self.net(features)
        return weights * condition, weights


class Concatenation(nn.Module):
    """No saliency: every point gets the whole condition."""

    def __init__(self, feature_dim: int, condition_dim: int) -> None:
        super().__init__()

    def forward(
        self, features: Float[Tensor, "points features"], condition: Float[Tensor, "points channels"]
    ) -> tuple[Float[Tensor, "points channels"], Float[Tensor, "points channels"]]:
        """The condition as it is, and ones."""
        return condition, torch.ones_like(condition)


def make_region_module(kind: RegionModule, feature_dim: int, condition_dim: int) -> nn.Module:
    """The region module of a name."""
    modules = {"external": ExternalAttentionSaliency, "mlp": MLPSaliency, "concat": Concatenation}
    return modules[kind](feature_dim, condition_dim)
