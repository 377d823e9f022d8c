"""SHA-256 digests of files and of a module's weights, and their form in a checkpoint."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


def file_digest(path: Path) -> str:
    """Digest of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def weights_digest(module: Module) -> str:
    """Digest of a module's weights and buffers, in the order of their names."""
    import torch

    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def digest_tensor(digest: str) -> Tensor:
    """A digest's 64 letters as bytes (uint8), for a buffer."""
    import torch

    return torch.tensor(list(digest.encode()[:64].ljust(64, b"0")), dtype=torch.uint8)
