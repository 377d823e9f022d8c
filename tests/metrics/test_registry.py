from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.faces import smooth_image
from helpers.voices import FPS

from nerfstudio_talking.metrics import images, registry
from nerfstudio_talking.metrics.base import ScoreInfo, VideoMetric
from nerfstudio_talking.metrics.registry import format_table, metric_classes, score_infos
from nerfstudio_talking.metrics.suite import PortraitScores


def test_every_score_has_one_class() -> None:
    names = [info.name for metric in metric_classes() for info in metric.infos()]
    assert len(names) == len(set(names))
    assert not [name for name in names if name.startswith("gt_")]
    for name in ("psnr", "ssim_mouth", "lpips_face", "fid", "lmd", "aue_openface_upper", "sync_lag", "miou"):
        assert name in names
    titles = [info.title for info in score_infos().values()]
    assert len(titles) == len(set(titles)) and all(titles)


def test_descriptions_say_which_way_is_better() -> None:
    infos = score_infos()
    assert (infos["psnr_mouth"].title, infos["psnr_mouth"].arrow, infos["psnr_mouth"].better) == (
        "PSNR, mouth (dB)",
        "↑",
        "higher",
    )
    assert (infos["lmd"].title, infos["lmd"].better) == ("LMD (px)", "lower")
    assert infos["lip_lag"].better == "near 0" and infos["lip_lag"].arrow == ""
    assert infos["torso_jitter"].better == "near the ground truth's"
    assert infos["lips_closed_in_silence"].better == "the ground truth's or higher"
    assert infos["sync_null_max"].better == ""


def test_rows_of_the_table() -> None:
    rows = format_table({"sync_score": 0.5, "gt_sync_score": 0.61, "psnr": 30.123, "novel": 1.5})
    assert [row[1:3] for row in rows] == [("30.12", ""), ("0.500", "0.610"), ("1.5", "")]
    assert rows[0].text == "PSNR (dB)" and rows[2].text == "novel"


class RedShare(VideoMetric):
    """A new metric: mean of the red channel."""

    name = "red"
    display_name = "red"
    unit = "share"
    higher_is_better = False
    more = (ScoreInfo("green", "green"),)

    def __init__(self) -> None:
        super().__init__()
        self.add_series("means")

    def update(self, rendered: torch.Tensor) -> None:
        self.append("means", rendered[..., :2].mean((0, 1)))

    def compute(self) -> dict[str, float]:
        return dict(zip(("red", "green"), self.series("means").mean(axis=0).tolist()))


def test_a_new_class_is_measured_and_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "red" not in score_infos()
    monkeypatch.setattr(RedShare, "__module__", images.__name__)
    monkeypatch.setattr(images, "RedShare", RedShare, raising=False)
    assert registry.metric_classes().count(RedShare) == 1
    scores = PortraitScores(FPS, faces=False, fid=False)
    image = torch.zeros(32, 32, 3)
    image[..., 0] = 1.0
    scores.update(image, smooth_image(32, 32))
    measured = scores.compute()
    assert measured["red"] == 1.0 and measured["green"] == 0.0
    rows = {row.text: row for row in format_table(measured)}
    assert rows["red (share)"].rendering == "1.000" and rows["red (share)"].better == "lower"
    assert np.isfinite(measured["psnr"])
