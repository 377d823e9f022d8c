"""Curves over time as inline SVG."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from nerfstudio_talking.reports.page import color_key

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 1000, 150, 52, 18


@dataclass(frozen=True)
class Curve:
    """A line in a plot."""

    name: str
    values: Float[np.ndarray, " frames"]
    """NaN leaves a gap."""
    colour: str
    """Of CSS."""


def plot(title: str, curves: Sequence[Curve], seconds: float, unit: str = "") -> str:
    """A plot of curves over the clip as an SVG figure. All curves share one axis."""
    finite = np.concatenate([curve.values[np.isfinite(curve.values)] for curve in curves])
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    parts = [_axis(low, high, seconds)]
    for curve in curves:
        x = _LEFT + (np.arange(len(curve.values)) + 0.5) / max(len(curve.values), 1) * (_WIDTH - _LEFT)
        y = (1 - (curve.values - low) / (high - low)) * (_HEIGHT - _BOTTOM - 6) + 3
        for run in _runs(np.isfinite(y)):
            points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x[run], y[run]))
            parts.append(f'<polyline points="{points}" fill="none" stroke="{curve.colour}" stroke-width="1.3"/>')
    keys = " ".join(color_key(curve.colour, curve.name) for curve in curves)
    unit = f" <small>{html.escape(unit)}</small>" if unit else ""
    return (
        f"<figure><figcaption>{html.escape(title)}{unit} {keys}</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(parts)}</svg></figure>'
    )


def _axis(low: float, high: float, seconds: float) -> str:
    floor = _HEIGHT - _BOTTOM
    parts = [f'<rect x="{_LEFT}" y="3" width="{_WIDTH - _LEFT}" height="{floor - 6}" class="frame"/>']
    for value, y in ((high, 12), (low, floor - 4)):
        parts.append(f'<text x="{_LEFT - 5}" y="{y}" text-anchor="end">{value:.3g}</text>')
    step = next(s for s in (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 3600, 1e9) if seconds / s <= 12)
    for second in np.arange(0, seconds, step):
        x = _LEFT + second / seconds * (_WIDTH - _LEFT)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="3" y2="{floor - 3}" class="tick"/>')
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 4}">{second:g} s</text>')
    return "".join(parts)


def _runs(mask: np.ndarray) -> list[slice]:
    """The stretches in which a mask is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [slice(start, stop) for start, stop in zip(edges[::2], edges[1::2])]
