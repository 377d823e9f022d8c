"""Learn the mouth prior from tracked speakers.

    python scripts/mouth_prior/learn.py TRACKED --kind logmel
    python scripts/mouth_prior/learn.py TRACKED --kind whisper@FOLDER --leave-out obama --output /tmp/prior.npz

TRACKED is what track_speakers.py wrote. Without --output the file of the package is replaced. A few minutes on a CPU.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from speakers import Clip, load_clips, read_sources
from torch import Tensor

from nerfstudio_talking.audio.features.registry import find_computed_kind
from nerfstudio_talking.audio.mouth_prior import network
from nerfstudio_talking.audio.mouth_prior.network import MouthPriorNetwork, NetworkSize, write_mouth_prior
from nerfstudio_talking.io.console import CONSOLE

NUM_NETWORKS = 4
EPOCHS, DROPOUT = {"logmel": 12, "whisper-base": 10}, {"logmel": 0.4, "whisper-base": 0.5}
"""By kind of features; docs/mouth-prior.md says how they were chosen."""
_BATCH, _RATE, _DECAY = 256, 2e-3, 0.02
_NOISE, _LEVEL_NOISE = 0.1, 0.2
"""Standard deviation of the noise on features, and of the level of whole windows of spectra."""
_AS_RECORDED = 0.4
"""Share of the frames that are heard as recorded; the others as one of the variants, or as recorded."""
_BANDS, _ROWS = 14, 1 / 6
"""Largest number of mel bands, and share of a window's rows, that are masked (SpecAugment, Park et al. 2019)."""
_LIMITS = (-3.0, 3.5)
"""Measures beyond these are clamped: tracking errors."""
_WEIGHTS = torch.tensor([2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 1.0])
"""Weights of the measures in the loss."""


def learn_network(clips: list[Clip], size: NetworkSize, epochs: int, dropout: float, seed: int) -> MouthPriorNetwork:
    """One network, by AdamW and a smooth L1 loss.

    Args:
        clips: the speakers.
        size: sizes of the network.
        epochs: passes over the frames.
        dropout: dropout probability.
        seed: of all random numbers.
    """
    torch.manual_seed(seed)
    variants = min(len(clip.windows) for clip in clips)
    windows = torch.from_numpy(np.stack([np.concatenate([c.windows[k] for c in clips]) for k in range(variants)]))
    targets = torch.from_numpy(np.concatenate([clip.measures for clip in clips])).float()
    seen = torch.nonzero(torch.isfinite(targets).all(1))[:, 0]
    targets = targets.clamp(*_LIMITS)
    model = MouthPriorNetwork(size, dropout).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=_DECAY)
    batches = len(seen) // _BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=epochs * batches + 1)
    for _ in range(epochs):
        for frames in seen[torch.randperm(len(seen))].split(_BATCH)[:batches]:
            recorded = torch.rand(len(frames)) < _AS_RECORDED
            variant = torch.where(recorded, 0, torch.randint(0, variants, (len(frames),)))
            heard = disturb(windows[variant, frames].float())
            loss = (F.smooth_l1_loss(model(heard), targets[frames], reduction="none") * _WEIGHTS).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def disturb(windows: Float[Tensor, "frames window channels"]) -> Float[Tensor, "frames window channels"]:
    """Windows with noise, with masked rows and, of spectra, with masked bands and another level."""
    count, rows, channels = windows.shape
    if channels == 80:
        windows = windows * ~_mask(count, channels, _BANDS)[:, None] + _LEVEL_NOISE * torch.randn(count, 1, 1)
    windows = windows * ~_mask(count, rows, max(2, round(rows * _ROWS)))[:, :, None]
    return windows + _NOISE * torch.randn_like(windows)


def _mask(count: int, length: int, most: int) -> Tensor:
    """One random stretch of fewer than `most` for each of `count` rows."""
    first, width = torch.randint(0, length, (count, 1)), torch.randint(0, most, (count, 1))
    position = torch.arange(length)
    return (position >= first) & (position < first + width)


def learn(clips: list[Clip], kind: str, num_networks: int = NUM_NETWORKS, seed: int = 0) -> list[MouthPriorNetwork]:
    """The networks of a prior."""
    size = NetworkSize(*clips[0].windows[0].shape[1:])
    return [
        learn_network(clips, size, EPOCHS[kind], DROPOUT[kind], seed=seed * num_networks + index)
        for index in range(num_networks)
    ]


def main() -> None:
    """Learn and write a prior."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracked", type=Path, help="folder of the tracked speakers")
    parser.add_argument("--kind", required=True, help="kind of the audio features")
    parser.add_argument("--leave-out", nargs="*", default=[], help="speakers that it does not learn from")
    parser.add_argument("--output", type=Path, help="file to write instead of the package's")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers")
    options = parser.parse_args()
    kind = find_computed_kind(options.kind)
    sources = [source for source in read_sources() if source.speaker not in options.leave_out]
    clips = load_clips(sources, options.tracked, kind, kind.window)
    path = options.output or Path(network.__file__).with_name(f"{kind.name}.npz")
    write_mouth_prior(learn(clips, kind.name, seed=options.seed), path)
    num_frames = sum(len(clip.measures) for clip in clips)
    CONSOLE.print(f"{path}: {len({clip.source.speaker for clip in clips})} speakers, {num_frames} frames")


if __name__ == "__main__":
    main()
