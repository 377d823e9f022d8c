"""How well rendered parsing agrees with the parsing maps."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64, Integer
from torch import Tensor

from nerfstudio_talking.dataset_io.parsing_labels import PALETTE, PARSING_CLASSES


def decode_palette(colours: Float[Tensor, "height width 3"]) -> Int64[Tensor, "height width"]:
    """Class ids of an image in the colours of `parsing_labels.PALETTE`, [0, 1]: the nearest colour's."""
    palette = torch.from_numpy(PALETTE).to(colours) / 255
    return torch.cdist(colours.reshape(-1, 3), palette).argmin(1).view(colours.shape[:2])


def confusion_matrix(
    rendered: Integer[np.ndarray, "*pixels"], gt: Integer[np.ndarray, "*pixels"]
) -> Int64[np.ndarray, "classes classes"]:
    """Pixels of each true class (row) by the class that was rendered (column), ids as in `PARSING_CLASSES`."""
    count = len(PARSING_CLASSES)
    pairs = count * np.asarray(gt, np.int64).ravel() + np.asarray(rendered, np.int64).ravel()
    return np.bincount(pairs, minlength=count**2).reshape(count, count)


def intersection_over_union(confusion: Integer[np.ndarray, "classes classes"]) -> dict[str, float]:
    """`iou_<class>` for every class that the true maps or the rendered ones show, and `miou`, the mean over the classes
    that the true maps show; in [0, 1].

    Args:
        confusion: from `confusion_matrix`, summed over frames.
    """
    both = np.diagonal(confusion)
    either = confusion.sum(axis=0) + confusion.sum(axis=1) - both
    iou = both / np.maximum(either, 1)
    shown = confusion.sum(axis=1) > 0
    scores = {f"iou_{name}": float(iou[i]) for i, name in enumerate(PARSING_CLASSES) if either[i] > 0}
    return {"miou": float(iou[shown].mean()), **scores} if shown.any() else scores
