"""The kinds of audio features there are, found among the modules of `kinds`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache

from nerfstudio_talking.audio.features import kinds
from nerfstudio_talking.audio.features.kind import ComputedKind, FeatureKind
from nerfstudio_talking.io.errors import TalkingError

AUTO = "auto"
"""Stands for the best kind that is installed."""


@lru_cache(maxsize=1)
def feature_kinds() -> tuple[FeatureKind, ...]:
    """All kinds, in the order of their modules' names; what takes any name comes last."""
    modules = sorted(module.name for module in pkgutil.iter_modules(kinds.__path__))
    found = [kind for name in modules for kind in importlib.import_module(f"{kinds.__name__}.{name}").KINDS]
    return tuple(sorted(found, key=lambda kind: kind.takes_any_name))


def find_feature_kind(spec: str) -> FeatureKind:
    """The kind of a name: 'logmel', 'mfcc', 'whisper', 'hubert', ..., a model's folder or hub name, or 'NAME@PLACE'.

    Raises:
        TalkingError: no kind goes by that name.
    """
    for kind in feature_kinds():
        if (found := kind.match(spec)) is not None:
            return found
    names = ", ".join(kind.name for kind in feature_kinds() if kind.is_computable and not kind.takes_any_name)
    if spec.startswith("array-"):  # a ready array of a shape that no kind has
        raise FeatureKind(name=spec, summary="", window=1, channels=None).not_computable()
    raise TalkingError(
        "audio features",
        expected=f"{names}, a model's folder or hub name, or an array's path ending in .npy",
        found=f"'{spec}'",
        hint="Name one of them.",
    )


def find_computed_kind(spec: str) -> ComputedKind:
    """`find_feature_kind`, of features that are computed here.

    Raises:
        TalkingError: no kind goes by that name, or other programs make it.
    """
    found = find_feature_kind(spec)
    if not isinstance(found, ComputedKind):
        raise found.not_computable()
    return found


def feature_name(spec: str) -> str:
    """Name of the kind that a track's `audio_kind` means, without the place of its model."""
    return spec.partition("@")[0]


def best_feature_kind() -> tuple[ComputedKind, list[str]]:
    """The best kind that can be computed now without a download, and why better ones cannot."""
    ranked = [kind for kind in feature_kinds() if isinstance(kind, ComputedKind) and kind.rank > 0]
    reasons: list[str] = []
    for kind in sorted(ranked, key=lambda kind: -kind.rank):
        missing = kind.missing()
        if missing is None:
            return kind, reasons
        reasons.append(f"{kind.name}: {missing}")
    raise AssertionError("log-mel needs nothing")


def kind_of_array(window: int, channels: int) -> str:
    """Name of the kind of a ready array of one window per frame, by its sizes; 'array-WxC' where no kind has them."""
    for kind in feature_kinds():
        if kind.has_array_shape and (kind.window, kind.channels) == (window, channels):
            return kind.name
    return f"array-{window}x{channels}"


def ready_arrays() -> list[tuple[str, str]]:
    """File names of ready-made arrays and the kinds they hold, in the order in which they are looked for."""
    return [(name, kind.name) for kind in feature_kinds() for name in kind.array_names]
