"""All scores: the classes that measure them, what tables say of each, and the table of a video."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from nerfstudio_talking.metrics import audio_sync, faces, images, parsing, temporal
from nerfstudio_talking.metrics.base import GT_PREFIX, ScoreInfo, VideoMetric

MODULES = (images, faces, audio_sync, temporal, parsing)
"""Where the classes stand, in the order of tables."""


def metric_classes() -> tuple[type[VideoMetric], ...]:
    """Every class that measures a score, in the order of tables: those of `MODULES` that have a `name`."""
    return tuple(
        entry
        for module in MODULES
        for entry in vars(module).values()
        if isinstance(entry, type) and entry.__module__ == module.__name__ and "name" in vars(entry)
        if issubclass(entry, VideoMetric)
    )


def score_infos() -> dict[str, ScoreInfo]:
    """What tables say of each score, by its name, in the order of tables."""
    return {info.name: info for metric in metric_classes() for info in metric.infos()}


class ScoreRow(NamedTuple):
    """A line of the table."""

    text: str
    rendering: str
    gt: str
    """The ground truth's own value where it has one."""
    better: str


TABLE_HEAD = ScoreRow("score", "rendering", "ground truth itself", "better")
"""Titles of the columns."""


def format_table(scores: Mapping[str, float]) -> list[ScoreRow]:
    """The scores as lines of a table, in a fixed order; a name that no class has comes last, as it is."""
    rows, infos = [], score_infos()
    for name, info in infos.items():
        cells = [info.format(scores[key]) if key in scores else "" for key in (name, GT_PREFIX + name)]
        if any(cells):
            rows.append(ScoreRow(info.title, cells[0], cells[1], info.better))
    known = {key for name in infos for key in (name, GT_PREFIX + name)}
    rows += [ScoreRow(name, f"{value:.4g}", "", "") for name, value in scores.items() if name not in known]
    return rows
