"""SHA-256 of files and of weights, and a digest as a checkpoint carries it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def file_digest(path: Path) -> str:
    """Of a file, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def weights_digest(module: torch.nn.Module) -> str:
    """Of a module's weights and buffers, by name."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def digest_tensor(digest: str) -> Tensor:
    """A digest's 64 letters as bytes, for a buffer."""
    return torch.from_numpy(np.frombuffer(digest.encode()[:64].ljust(64, b"0"), dtype=np.uint8).copy())
