"""The networks of LPIPS and FID, with weights from a path or from the torch cache. Nothing is downloaded here."""

from __future__ import annotations

import warnings
from pathlib import Path

from torch import nn

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.third_party_warnings import silence_third_party_warnings
from nerfstudio_talking.io.weights import load_state

ALEXNET_FILES = ("alexnet-owt-7be5be79.pth",)
"""Torchvision's AlexNet in the torch cache (244 MB), the network of LPIPS."""
INCEPTION_FILES = ("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth")
"""TensorFlow's Inception as FID wants it (95 MB), under torch-fidelity's and pytorch-fid's name: one file."""


def lpips_network(weights: Path) -> nn.Module:
    """LPIPS of AlexNet, version 0.1: the linear layers come with the package, AlexNet from a file of torchvision's.

    Raises:
        TalkingError: the file is not torchvision's AlexNet.
    """
    import lpips

    with warnings.catch_warnings():
        silence_third_party_warnings()
        network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    state = load_state(weights, "torchvision's AlexNet")
    for name, parameter in network.net.named_parameters():  # slice2.3.weight is features.3.weight
        key = "features." + name.split(".", 1)[1]
        if key not in state or state[key].shape != parameter.shape:
            raise TalkingError(
                weights,
                expected=f"torchvision's AlexNet with {key} of shape {tuple(parameter.shape)}",
                found="no such key" if key not in state else f"shape {tuple(state[key].shape)}",
                hint=f"Give {ALEXNET_FILES[0]} from torchvision.",
            )
        parameter.data.copy_(state[key])
    return network.eval()


def inception_network(weights: Path) -> nn.Module:
    """The 2048 features of FID's Inception (torch-fidelity's, equal to pytorch-fid's), for uint8 images.

    Raises:
        TalkingError: the file is not this network.
    """
    from torchmetrics.image.fid import NoTrainInceptionV3

    load_state(weights, "FID's Inception")
    try:
        network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(weights))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        hint = f"Give {INCEPTION_FILES[0]} from torch-fidelity."
        raise TalkingError(weights, expected="FID's Inception", found=reason, hint=hint) from error
    network.num_features = 2048  # type: ignore[assignment]
    return network
