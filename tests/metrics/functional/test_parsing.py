from __future__ import annotations

import numpy as np
import pytest
import torch

from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID, PARSING_CLASSES, colour_parsing
from nerfstudio_talking.metrics.functional.parsing import confusion_matrix, decode_palette, intersection_over_union


def test_the_nearest_colour_is_decoded() -> None:
    ids = np.arange(len(PARSING_CLASSES), dtype=np.uint8)[None]
    colours = torch.from_numpy(colour_parsing(ids)).float() / 255
    noisy = colours + 0.02 * torch.randn(colours.shape, generator=torch.Generator().manual_seed(0))
    assert decode_palette(noisy).tolist() == ids.tolist()


def test_iou_is_that_of_sklearn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(0)
    gt = rng.integers(0, 4, 500)
    rendered = np.where(rng.random(500) < 0.7, gt, rng.integers(0, 5, 500))
    scores = intersection_over_union(confusion_matrix(rendered, gt))
    each = sklearn.jaccard_score(gt, rendered, average=None, labels=range(5))
    assert [scores[f"iou_{PARSING_CLASSES[i]}"] for i in range(5)] == pytest.approx(each.tolist())
    assert scores["miou"] == pytest.approx(each[:4].mean())  # the fifth class is rendered and not true
    assert len(scores) == 6


def test_confusion_by_hand() -> None:
    gt, rendered = np.uint8([[1, 1], [7, 0]]), np.uint8([[1, 7], [7, 0]])
    confusion = confusion_matrix(rendered, gt)
    assert confusion.sum() == 4 and confusion[CLASS_ID["skin"], CLASS_ID["lips"]] == 1
    scores = intersection_over_union(confusion)
    assert scores == {"iou_background": 1.0, "iou_skin": 0.5, "iou_lips": 0.5, "miou": pytest.approx(2 / 3)}
    assert intersection_over_union(np.zeros((11, 11), np.int64)) == {}
