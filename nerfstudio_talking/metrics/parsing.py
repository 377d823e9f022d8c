"""How well rendered parsing agrees with the parsing maps."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from nerfstudio_talking.dataset_io.parsing_labels import PALETTE, PARSING_CLASSES


def ids_of_colours(colours: Float[Tensor, "height width 3"]) -> Int64[Tensor, "height width"]:
    """Class ids of an image in the colours of `semantics.PALETTE`, [0, 1]."""
    palette = torch.from_numpy(PALETTE).to(colours) / 255
    return torch.cdist(colours.reshape(-1, 3), palette).argmin(1).view(colours.shape[:2])


class ParsingAgreement(MulticlassConfusionMatrix):
    """Intersection over union of each class over all pixels of all frames, and its mean over the classes present.

    `compute` gives `iou_<class>` for every class that the true maps or the rendered ones show, and `miou`: the mean
    over the classes that the true maps show.
    """

    def __init__(self) -> None:
        super().__init__(num_classes=len(PARSING_CLASSES))

    def compute(self) -> dict[str, float]:  # type: ignore[override]
        """Flat floats in [0, 1]."""
        confusion = super().compute().double()  # rows are true
        both = confusion.diagonal()
        either = confusion.sum(0) + confusion.sum(1) - both
        iou = both / either.clamp_min(1)
        shown = confusion.sum(1) > 0
        scores = {f"iou_{name}": float(iou[i]) for i, name in enumerate(PARSING_CLASSES) if either[i] > 0}
        return {"miou": float(iou[shown].mean()), **scores} if shown.any() else scores
