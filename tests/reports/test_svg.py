from __future__ import annotations

import numpy as np
from helpers.html import PageReader

from nerfstudio_talking.reports.svg import Curve, plot


def test_a_plot_of_nothing_and_of_a_constant() -> None:
    for values in (np.full(5, np.nan), np.ones(5), np.zeros(0)):
        figure = plot("Title", [Curve("c", values, "red")], 0.2)
        assert "nan" not in figure
        assert figure.count("<polyline") == int(np.isfinite(values).any())


def test_a_gap_splits_the_line_and_names_are_escaped() -> None:
    values = np.array([0.0, 1.0, np.nan, 1.0, 0.0])
    figure = plot("a < b", [Curve("x & y", values, "red"), Curve("z", values[:2], "blue")], 0.2, "px < 1")
    reader = PageReader()
    reader.feed(figure)
    assert reader.open == [] and reader.lines == 3
    text = "".join(reader.text)
    assert all(word in text for word in ("a < b", "x & y", "px < 1"))
