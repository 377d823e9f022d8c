from __future__ import annotations

import numpy as np
import pytest

from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID
from nerfstudio_talking.metrics.parsing import ParsingIou


def test_pixels_of_all_frames_count_together() -> None:
    skin = CLASS_ID["skin"]
    metric = ParsingIou()
    gt, right, wrong = np.full((4, 4), skin, np.uint8), np.full((4, 4), skin), np.zeros((4, 4), np.int64)
    for rendered in (right, right, right, wrong):
        metric.update(rendered, gt)
    assert metric.compute() == {"miou": 0.75, "iou_skin": 0.75, "iou_background": 0.0}


def test_every_class_is_described() -> None:
    infos = {info.name: info for info in ParsingIou.infos()}
    assert infos["miou"].title == "parsing, mIoU" and infos["iou_lips"].higher_is_better
    assert len(infos) == 12 and pytest.approx(1) == len({info.arrow for info in infos.values()})
