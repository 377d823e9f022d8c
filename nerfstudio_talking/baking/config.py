"""Options of a bake, and the finer settings that it tries; read by the command line, so nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

LADDER = ((1.0, 1), (0.7, 1), (0.7, 2), (0.5, 2))
"""Factors on `cell` and `conditions` that a bake tries one after the other. Vertices grow with the inverse square of
the cell or faster, and time with vertices times conditions: the last takes about ten times as long as the first."""


@dataclass
class BakeConfig:
    """How a portrait is baked."""

    cell: float = 1.0
    """Width and height of a grid cell in pixels of the recording; its depth is at most two and a half times that."""
    views: int = 48
    """Number of training poses that decide which cells are ever seen."""
    rays_per_view: int = 1 << 13
    """Number of rays of each of these poses."""
    threshold: float = 0.01
    """Rendering weight below which a cell counts as empty."""
    conditions: int = 80
    """Number of sampled conditions under which each vertex is evaluated."""
    chunk: int = 1 << 12
    """Number of vertices evaluated at a time."""
    seed: int = 0
    """Seed of the choice of poses, conditions and rays."""


def finer_settings(config: BakeConfig) -> Iterator[BakeConfig]:
    """The settings themselves, then finer ones, each with more vertices or more conditions than the one before."""
    for cell, conditions in LADDER:
        yield replace(config, cell=config.cell * cell, conditions=config.conditions * conditions)
