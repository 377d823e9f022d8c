"""Where in space a modality matters: the regional-saliency-aware module of Wang et al. (2025), and its alternatives.

Each module takes the features of points and one condition per point (audio or eyes) and returns the condition weighted
channel by channel, and the weights.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nerfstudio_talking.field_components.hash_planes import Implementation, fastest_on

RegionModule = Literal["external", "mlp", "concat"]


def external_attention(
    query: Float[Tensor, "points tokens query"],
    key: Float[Tensor, "query slots"],
    value: Float[Tensor, " slots"],
) -> Float[Tensor, "points tokens"]:
    """External attention with the double normalisation of Guo et al. (Beyond Self-attention, TPAMI 2022, section 3.2):
    a softmax over the tokens, then each token's row is divided by its sum over the slots. The reference implementation.
    """
    attention = torch.softmax(query @ key, dim=1)  # (N, C, S)
    attention = attention / attention.sum(dim=2, keepdim=True)
    return attention @ value


class _FusedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, key, value):  # type: ignore[override]
        from nerfstudio_talking.field_components.kernels import external_attention_numba as kernels

        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
        attended, total = query.new_empty(query.shape[:2]), query.new_empty(query.shape[:2])
        tensors = (query.flatten(1), key, value, attended, total)
        kernels.forward(*(t.detach().numpy() for t in tensors))
        ctx.save_for_backward(*tensors)
        return attended

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        from nerfstudio_talking.field_components.kernels import external_attention_numba as kernels

        query, key, _, attended, _ = ctx.saved_tensors
        grad_query = torch.empty_like(query)
        blocks = -(-len(query) // kernels.BLOCK)
        grad_memory = query.new_empty(blocks, len(key) + 1, key.shape[1])
        tensors = (grad.contiguous(), *ctx.saved_tensors, grad_query, grad_memory)
        kernels.backward(*(t.detach().numpy() for t in tensors))
        of_memory = grad_memory.sum(0)
        return grad_query.view(*attended.shape, len(key)), of_memory[:-1], of_memory[-1]


class ExternalAttentionSaliency(nn.Module):
    """Saliency by external attention from the point's features and the condition.

    Every channel of the condition is a token. Its query comes from the point's features and from the condition, and
    attends to two linear memories, key and value, that all points share (`external_attention`). Attention is among the
    tokens of one point, so that a point's saliency does not depend on the other points of the batch.

    Args:
        feature_dim: length of a point's features.
        condition_dim: number of channels of the condition.
        query_dim: length of a token's query.
        slots: number of slots of the memories.
        implementation: implementation of the attention: 'numba' is one pass over the points, for float32 on CPUs, and
            what 'auto' takes there; else torch.
    """

    def __init__(
        self,
        feature_dim: int,
        condition_dim: int,
        query_dim: int = 4,
        slots: int = 8,
        implementation: Implementation = "auto",
    ) -> None:
        super().__init__()
        self.condition_dim, self.query_dim = condition_dim, query_dim
        self.implementation: Implementation = implementation
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
        query = query.view(-1, self.condition_dim, self.query_dim)
        implementation = fastest_on(query.device) if self.implementation == "auto" else self.implementation
        fused = implementation == "numba" and query.device.type == "cpu" and query.dtype == torch.float32
        attend = _FusedAttention.apply if fused else external_attention
        attended = attend(query, self.memory_key, self.memory_value)
        saliency = torch.sigmoid(self.gain * attended + self.direct(features) + self.bias)
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
    """No weighting: every point gets the whole condition."""

    def __init__(self, feature_dim: int, condition_dim: int) -> None:
        super().__init__()

    def forward(
        self, features: Float[Tensor, "points features"], condition: Float[Tensor, "points channels"]
    ) -> tuple[Float[Tensor, "points channels"], Float[Tensor, "points channels"]]:
        """The condition unchanged, and ones."""
        return condition, torch.ones_like(condition)


def make_region_module(
    kind: RegionModule, feature_dim: int, condition_dim: int, implementation: Implementation = "auto"
) -> nn.Module:
    """Build a region module by its name.

    Args:
        kind: which module.
        feature_dim: length of a point's features.
        condition_dim: number of channels of the condition.
        implementation: implementation of external attention.
    """
    if kind == "external":
        return ExternalAttentionSaliency(feature_dim, condition_dim, implementation=implementation)
    return {"mlp": MLPSaliency, "concat": Concatenation}[kind](feature_dim, condition_dim)
