"""The HTML page that every report is: one file with its style and images inside, no other needed."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from nerfstudio_talking.io.files import new_file

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:1120px;margin:1.5em auto;padding:0 1em;color:#1c1e21;background:#fff}
h1{font-size:1.5em;margin:0 0 .3em} h2{font-size:1.1em;margin:1.6em 0 .4em} small,.quiet{color:#667}
figure{margin:0 0 .6em} figcaption{font-size:.86em;color:#445} img{max-width:100%;display:block;border-radius:3px}
.row{display:flex;flex-wrap:wrap;gap:6px} .row figure{flex:1 1 190px;max-width:360px} .row img{width:100%}
.check img{background:repeating-conic-gradient(#ddd 0 25%,#fff 0 50%) 0/16px 16px}
.wide img{height:130px;width:94.8%;margin-left:5.2%;object-fit:fill;image-rendering:pixelated}
svg{width:100%;display:block} svg text{font-size:11px;fill:#667} .frame{fill:#f7f8fa} .tick{stroke:#e2e5ea}
.key{margin-left:1em;white-space:nowrap} .key i{display:inline-block;width:.8em;height:.8em;margin-right:.3em;
border:1px solid #0002}
ul.warn{background:#fff6df;border-left:4px solid #e0a000;padding:.6em 1em .6em 2em;margin:.8em 0}
.fine{background:#eaf6ec;border-left:4px solid #3a9d4b;padding:.6em 1em;margin:.8em 0}
table{border-collapse:collapse;font-size:.9em} th,td{padding:.12em 1em .12em 0;text-align:left;vertical-align:top}
td{overflow-wrap:anywhere} .number{text-align:right;font-variant-numeric:tabular-nums}
td:first-child{color:#556;white-space:nowrap}
"""


def write_page(path: Path, title: str, parts: Iterable[str]) -> Path:
    """Write a page atomically.

    Args:
        path: the file.
        title: plain text, shown by the browser and as the headline.
        parts: HTML below the headline.

    Returns:
        The path.
    """
    name, body = html.escape(title), "\n".join(parts)
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f"<style>{_STYLE}</style></head><body>\n<h1>{name}</h1>\n{body}\n</body></html>\n"
    )
    with new_file(path) as file:
        file.write(page.encode("utf-8"))
    return path


def paragraph(text: str) -> str:
    """A remark, plain text."""
    return f'<p class="quiet">{html.escape(text)}</p>'


def section(title: str, *parts: str) -> str:
    """HTML under a heading, plain text."""
    return f"<h2>{html.escape(title)}</h2>" + "".join(parts)


def table(rows: Iterable[Sequence[object]], head: Sequence[str] = (), numbers: Container[int] = ()) -> str:
    """A table of plain text.

    Args:
        rows: the cells.
        head: titles of the columns; none where empty.
        numbers: columns that are set to the right.
    """
    lines = [_table_row("th", head, numbers)] if head else []
    lines += [_table_row("td", row, numbers) for row in rows]
    return f"<table>{''.join(lines)}</table>"


def figure(image: UInt8[np.ndarray, "height width *channels"], caption: str) -> str:
    """An image over its caption, plain text."""
    return f"<figure>{embed_image(image, caption)}<figcaption>{html.escape(caption)}</figcaption></figure>"


def color_key(color: str, name: str) -> str:
    """An entry of a legend: a CSS colour and what it stands for, plain text."""
    return f'<span class="key"><i style="background:{color}"></i>{html.escape(name)}</span>'


def embed_image(image: UInt8[np.ndarray, "height width *channels"], text: str) -> str:
    """An image as an <img> that embeds its own data; JPEG, or PNG where it has an alpha channel."""
    buffer = io.BytesIO()
    kind = "png" if image.ndim == 3 and image.shape[2] == 4 else "jpeg"
    Image.fromarray(image).save(buffer, kind, **({"quality": 85} if kind == "jpeg" else {}))
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img alt="{html.escape(text)}" src="data:image/{kind};base64,{data}">'


def _table_row(tag: str, cells: Sequence[object], numbers: Container[int]) -> str:
    classes = [' class="number"' if column in numbers else "" for column in range(len(cells))]
    return "<tr>" + "".join(f"<{tag}{c}>{html.escape(str(cell))}</{tag}>" for c, cell in zip(classes, cells)) + "</tr>"
