"""What the tests of several scores share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn


@pytest.fixture(scope="session")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """Torchvision's AlexNet with random weights, convolutions only: its file, and its features."""
    from torchvision.models import alexnet

    torch.manual_seed(0)
    features = alexnet(weights=None).features.eval()
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save({f"features.{name}": value for name, value in features.state_dict().items()}, path)
    return path, features
