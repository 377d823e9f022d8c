"""A clip's digest in a checkpoint, which says what it was trained on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def digest_tensor(digest: str) -> Tensor:
    """A digest's 64 letters as bytes, for a buffer."""
    return torch.from_numpy(np.frombuffer(digest.encode()[:64].ljust(64, b"0"), dtype=np.uint8).copy())
