"""The mouth prior: networks from a window of audio features to mouth measures of any person, learned from many.

The measures are in a common normalised space: each speaker's have zero mean and unit variance. What a person adds to
them is fitted on top (`audio.kernel_regression`), the two stages of Yi et al. (arXiv 2002.10137, 2020). A frame's own
window is all that the networks see, so they add nothing to the look-ahead of the features.

Weights lie beside this module, one file for each kind of features; docs/mouth-prior.md says what they were learned
from, and scripts/mouth_prior learns them.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nerfstudio_talking.io.arrays import load_archive
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import new_file

MEASURES = ("gap", "width", "thickness", "protrusion", "upper_lip", "chin", "corners", "inner_width")
"""What the networks predict, in this order. Those of `measurements.mouth_measures` come first."""


@dataclass(frozen=True)
class NetworkSize:
    """Sizes of one network."""

    window: int
    """Rows of a window."""
    channels: int
    """Channels of a row."""
    width: int = 64
    """Channels of the convolutions."""
    hidden: int = 64
    """Hidden activations that the measures are read from."""


class MouthPriorNetwork(nn.Module):
    """One network: a linear layer per row, two residual convolutions over the window, one hidden layer.

    Args:
        size: its sizes.
        dropout: dropout probability in training, of what both last layers read; the input has half of it.
    """

    def __init__(self, size: NetworkSize, dropout: float = 0.0) -> None:
        super().__init__()
        self.size, self.dropout = size, dropout
        self.rows = nn.Linear(size.channels, size.width)
        self.convolutions = nn.ModuleList(nn.Conv1d(size.width, size.width, 3, padding=1) for _ in range(2))
        self.hidden_layer = nn.Linear(size.width * size.window, size.hidden)
        self.measures = nn.Linear(size.hidden, len(MEASURES))

    def forward(self, windows: Float[Tensor, "frames window channels"]) -> Float[Tensor, "frames measures"]:
        """Normalised mouth measures of frames."""
        x = F.gelu(self.rows(F.dropout(windows, 0.5 * self.dropout, self.training))).transpose(1, 2)
        for convolution in self.convolutions:
            x = x + F.gelu(convolution(x))
        hidden = F.gelu(self.hidden_layer(F.dropout(x.flatten(1), self.dropout, self.training)))
        return self.measures(F.dropout(hidden, self.dropout, self.training))


class MouthPrior(nn.Module):
    """Several networks that were learned from the same speakers, each from other random numbers; they learn no more,
    so that their weights are buffers.

    Args:
        networks: the networks, of one size; theirs become buffers.
    """

    def __init__(self, networks: list[MouthPriorNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.size = networks[0].size
        for module in self.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, parameter.detach())

    def forward(self, windows: Float[Tensor, "frames window channels"]) -> Float[Tensor, "frames measures"]:
        """Normalised mouth measures: the mean of the networks'.

        Args:
            windows: normalised features, the window of each frame.
        """
        return torch.stack([network(windows) for network in self.networks]).mean(0)


def load_mouth_prior(kind: str) -> MouthPrior | None:
    """The prior for a kind of features, by its name ('logmel', 'whisper-base'); None where none was learned."""
    path = Path(__file__).with_name(f"{kind}.npz")
    return read_mouth_prior(path) if path.is_file() else None


def read_mouth_prior(path: Path) -> MouthPrior:
    """A prior from a file that `write_mouth_prior` wrote; arrays of numbers only.

    Raises:
        TalkingError: the file is no such prior.
    """
    expected = "a mouth prior"
    hint = "Install the package again, or learn it again with scripts/mouth_prior."
    loaded = load_archive(path, expected, hint)
    try:
        arrays = {name: torch.from_numpy(array) for name, array in loaded.items()}
        size = NetworkSize(*(int(number) for number in arrays.pop("size")))
        networks = []
        for index in range(len(arrays["rows.weight"])):
            network = MouthPriorNetwork(size).eval()
            network.load_state_dict({name: array[index].float() for name, array in arrays.items()})
            networks.append(network)
    except (ValueError, KeyError, RuntimeError, TypeError) as error:
        raise TalkingError(path, expected=expected, found=str(error).splitlines()[0], hint=hint) from error
    return MouthPrior(networks)


def write_mouth_prior(networks: list[MouthPriorNetwork], path: Path) -> None:
    """Write the networks' weights to a .npz file, in half precision."""
    size = networks[0].size
    arrays: dict[str, np.ndarray] = {"size": np.array(astuple(size), dtype=np.int64)}
    for name in networks[0].state_dict():
        arrays[name] = np.stack([network.state_dict()[name].half().numpy() for network in networks])
    with new_file(path) as file:
        np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]
