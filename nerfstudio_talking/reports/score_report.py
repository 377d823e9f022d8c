"""What a person looks at after scoring: a contact sheet of the worst frames and a page with curves and scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from nerfstudio_talking.io.files import new_file
from nerfstudio_talking.metrics.registry import TABLE_HEAD, format_table, score_infos
from nerfstudio_talking.metrics.score_files import VideoScores
from nerfstudio_talking.reports import page
from nerfstudio_talking.reports.svg import Curve, plot

SHEET_NAME, PAGE_NAME = "worst_frames.png", "score.html"
_CELL, _BAND, _GAP = 240, 18, 4
_AMPLIFY = 4
_PLOTTED = ("psnr", "psnr_mouth", "lpips", "lmd")
"""Scores of each frame that are drawn over time."""
_SHEET_TITLE = "Worst frames: ground truth, rendering, four times the difference"


def draw_contact_sheet(
    images: Sequence[tuple[UInt8[np.ndarray, "height width 3"], UInt8[np.ndarray, "height width 3"]]],
    captions: Sequence[str],
    columns: int = 2,
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Pairs side by side under their caption: ground truth, rendering, and their difference four times as strong.

    Args:
        images: rendering and ground truth of each frame.
        captions: one line for each.
        columns: pairs beside one another.
    """
    height, width = images[0][0].shape[:2]
    size = (round(width * _CELL / max(height, width)), round(height * _CELL / max(height, width)))
    across, down = 3 * size[0] + 4 * _GAP, size[1] + _BAND + _GAP
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * across, rows * down + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for index, ((rendered, gt), caption) in enumerate(zip(images, captions)):
        x, y = index % columns * across + _GAP, index // columns * down + _GAP
        difference = np.abs(rendered.astype(np.int16) - gt.astype(np.int16)) * _AMPLIFY
        draw.text((x, y + 2), caption, fill="black")
        for k, image in enumerate((gt, rendered, np.minimum(difference, 255).astype(np.uint8))):
            small = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
            sheet.paste(small, (x + k * (size[0] + _GAP), y + _BAND))
    return np.asarray(sheet)


def write_sheet(sheet: UInt8[np.ndarray, "rows columns 3"], folder: Path) -> Path:
    """Write worst_frames.png into a folder."""
    path = folder / SHEET_NAME
    with new_file(path) as file:
        Image.fromarray(sheet).save(file, "png")
    return path


def write_page(
    folder: Path, title: str, result: VideoScores, sheet: UInt8[np.ndarray, "rows columns 3"] | None
) -> Path:
    """Write score.html into a folder: curves over time, scores and the contact sheet on one page that needs no other
    file."""
    parts = [*(page.paragraph(note) for note in result.notes), *_plot_frames(result)]
    parts.append(page.section("Scores", page.table(format_table(result.scores), TABLE_HEAD, (1, 2))))
    if result.left_out:
        parts.append(page.section("Left out", page.table(result.left_out.items())))
    if sheet is not None:
        parts.append(page.section(_SHEET_TITLE, page.embed_image(sheet, "worst frames")))
    return page.write_page(folder / PAGE_NAME, title, parts)


def _plot_frames(result: VideoScores) -> Iterator[str]:
    per_frame, infos = result.per_frame, score_infos()
    seconds = len(next(iter(per_frame.values()))) / result.fps
    if "lips" in per_frame:
        lips = [
            Curve("ground truth", per_frame["gt_lips"], "#2471a3"),
            Curve("rendering", per_frame["lips"], "#c0392b"),
        ]
        yield plot("Lip opening", lips, seconds, "inner-lip gap over the distance of the outer eye corners")
    for name in _PLOTTED:
        if name in per_frame:
            text = infos[name].display_name
            yield plot(text, [Curve(text, per_frame[name], "#1e8449")], seconds, infos[name].unit)
