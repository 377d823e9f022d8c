"""Sphinx configuration: `sphinx-build -W docs docs/_build` makes the site, without a network."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sphinx.ext.napoleon import Config, GoogleDocstring  # noqa: E402

from nerfstudio_talking.io.version import __version__  # noqa: E402 - of this tree, not of an installed package

project = "nerfstudio-talking"
copyright = "nerfstudio-talking contributors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

default_role = "code"  # docstrings have single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and units are in the docstrings

html_theme = "furo"
html_title = f"nerfstudio-talking {release}"
html_show_sphinx = False
html_copy_source = False

ROOT_PAGES = {"contributing": "CONTRIBUTING.md", "changelog": "CHANGELOG.md"}
"""Pages that are files of the repository's root."""


def read_source(app: Any, page: str, source: list[str]) -> None:
    """Take the root's files as pages, and point links between them and the pages to pages."""
    text = source[0]
    if page in ROOT_PAGES:
        text = (ROOT / ROOT_PAGES[page]).read_text(encoding="utf-8")
        app.env.note_dependency(str(ROOT / ROOT_PAGES[page]))
        text = re.sub(r"\]\((?=[A-Z.]+\b)", "](../", text).replace("](docs/", "](")
    for name, file in ROOT_PAGES.items():
        text = text.replace(f"](../{file}", f"](/{name}.md")
    text = text.replace("](../README.md)", "](/index.md)")
    source[0] = text


def read_docstring(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Read sections (`Args:` ...) of docstrings, and take indented blocks after a blank line as literal text."""
    marked: list[str] = []
    for line in lines:
        text = next((other for other in reversed(marked) if other), "")
        if line.startswith("    ") and marked and not marked[-1] and text and not text.startswith(" "):
            marked += ["::", ""]
        marked.append(line)
    # napoleon itself would take the words before a colon in an attribute's docstring as its type
    has_sections = what not in ("attribute", "property", "data")
    lines[:] = GoogleDocstring(marked, Config(), app, what, name, value, options).lines() if has_sections else marked


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", read_source)
    app.connect("autodoc-process-docstring", read_docstring)
