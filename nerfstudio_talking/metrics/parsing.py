"""Scores of rendered parsing maps."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Integer

from nerfstudio_talking.dataset_io.parsing_labels import PARSING_CLASSES
from nerfstudio_talking.metrics.base import ScoreInfo, VideoMetric
from nerfstudio_talking.metrics.functional.parsing import confusion_matrix, intersection_over_union


class ParsingIou(VideoMetric):
    """Intersection over union of each class over all pixels of all frames, and its mean: see
    `functional.parsing.intersection_over_union`."""

    name = "miou"
    display_name = "parsing, mIoU"
    higher_is_better = True
    more = tuple(ScoreInfo(f"iou_{name}", f"parsing, IoU of {name}", higher_is_better=True) for name in PARSING_CLASSES)

    def __init__(self) -> None:
        super().__init__()
        size = len(PARSING_CLASSES)
        self.add_state("confusion", torch.zeros((size, size), dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self, rendered_parsing: Integer[np.ndarray, "height width"], gt_parsing: Integer[np.ndarray, "height width"]
    ) -> None:
        """Add a frame's class ids, as in `PARSING_CLASSES`."""
        self.confusion += torch.from_numpy(confusion_matrix(rendered_parsing, gt_parsing))  # type: ignore[operator]

    def compute(self) -> dict[str, float]:
        """`miou` and `iou_<class>` in [0, 1]."""
        return intersection_over_union(self.confusion.cpu().numpy())  # type: ignore[operator]
