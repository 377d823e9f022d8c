"""The documentation's site builds without a warning, and its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from helpers.paths import ROOT

import nerfstudio_talking

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for module in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(module, reason="the site needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    call = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        "-d",
        folder / "tree",
        DOCS,
        folder / "html",
    ]
    built = subprocess.run(call, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-5000:]
    return folder / "html"


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.names |= {values["id"] or ""} if "id" in values else set()
        self.targets += [value for name in ("href", "src") if (value := values.get(name))]


def read_links(page: Path) -> _Links:
    links = _Links()
    links.feed(page.read_text(encoding="utf-8"))
    return links


@pytest.mark.slow
def test_links_of_the_site_lead_somewhere(site):
    pages = {page: read_links(page) for page in site.rglob("*.html")}
    assert len(pages) > 30
    broken = []
    for page, links in pages.items():
        for target in links.targets:
            address = urlparse(target)
            if address.scheme or address.netloc:
                continue
            path = (page.parent / unquote(address.path)).resolve() if address.path else page
            if not path.exists() or (address.fragment and path in pages and address.fragment not in pages[path].names):
                broken.append(f"{page.relative_to(site)}: {target}")
    assert not broken, "\n".join(broken)


@pytest.mark.slow
def test_the_api_has_every_public_name(site):
    text = "".join(page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html"))
    for name in nerfstudio_talking.__all__:
        assert f"{name}</span></span>" in text, name
    # docstrings were read: sections are not left as text
    assert "Args:" not in re.sub("<[^>]+>", "", text)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.name
)
def test_links_of_the_files_lead_somewhere(page):
    """As GitHub shows them, where no Sphinx resolves anything."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not urlparse(target).scheme and not target.startswith("#"):
            assert (page.parent / target.split("#")[0]).exists(), target


def test_the_readme_is_one_screen():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 90


def test_images_are_small():
    for path in (DOCS / "images").rglob("*.*"):
        assert path.stat().st_size < 2e6, path
