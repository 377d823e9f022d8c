"""Options of a bake; read by the command line, so nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class BakeConfig:
    """How a portrait is frozen."""

    cell: float = 1.0
    """Width and height of a cell in pixels of the recording; its depth is at most two and a half times that."""
    views: int = 48
    """Training poses that say which cells are ever seen."""
    rays_per_view: int = 1 << 13
    """Rays of each."""
    threshold: float = 0.01
    """Rendering weight under which a cell shows nothing."""
    conditions: int = 80
    """Conditions under which each vertex is evaluated."""
    chunk: int = 1 << 12
    """Vertices evaluated at a time."""
    seed: int = 0
    """Of the choice of poses, conditions and rays."""
