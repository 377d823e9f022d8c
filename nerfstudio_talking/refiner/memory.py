"""A memory of identity features, found by the look of the rendered face (Yi et al. 2020, section on the memory).

Slots hold a key (a unit vector that an encoder makes of the rendered frame), a value (the identity feature of the true
frame) and an age. Nothing of it is learned by gradient but the encoder, whose threshold triplet loss draws the key of a
rendered frame to the slots of its own identity and away from those of others.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

_EMPTY = -2.0
"""Similarity of an empty slot: below that of opposite directions."""


class IdentityMemory(nn.Module):
    """Keys, values and ages as buffers: a checkpoint carries them.

    Args:
        slots: capacity; 30 000 in the authors' setting.
        key_dim: channels of a key.
        value_dim: channels of an identity feature.
        neighbours: slots that the triplet loss looks through for its positive and negative.
        threshold: cosine from which two identity features are of one identity.
        margin: of the triplet loss.
        age_noise: ages are compared up to this much noise when the oldest slot is sought, so that slots written
            together are not lost together. 0 takes the oldest in order.
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
        """Slots that hold something."""
        return self.ages >= 0

    def __len__(self) -> int:
        return int(self.used.sum())

    def similarity(self, query: Float[Tensor, "batch key"]) -> Float[Tensor, "batch slots"]:
        """Cosine of queries with all keys; below -1 for empty slots."""
        # a copy: the memory is written in place between a loss and the way back through it
        keys = self.keys.clone() if torch.is_grad_enabled() else self.keys
        return (F.normalize(query, dim=1) @ keys.T).masked_fill(~self.used, _EMPTY)

    @torch.no_grad()
    def retrieve(self, query: Float[Tensor, "batch key"]) -> Float[Tensor, "batch value"]:
        """The value under the key most alike; zeros from an empty memory."""
        return self.values[self.similarity(query).argmax(1)]

    def triplet_loss(self, query: Float[Tensor, "batch key"], value: Float[Tensor, "batch value"]) -> Float[Tensor, ""]:
        """max(0, s(q, negative) - s(q, positive) + margin), the mean over queries that have both.

        Among a query's nearest neighbours, the positive is the nearest slot whose value is of the query's identity, the
        negative the nearest whose value is not: an identity is what lies within a threshold, no label is needed.
        """
        similarity = self.similarity(query)
        nearest, slot = similarity.topk(min(self.neighbours, similarity.shape[1]), dim=1)
        same = self._alike(value[:, None], self.values[slot]) > self.threshold
        filled = self.used[slot]
        positive = nearest.masked_fill(~(same & filled), _EMPTY).amax(1)
        negative = nearest.masked_fill(same | ~filled, _EMPTY).amax(1)
        both = (positive > _EMPTY) & (negative > _EMPTY)
        if not both.any():
            return query.sum() * 0.0
        return F.relu(negative - positive + self.margin)[both].mean()

    @torch.no_grad()
    def update(self, query: Float[Tensor, "batch key"], value: Float[Tensor, "batch value"]) -> Int64[Tensor, " batch"]:
        """Store what was seen, one by one; returns the slot of each.

        Where the nearest key's value is of the same identity, the key moves half way to the query; else an empty slot,
        or the oldest, is written. A slot that was touched has age 0, all others grow older by one.

        Raises:
            ValueError: a query or value is not finite, which would poison the memory for good.
        """
        if not (torch.isfinite(query).all() and torch.isfinite(value).all()):
            raise ValueError("keys and values are finite numbers: the training has diverged")
        touched = []
        for key, feature in zip(F.normalize(query, dim=1), value):
            similarity = self.similarity(key[None])[0]
            slot = similarity.argmax()
            if self.used[slot] and self._alike(feature, self.values[slot]) > self.threshold:
                self.keys[slot] = F.normalize(self.keys[slot] + key, dim=0)
            else:
                slot = self._oldest()
                self.keys[slot], self.values[slot] = key, feature
            self.ages[self.used] += 1
            self.ages[slot] = 0
            self.writes += 1
            touched.append(slot)
        return torch.stack(touched) if touched else self.writes.new_zeros(0)

    def _oldest(self) -> Tensor:
        """An empty slot, else the oldest up to noise."""
        if not self.used.all():
            return self.ages.argmin()
        # drawn from the count of writes: a resumed training draws what it would have drawn
        generator = torch.Generator().manual_seed(int(self.writes))
        noise = self.age_noise * torch.rand(len(self.ages), generator=generator)
        return (self.ages + noise.to(self.ages.device)).argmax()

    @staticmethod
    def _alike(a: Tensor, b: Tensor) -> Tensor:
        return F.cosine_similarity(a, b, dim=-1)


class KeyEncoder(nn.Module):
    """The key of a rendered frame: a residual network to a unit vector.

    Args:
        key_dim: channels of a key.
        width: of the first stage; 64 is ResNet-18, others have its layout with fewer channels.
        side: pixels on a side that frames are shrunk to first.
    """

    def __init__(self, key_dim: int = 512, width: int = 64, side: int = 128) -> None:
        super().__init__()
        from torchvision.models.resnet import BasicBlock, ResNet

        # group norm for batch norm: a batch of one trains, and a resumed or single frame is treated like any other
        def norm(channels: int) -> nn.Module:
            return nn.GroupNorm(min(8, channels), channels)

        network = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=key_dim, norm_layer=norm)
        self.side = side
        self.network = network if width == 64 else _narrowed(width, key_dim, norm)

    def forward(self, frame: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch key"]:
        """Keys of frames in [-1, 1]."""
        if frame.shape[-1] > self.side or frame.shape[-2] > self.side:
            frame = F.interpolate(frame, (self.side, self.side), mode="area")
        return F.normalize(self.network(frame), dim=1)


def _narrowed(width: int, key_dim: int, norm) -> nn.Module:
    """Four stages of residual blocks as in ResNet-18, one block each."""
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
