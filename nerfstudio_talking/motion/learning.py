"""Training of the motion network: seeded and resumable, with the same result whether interrupted or not."""

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
from nerfstudio_talking.io.weights import load_state
from nerfstudio_talking.motion.network import SEQUENCE, MotionLossWeights, MotionNetwork, augment_patches, motion_losses


@dataclass
class LearningOptions:
    """Options of the training of the network."""

    epochs: int = 60
    """Number of passes over the frames; each sees every frame about twice, in random sequences."""
    batch: int = 16
    """Number of sequences (of 16 frames) per step."""
    learning_rate: float = 1e-3
    """Initial learning rate of AdamW, which falls to a tenth along a half cosine."""
    weight_decay: float = 1e-3
    """Weight decay of AdamW."""
    noise: float = 1.0
    """Strength of the augmentation of the patches, which imitates other microphones."""
    stop: int | None = None
    """Number of epochs after which to stop before `epochs`, at unchanged learning rates up to there."""
    seed: int = 0
    """Seed of augmentation, dropout and the order of the sequences."""
    save_every: int = 5
    """Number of epochs between checkpoints."""
    weights: MotionLossWeights = field(default_factory=MotionLossWeights)
    """Weights of the terms of the loss."""


@dataclass(frozen=True)
class Sample:
    """A range of successive frames of one person as tensors."""

    patches: Float[Tensor, "frames 28 12"]
    """Cepstral patches of the audio."""
    targets: Float[Tensor, "frames outputs"]
    """Expression coefficients, then the pose normalised by the person's mean and standard deviation."""


@dataclass
class History:
    """Losses and predictions of each epoch."""

    train: list[dict[str, float]] = field(default_factory=list)
    """Mean of the loss terms over the epoch."""
    held_out: list[dict[str, float]] = field(default_factory=list)
    """Loss terms on the held-out frames; empty without any."""
    predictions: list[Tensor] = field(default_factory=list)
    """Predictions of the held-out frames, all ranges one after the other, float16."""


def train_network(
    network: MotionNetwork,
    train: list[Sample],
    held_out: list[Sample],
    importance: Float[Tensor, " expression"],
    options: LearningOptions,
    checkpoint: Path | None = None,
    advance: Callable[[dict[str, float]], Any] | None = None,
) -> tuple[History, dict[str, Tensor]]:
    """Train in place. Called again with the same checkpoint path after an interruption, it resumes.

    Args:
        network: changed in place; ends in the state of the last epoch.
        train: frames to learn from.
        held_out: frames on which losses are only evaluated.
        importance: weight of each coefficient, of mean 1.
        options: options of the training.
        checkpoint: file for the state; an interrupted and resumed training ends with the same weights.
        advance: called after each epoch with the latest losses, also for epochs that the checkpoint holds.

    Returns:
        The history, and the weights of the epoch of least held-out loss (of the last one where nothing is held out).
    """
    optimizer = torch.optim.AdamW(
        network.parameters(), options.learning_rate, betas=(0.5, 0.999), weight_decay=options.weight_decay
    )
    history, best, start = History(), _copy_weights(network), 0
    if checkpoint is not None and checkpoint.is_file():
        state = load_state(checkpoint, "this training", "Delete it and run the same command again.")
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        history, best, start = History(**state["history"]), state["best"], state["epoch"]
    last = min(options.stop or options.epochs, options.epochs)
    for epoch in range(last):
        if epoch >= start:
            with torch.random.fork_rng(devices=[]):
                history.train.append(_train_epoch(network, optimizer, train, importance, options, epoch))
            if held_out:
                losses, predictions = held_out_losses(network, held_out, importance, options.weights)
                history.held_out.append(losses)
                history.predictions.append(predictions.half())
            totals = [sum(losses.values()) for losses in history.held_out]
            if not totals or totals[-1] <= min(totals):
                best = _copy_weights(network)
            done = epoch + 1
            if checkpoint is not None and (done % options.save_every == 0 or done == last):
                record = {
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
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
    """Loss terms over whole ranges of frames, weighted by their length, and the predictions."""
    predictions = [network.predict(sample.patches) for sample in samples]
    total = sum(len(sample.targets) for sample in samples)
    sums: dict[str, float] = {}
    for sample, predicted in zip(samples, predictions):
        terms = motion_losses(predicted[None], sample.targets[None], importance, weights)
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(sample.targets) / total
    return sums, torch.cat(predictions)


def _train_epoch(
    network: MotionNetwork,
    optimizer: torch.optim.Optimizer,
    train: list[Sample],
    importance: Tensor,
    options: LearningOptions,
    epoch: int,
) -> dict[str, float]:
    """One pass over the frames; its randomness depends only on the seed and the number of the epoch."""
    network.train()
    seed = int(np.random.SeedSequence([options.seed, epoch]).generate_state(1)[0])
    torch.manual_seed(seed)  # dropout
    generator = torch.Generator().manual_seed(seed + 1)
    decay = 0.55 + 0.45 * float(np.cos(np.pi * epoch / max(options.epochs, 1)))
    for group in optimizer.param_groups:
        group["lr"] = options.learning_rate * decay
    starts = [(row, int(first)) for row, sample in enumerate(train) for first in _draw_starts(sample, generator)]
    order = torch.randperm(len(starts), generator=generator).tolist()
    sums: dict[str, float] = {}
    batches = [order[i : i + options.batch] for i in range(0, len(order), options.batch)]
    for batch in batches:
        picks = [(train[starts[i][0]], slice(starts[i][1], starts[i][1] + SEQUENCE)) for i in batch]
        patches = torch.stack([sample.patches[rows] for sample, rows in picks])
        targets = torch.stack([sample.targets[rows] for sample, rows in picks])
        predicted = network(augment_patches(patches, options.noise, generator))
        terms = motion_losses(predicted, targets, importance, options.weights)
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach()) / len(batches)
    return sums


def _draw_starts(sample: Sample, generator: torch.Generator) -> list[int]:
    """First frames of sequences that cover the frames about twice, at random phases."""
    last = len(sample.targets) - SEQUENCE
    if last < 0:
        return []
    count = max(2 * len(sample.targets) // SEQUENCE, 1)
    grid = (torch.arange(count) + torch.rand(count, generator=generator)) / count * (last + 1)
    return grid.long().clamp(0, last).tolist()


def _copy_weights(network: MotionNetwork) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}
