"""What a person looks at after scoring: a contact sheet of the worst frames and a page with curves and figures."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from nerfstudio_talking.io.files import part_of, publish
from nerfstudio_talking.metrics.registry import format_table
from nerfstudio_talking.metrics.score_files import VideoScores
from nerfstudio_talking.reports.svg import Curve, embed_image, plot

SHEET_NAME, PAGE_NAME = "worst_frames.png", "score.html"
_CELL, _BAND, _GAP = 240, 18, 4
_AMPLIFY = 4
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:1000px;margin:1.5em auto;padding:0 1em;color:#1c1e21;background:#fff}
h1{font-size:1.5em;margin:0 0 .3em} h2{font-size:1.1em;margin:1.6em 0 .4em} small,.quiet{color:#667}
figure{margin:0 0 .8em} figcaption{font-size:.86em;color:#445} img{max-width:100%;display:block}
svg{width:100%;display:block} svg text{font-size:11px;fill:#667} .frame{fill:#f7f8fa} .tick{stroke:#e2e5ea}
.key{margin-left:1em;white-space:nowrap} .key i{display:inline-block;width:.8em;height:.8em;margin-right:.3em}
table{border-collapse:collapse;font-size:.92em} td,th{padding:.15em 1.2em .15em 0;text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}
"""


def contact_sheet(
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
    """worst_frames.png in a folder."""
    path = folder / SHEET_NAME
    Image.fromarray(sheet).save(part_of(path), "png")
    publish(part_of(path), path)
    return path


def write_page(
    folder: Path, title: str, result: VideoScores, sheet: UInt8[np.ndarray, "rows columns 3"] | None
) -> Path:
    """score.html in a folder: figures, curves over time and the contact sheet on one page that needs no other file."""
    per_frame, seconds = result.per_frame, len(next(iter(result.per_frame.values()))) / result.fps
    parts = [f"<h1>{html.escape(title)}</h1>", *(f'<p class="quiet">{html.escape(n)}</p>' for n in result.notes)]
    if "lips" in per_frame:
        lips = [
            Curve("ground truth", per_frame["gt_lips"], "#2471a3"),
            Curve("rendering", per_frame["lips"], "#c0392b"),
        ]
        parts.append(plot("Lip opening", lips, seconds, "inner-lip gap over the distance of the outer eye corners"))
    for name, text, unit in (
        ("psnr", "PSNR", "dB"),
        ("psnr_mouth", "PSNR of the mouth", "dB"),
        ("lpips", "LPIPS", ""),
        ("lmd", "LMD", "pixels"),
    ):
        if name in per_frame:
            parts.append(plot(text, [Curve(text, per_frame[name], "#1e8449")], seconds, unit))
    parts += ["<h2>Figures</h2>", _table(result)]
    if result.left_out:
        rows = "".join(
            f"<tr><td>{html.escape(a)}</td><td>{html.escape(b)}</td></tr>" for a, b in result.left_out.items()
        )
        parts += ["<h2>Left out</h2>", f"<table>{rows}</table>"]
    if sheet is not None:
        parts += [
            "<h2>Worst frames: ground truth, rendering, four times the difference</h2>",
            embed_image(sheet, "worst frames"),
        ]
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}: scores</title>'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )
    path = folder / PAGE_NAME
    part_of(path).write_text(page, encoding="utf-8")
    publish(part_of(path), path)
    return path


def _table(result: VideoScores) -> str:
    rows = []
    for row in format_table(result.scores):
        cells = "".join(f'<td class="n">{html.escape(cell)}</td>' for cell in (row.rendering, row.gt))
        rows.append(f"<tr><td>{html.escape(row.text)}</td>{cells}<td>{html.escape(row.better)}</td></tr>")
    head = "<tr><th>score</th><th>rendering</th><th>ground truth itself</th><th>better</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"
