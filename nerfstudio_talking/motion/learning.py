"""Fitting the motion network: seeded, resumable, the same whether interrupted or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_talking.io.files import save_atomically
from nerfstudio_talking.motion.network import SEQUENCE, MotionLossWeights, MotionNetwork, motion_losses, noisy


@dataclass
class LearningOptions:
    """How the network is fitted."""

    epochs: int = 60
    """Passes over the frames; each sees every frame about twice, in random sequences."""
    batch: int = 16
    """Sequences of 16 frames per step."""
    learning_rate: float = 1e-3
    """Of Adam, falling to a tenth along a half cosine."""
    weight_decay: float = 1e-3
    """Of AdamW."""
    noise: float = 1.0
    """Strength of what is done to the patches, as another microphone would."""
    stop: int | None = None
    """Epoch after which to stop short of `epochs`, with the same learning rates up to there."""
    seed: int = 0
    """Of everything random."""
    save_every: int = 5
    """Epochs between checkpoints."""
    weights: MotionLossWeights = field(default_factory=MotionLossWeights)


@dataclass(frozen=True)
class Sample:
    """A stretch of one person's frames as tensors."""

    patches: Float[Tensor, "frames 28 12"]
    targets: Float[Tensor, "frames outputs"]
    """Expression coefficients, then the pose on the person's own scale."""


@dataclass
class History:
    """What each epoch left."""

    train: list[dict[str, float]] = field(default_factory=list)
    """Terms of the loss, mean over the epoch."""
    held_out: list[dict[str, float]] = field(default_factory=list)
    """Terms of the loss on what was held out; empty where nothing was."""
    predictions: list[Tensor] = field(default_factory=list)
    """Predictions of what was held out, all stretches one after the other, float16."""


def fit_network(
    network: MotionNetwork,
    train: list[Sample],
    held_out: list[Sample],
    importance: Float[Tensor, " expression"],
    options: LearningOptions,
    checkpoint: Path | None = None,
    advance: Callable[[dict[str, float]], Any] | None = None,
) -> tuple[History, dict[str, Tensor]]:
    """Fit in place. Run again with the same checkpoint path after an interruption, it goes on and ends the same.

    Args:
        network: changed in place; ends in the state of the last epoch.
        train: what is learned from.
        held_out: what is only measured.
        importance: weight of each coefficient, of mean 1.
        options: how.
        checkpoint: file for the state; it stays when all is done, and is then all there is to read.
        advance: called after each epoch, done before or not, with the latest losses.

    Returns:
        The history, and the weights of the epoch of least held-out loss (of the last one where nothing is held out).
    """
    optimiser = torch.optim.AdamW(
        network.parameters(), options.learning_rate, betas=(0.5, 0.999), weight_decay=options.weight_decay
    )
    history, best, start = History(), _copy(network), 0
    if checkpoint is not None and checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        history, best, start = History(**state["history"]), state["best"], state["epoch"]
    last = min(options.stop or options.epochs, options.epochs)
    for epoch in range(last):
        if epoch >= start:
            with torch.random.fork_rng(devices=[]):
                history.train.append(_epoch(network, optimiser, train, importance, options, epoch))
            if held_out:
                losses, predictions = held_out_losses(network, held_out, importance, options.weights)
                history.held_out.append(losses)
                history.predictions.append(predictions.half())
            totals = [sum(losses.values()) for losses in history.held_out]
            if not totals or totals[-1] <= min(totals):
                best = _copy(network)
            done = epoch + 1
            if checkpoint is not None and (done % options.save_every == 0 or done == last):
                record = {
                    "network": network.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "history": vars(history),
                    "best": best,
                    "epoch": done,
                }
                save_atomically(record, checkpoint)
        if advance is not None:
            advance((history.held_out or history.train)[min(epoch, len(history.train) - 1)])
    return history, best


@torch.no_grad()
def held_out_losses(
    network: MotionNetwork, samples: list[Sample], importance: Tensor, weights: MotionLossWeights
) -> tuple[dict[str, float], Float[Tensor, "frames outputs"]]:
    """Terms of the loss over whole stretches, weighted by their length, and the predictions."""
    predictions = [network.predict(sample.patches) for sample in samples]
    total = sum(len(sample.targets) for sample in samples)
    sums: dict[str, float] = {}
    for sample, predicted in zip(samples, predictions):
        terms = motion_losses(predicted[None], sample.targets[None], importance, weights)
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(sample.targets) / total
    return sums, torch.cat(predictions)


def _epoch(
    network: MotionNetwork,
    optimiser: torch.optim.Optimizer,
    train: list[Sample],
    importance: Tensor,
    options: LearningOptions,
    epoch: int,
) -> dict[str, float]:
    """One pass; everything random in it follows from the seed and the epoch's number alone."""
    network.train()
    seed = int(np.random.SeedSequence([options.seed, epoch]).generate_state(1)[0])
    torch.manual_seed(seed)  # dropout
    generator = torch.Generator().manual_seed(seed + 1)
    fall = 0.55 + 0.45 * float(np.cos(np.pi * epoch / max(options.epochs, 1)))
    for group in optimiser.param_groups:
        group["lr"] = options.learning_rate * fall
    starts = [(row, int(first)) for row, sample in enumerate(train) for first in _starts(sample, generator)]
    order = torch.randperm(len(starts), generator=generator).tolist()
    sums: dict[str, float] = {}
    batches = [order[i : i + options.batch] for i in range(0, len(order), options.batch)]
    for batch in batches:
        picks = [(train[starts[i][0]], slice(starts[i][1], starts[i][1] + SEQUENCE)) for i in batch]
        patches = torch.stack([sample.patches[rows] for sample, rows in picks])
        targets = torch.stack([sample.targets[rows] for sample, rows in picks])
        predicted = network(noisy(patches, options.noise, generator))
        terms = motion_losses(predicted, targets, importance, options.weights)
        loss = torch.stack(list(terms.values())).sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach()) / len(batches)
    return sums


def _starts(sample: Sample, generator: torch.Generator) -> list[int]:
    """First frames of sequences that cover a stretch about twice, at random phases."""
    last = len(sample.targets) - SEQUENCE
    if last < 0:
        return []
    count = max(2 * len(sample.targets) // SEQUENCE, 1)
    grid = (torch.arange(count) + torch.rand(count, generator=generator)) / count * (last + 1)
    return grid.long().clamp(0, last).tolist()


def _copy(network: MotionNetwork) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}
