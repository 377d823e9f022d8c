from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.html import PageReader

from nerfstudio_talking.reports import page


def test_a_page_is_whole_and_escaped(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    parts = [page.paragraph("1 < 2"), page.section("A & B", page.table([("x<y", 3)], ("n", "v"), (1,)))]
    parts.append(page.figure(np.dstack([image, image[..., 0]]), 'say "cheese"'))
    path = page.write_page(tmp_path / "p.html", "<b>title</b>", parts)
    text = path.read_text(encoding="utf-8")
    reader = PageReader()
    reader.feed(text)
    assert reader.open == [] and "<b>title" not in text and not list(tmp_path.glob("*.part"))
    shown = " ".join(reader.text)
    assert all(word in shown for word in ("<b>title</b>", "1 < 2", "A & B", "x<y", 'say "cheese"'))
    assert text.count('class="number"') == 2
    assert [source[:22] for source in reader.images] == ["data:image/png;base64,"]
    assert page.embed_image(image, "x").startswith('<img alt="x" src="data:image/jpeg;base64,')


def test_both_reports_have_the_one_style() -> None:
    folder = Path(page.__file__).parent
    assert [path.name for path in sorted(folder.glob("*.py")) if "<style>" in path.read_text()] == ["page.py"]
