"""Warnings of other packages that a user can do nothing about, kept off the console.

Each filter names the text, the category and the module that warns; nothing else is filtered, and nothing of this
package. The filters are installed by `ns-talking` and by the packages that hold our entry points, so that nerfstudio's
own commands are quiet too once they have loaded the plugin. A warning raised before that still shows.
"""

from __future__ import annotations

import re
import warnings
from typing import NamedTuple


class ThirdPartyWarning(NamedTuple):
    """A known warning."""

    text: str
    """How the message begins."""
    category: type[Warning]
    module: str
    """Full name of the module that the warning names."""


THIRD_PARTY_WARNINGS = (
    # nerfstudio 1.1.5 was written for torch 2.0
    *(
        ThirdPartyWarning(f"`torch.cuda.amp.{name}(args...)` is deprecated.", FutureWarning, module)
        for name, module in (
            ("custom_fwd", "nerfstudio.field_components.activations"),
            ("custom_bwd", "nerfstudio.field_components.activations"),
            ("GradScaler", "nerfstudio.engine.trainer"),
        )
    ),
    ThirdPartyWarning(
        "Using a non-tuple sequence for multidimensional indexing is deprecated",
        UserWarning,
        "nerfstudio.cameras.cameras",
    ),
    # nerfstudio makes a scaler without a GPU, logs losses with their gradients, starts four workers on any machine, and
    # interpolates cameras with old calls of torch
    ThirdPartyWarning(
        "torch.cuda.amp.GradScaler is enabled, but CUDA is not available.", UserWarning, "torch.cuda.amp.grad_scaler"
    ),
    ThirdPartyWarning(
        "Converting a tensor with requires_grad=True to a scalar", UserWarning, "nerfstudio.utils.writer"
    ),
    ThirdPartyWarning(
        "To copy construct from a tensor, it is recommended to use", UserWarning, "nerfstudio.cameras.camera_utils"
    ),
    ThirdPartyWarning(
        "Using torch.cross without specifying the dim arg is deprecated",
        UserWarning,
        "nerfstudio.cameras.camera_utils",
    ),
    # a step of a GAN trains one side, and one that overflows in half precision none: schedules go on all the same
    ThirdPartyWarning("Detected call of `lr_scheduler.step()` before", UserWarning, "nerfstudio.engine.optimizers"),
    ThirdPartyWarning("This DataLoader will create", UserWarning, "torch.utils.data.dataloader"),
    # lpips asks torchvision for a network as before version 0.13
    ThirdPartyWarning("The parameter 'pretrained' is deprecated", UserWarning, "torchvision.models._utils"),
    ThirdPartyWarning("Arguments other than a weight enum or `None`", UserWarning, "torchvision.models._utils"),
)


def silence_third_party_warnings() -> None:
    """Install a filter for each of `THIRD_PARTY_WARNINGS`; a second call changes nothing."""
    for warning in THIRD_PARTY_WARNINGS:
        warnings.filterwarnings("ignore", re.escape(warning.text), warning.category, re.escape(warning.module) + r"\Z")
