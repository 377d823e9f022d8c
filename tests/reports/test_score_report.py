from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.html import PageReader
from PIL import Image

from nerfstudio_talking.metrics.score_files import VideoScores
from nerfstudio_talking.reports.score_report import draw_contact_sheet, write_page, write_sheet


def test_the_page_has_scores_curves_and_what_is_left_out(tmp_path: Path) -> None:
    per_frame = {"psnr": np.linspace(20, 30, 10), "lmd": np.ones(10), "lips": np.zeros(10), "gt_lips": np.ones(10)}
    scores = {"psnr": 25.125, "sync_score": 0.5, "gt_sync_score": 0.75}
    result = VideoScores(scores, {"fid": "no <weights>"}, ["audio of <x>"], 25.0, per_frame)
    sheet = draw_contact_sheet([(np.zeros((20, 30, 3), np.uint8), np.full((20, 30, 3), 20, np.uint8))], ["frame 0"])
    page = write_page(tmp_path, "a.mp4 against b.mp4", result, sheet)
    reader = PageReader()
    reader.feed(page.read_text(encoding="utf-8"))
    assert reader.open == [] and reader.lines == 4 and len(reader.images) == 1
    text = " | ".join(reader.text)
    for words in ("PSNR (dB) | 25.12 | higher", "0.500 | 0.750 | higher", "fid | no <weights>", "audio of <x>"):
        assert words in text.replace("|  |", "|")
    without = write_page(tmp_path, "t", VideoScores(scores, {}, [], 25.0, {"psnr": np.ones(3)}), None).read_text()
    assert "<img" not in without and "Left out" not in without


def test_the_sheet_shows_four_times_the_difference(tmp_path: Path) -> None:
    rendered, gt = np.full((240, 240, 3), 100, np.uint8), np.full((240, 240, 3), 110, np.uint8)
    sheet = draw_contact_sheet([(rendered, gt)], ["frame 7"], columns=1)
    assert [sheet[150, x].tolist() for x in (100, 350, 600)] == [[110] * 3, [100] * 3, [40] * 3]
    with Image.open(write_sheet(sheet, tmp_path)) as image:
        assert np.array_equal(np.asarray(image), sheet)
    assert not list(tmp_path.glob("*.part"))
