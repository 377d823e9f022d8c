"""Memory of identity features, addressed by the rendered face (Yi et al. 2020).

A slot holds a key (a unit vector that an encoder computes from the rendered frame), a value (the identity feature of
the ground truth) and an age. Only the encoder is trained by gradient descent: a threshold triplet loss pulls the key of
a rendered frame towards the slots of its own identity and away from those of others.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

_EMPTY = -2.0
"""Similarity of an empty slot: below that of opposite directions."""


class IdentityMemory(nn.Module):
    """Keys, values and ages, kept as buffers so that checkpoints contain them.

    Args:
        slots: capacity; 30 000 in the authors' setting.
        key_dim: channels of a key.
        value_dim: channels of an identity feature.
        neighbours: number of nearest slots among which the triplet loss looks for its positive and its negative.
        threshold: cosine similarity above which two identity features count as one identity.
        margin: margin of the triplet loss.
        age_noise: upper bound of the random noise added to the ages when the oldest slot is overwritten, so that slots
            written together are not overwritten together; 0 overwrites strictly by age.

    Raises:
        ValueError: less than one slot.
    """

    keys: Tensor
    values: Tensor
    ages: Tensor
    writes: Tensor

    def __init__(
        self,
        slots: int,
        key_dim: int = 512,
        value_dim: int = 512,
        neighbours: int = 256,
        threshold: float = 0.98,
        margin: float = 0.3,
        age_noise: float = 4.0,
    ) -> None:
        super().__init__()
        if slots < 1:
            raise ValueError(f"a memory has at least one slot, not {slots}")
        self.neighbours, self.threshold, self.margin, self.age_noise = neighbours, threshold, margin, age_noise
        self.register_buffer("keys", torch.zeros(slots, key_dim))
        self.register_buffer("values", torch.zeros(slots, value_dim))
        self.register_buffer("ages", torch.full((slots,), -1, dtype=torch.int64))
        self.register_buffer("writes", torch.zeros((), dtype=torch.int64))

    @property
    def used(self) -> Bool[Tensor, " slots"]:
        """Which slots are filled."""
        return self.ages >= 0

    def __len__(self) -> int:
        return int(self.used.sum())

    def similarity(self, query: Float[Tensor, "batch key"]) -> Float[Tensor, "batch slots"]:
        """Cosine similarity of queries and keys; -2 for empty slots."""
        # a copy: `update` writes in place between this forward pass and its backward pass
        keys = self.keys.clone() if torch.is_grad_enabled() else self.keys
        return (F.normalize(query, dim=1) @ keys.T).masked_fill(~self.used, _EMPTY)

    @torch.no_grad()
    def retrieve(self, query: Float[Tensor, "batch key"]) -> Float[Tensor, "batch value"]:
        """Values under the nearest keys; zeros from an empty memory."""
        return self.values[self.similarity(query).argmax(1)]

    def triplet_loss(self, query: Float[Tensor, "batch key"], value: Float[Tensor, "batch value"]) -> Float[Tensor, ""]:
        """max(0, s(q, negative) - s(q, positive) + margin), the mean over queries that have both.

        Among a query's nearest slots, the positive is the nearest whose value has the query's identity, the negative
        the nearest whose value has not. Two features have one identity where their cosine similarity is above the
        threshold, so no labels are needed.

        Args:
            query: keys of rendered frames.
            value: identity features of their ground truth.
        """
        similarity = self.similarity(query)
        nearest, slot = similarity.topk(min(self.neighbours, similarity.shape[1]), dim=1)
        same = self._cosine(value[:, None], self.values[slot]) > self.threshold
        filled = self.used[slot]
        positive = nearest.masked_fill(~(same & filled), _EMPTY).amax(1)
        negative = nearest.masked_fill(same | ~filled, _EMPTY).amax(1)
        both = (positive > _EMPTY) & (negative > _EMPTY)
        if not both.any():
            return query.sum() * 0.0
        return F.relu(negative - positive + self.margin)[both].mean()

    @torch.no_grad()
    def update(self, query: Float[Tensor, "batch key"], value: Float[Tensor, "batch value"]) -> Int64[Tensor, " batch"]:
        """Store keys with their identity features, one by one; returns the slot of each.

        Where the nearest slot has the same identity, its key moves half way to the query; otherwise an empty slot, or
        the oldest one, is overwritten. A slot that was written has age 0; all others grow older by one.

        Raises:
            ValueError: a query or value is not finite, which would spoil the memory for good.
        """
        if not (torch.isfinite(query).all() and torch.isfinite(value).all()):
            raise ValueError("keys and values must be finite: the training has diverged")
        written = []
        for key, feature in zip(F.normalize(query, dim=1), value):
            similarity = self.similarity(key[None])[0]
            slot = similarity.argmax()
            if self.used[slot] and self._cosine(feature, self.values[slot]) > self.threshold:
                self.keys[slot] = F.normalize(self.keys[slot] + key, dim=0)
            else:
                slot = self._oldest()
                self.keys[slot], self.values[slot] = key, feature
            self.ages[self.used] += 1
            self.ages[slot] = 0
            self.writes += 1
            written.append(slot)
        return torch.stack(written) if written else self.writes.new_zeros(0)

    def _oldest(self) -> Tensor:
        """An empty slot, or else the oldest up to noise."""
        if not self.used.all():
            return self.ages.argmin()
        # seeded by the number of writes: a resumed training draws what it would have drawn
        generator = torch.Generator().manual_seed(int(self.writes))
        noise = self.age_noise * torch.rand(len(self.ages), generator=generator)
        return (self.ages + noise.to(self.ages.device)).argmax()

    @staticmethod
    def _cosine(a: Tensor, b: Tensor) -> Tensor:
        return F.cosine_similarity(a, b, dim=-1)


class KeyEncoder(nn.Module):
    """Residual network (He et al. 2016) from a rendered frame to its key, a unit vector.

    Args:
        key_dim: channels of a key.
        width: channels of the first stage; 64 is ResNet-18, other widths have one block per stage instead of two.
        side: larger frames are resized to this many pixels on both sides first.
    """

    def __init__(self, key_dim: int = 512, width: int = 64, side: int = 128) -> None:
        super().__init__()
        from torchvision.models.resnet import BasicBlock, ResNet

        # group norm instead of batch norm: batches of one can train, and a single frame is treated as in training
        def norm(channels: int) -> nn.Module:
            return nn.GroupNorm(min(8, channels), channels)

        network = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=key_dim, norm_layer=norm)
        self.side = side
        self.network = network if width == 64 else _narrow_resnet(width, key_dim, norm)

    def forward(self, frame: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch key"]:
        """Keys of frames in [-1, 1]."""
        if frame.shape[-1] > self.side or frame.shape[-2] > self.side:
            frame = F.interpolate(frame, (self.side, self.side), mode="area")
        return F.normalize(self.network(frame), dim=1)


def _narrow_resnet(width: int, key_dim: int, norm) -> nn.Module:
    """Four stages as in ResNet-18 with one residual block each."""
    from torchvision.models.resnet import BasicBlock

    layers: list[nn.Module] = [
        nn.Conv2d(3, width, 7, 2, 3, bias=False), norm(width), nn.ReLU(True), nn.MaxPool2d(3, 2, 1)
    ]  # fmt: skip
    before = width
    for stage in range(4):
        channels, stride = width << stage, 1 if stage == 0 else 2
        shortcut = None
        if before != channels:
            shortcut = nn.Sequential(nn.Conv2d(before, channels, 1, stride, bias=False), norm(channels))
        layers.append(BasicBlock(before, channels, stride, shortcut, norm_layer=norm))
        before = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, key_dim))
