"""What every score of a portrait shares: its description for tables, and the torchmetrics class that measures it."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor
from torchmetrics import Metric
from typing_extensions import Self

from nerfstudio_talking.metrics.functional.images import to_levels
from nerfstudio_talking.metrics.regions import FrameRegions

GT_PREFIX = "gt_"
"""In front of a score's name: the ground truth's own value."""


@dataclass(frozen=True)
class ScoreInfo:
    """How a score is called and read."""

    name: str
    """Key in the answer of `compute`."""
    display_name: str
    """Text in tables."""
    unit: str = ""
    """Unit in tables; empty for a plain number."""
    higher_is_better: bool | None = None
    """True where a higher value is better, False where a lower one is, None where neither is."""
    number_format: str = ".3f"
    """Format specification of the value."""
    target: Literal["zero", "gt"] | None = None
    """What the value should be near: zero, or the ground truth's own value (`gt_<name>`)."""

    @property
    def title(self) -> str:
        """Text and unit."""
        return f"{self.display_name} ({self.unit})" if self.unit else self.display_name

    @property
    def arrow(self) -> str:
        """↑ where higher is better, ↓ where lower is, empty otherwise."""
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]

    @property
    def better(self) -> str:
        """Which way is better, in words; empty where nothing can be said."""
        near = {"zero": "near 0", "gt": "near the ground truth's", None: ""}[self.target]
        if self.higher_is_better is None:
            return near
        way = "higher" if self.higher_is_better else "lower"
        return f"the ground truth's or {way}" if self.target == "gt" else way

    def format(self, value: float) -> str:
        """The value as a cell of a table."""
        return format(value, self.number_format)


@dataclass(frozen=True)
class FramePair:
    """A rendered frame and the ground truth, with what was found in them.

    A metric takes from here what its `update` names; where a required one is None, the frame is skipped.
    """

    rendered: Float[Tensor, "height width 3"]
    """The rendering in [0, 1], of 256 levels."""
    gt: Float[Tensor, "height width 3"]
    """The ground truth frame in [0, 1], of 256 levels."""
    regions: FrameRegions
    """Regions of the ground truth frame."""
    rendered_landmarks: Float[np.ndarray, "478 xy"] | None = None
    """FaceMesh points in pixels, NaN where no face was found; None where faces are not tracked."""
    gt_landmarks: Float[np.ndarray, "478 xy"] | None = None
    """The same of the ground truth frame."""
    rendered_parsing: Integer[np.ndarray, "height width"] | None = None
    """Class ids (`parsing_labels.PARSING_CLASSES`) that were rendered."""
    gt_parsing: Integer[np.ndarray, "height width"] | None = None
    """Class ids of the ground truth frame."""
    follows: bool = True
    """Whether it follows the frame before: False after a gap."""

    @cached_property
    def rendered_levels(self) -> UInt8[np.ndarray, "height width 3"]:
        """The rendering as bytes."""
        return to_levels(self.rendered)

    @cached_property
    def gt_levels(self) -> UInt8[np.ndarray, "height width 3"]:
        """The ground truth frame as bytes."""
        return to_levels(self.gt)


@dataclass(frozen=True)
class MetricOptions:
    """What the metrics of a suite are made from."""

    fps: float
    """Frames per second."""
    audio: tuple[Float[np.ndarray, " samples"], int] | None = None
    """Mono samples that start with the first frame, and their rate in Hz."""
    lpips_weights: Path | None = None
    """Torchvision's AlexNet; None looks in the torch cache."""
    fid_weights: Path | None = None
    """FID's Inception; None looks in the torch cache."""
    fid: bool = True
    """Whether FID is wanted where its weights are to be had."""


class Unavailable(Exception):
    """Says why a metric cannot be measured here."""


class VideoMetric(Metric):
    """A score of a rendered video against the ground truth: states that add up frame by frame.

    Every table knows a subclass that has a `name` and stands in one of `registry.MODULES`; unless `in_suite` is False,
    every evaluation measures it. Its `update` names what it needs of a `FramePair`; `compute` gives flat floats by
    name, NaN for what the frames are too few for; `gt_<name>` is the ground truth's own value.
    """

    full_state_update = False
    name: ClassVar[str]
    """Key of the main score."""
    display_name: ClassVar[str]
    """Text of the main score in tables."""
    unit: ClassVar[str] = ""
    """Unit of the main score."""
    higher_is_better: ClassVar[bool | None] = None  # type: ignore[misc]
    """True where a higher value is better, False where a lower one is, None where neither is."""
    target: ClassVar[Literal["zero", "gt"] | None] = None
    """What the main score should be near."""
    number_format: ClassVar[str] = ".3f"
    """Format specification of the main score."""
    regions: ClassVar[tuple[str, ...]] = ("",)
    """Regions that the main score is given for: the frame (empty), `face`, `mouth`; `<name>_<region>` is the key."""
    more: ClassVar[tuple[ScoreInfo, ...]] = ()
    """Further scores of the same class."""
    in_suite: ClassVar[bool] = True
    """Whether every evaluation measures it; otherwise only who asks for it does."""

    def __init__(self) -> None:
        super().__init__()
        self._frame_scores: dict[str, float] = {}

    @classmethod
    def make(cls, options: MetricOptions) -> Self:
        """The metric of a suite.

        Raises:
            Unavailable: something that it needs is missing.
        """
        del options
        return cls()

    @classmethod
    def infos(cls) -> tuple[ScoreInfo, ...]:
        """Descriptions of all scores of the class, in the order of tables."""
        main = ScoreInfo(cls.name, cls.display_name, cls.unit, cls.higher_is_better, cls.number_format, cls.target)
        rows = [
            replace(main, name=region_key(cls.name, region), display_name=f"{cls.display_name}, {region}")
            if region
            else main
            for region in cls.regions
        ]
        return (*rows, *cls.more)

    @property
    def frame_scores(self) -> dict[str, float]:
        """Scores of the last frame alone; empty where one frame has none."""
        return dict(self._frame_scores)

    def update_from(self, frame: FramePair) -> bool:
        """Add a frame, if it has what `update` requires.

        Returns:
            Whether it had.
        """
        arguments: dict[str, Any] = {}
        self._frame_scores = {}
        for name, parameter in list(inspect.signature(type(self).update).parameters.items())[1:]:
            value = getattr(frame, name)
            if value is not None:
                arguments[name] = value
            elif parameter.default is inspect.Parameter.empty:
                return False
        self.update(**arguments)
        return True

    @abstractmethod
    def compute(self) -> Mapping[str, float]:
        """Scores by name."""

    def add_series(self, *names: str) -> None:
        """Add states that keep a row of numbers per frame."""
        for name in names:
            self.add_state(name, [], dist_reduce_fx="cat")

    def append(self, name: str, row: Any) -> None:
        """Add a row to a series."""
        getattr(self, name).append(torch.as_tensor(np.asarray(row))[None])

    def series(self, name: str) -> np.ndarray:
        """The rows of a series, (rows, ...); empty, of shape (0,), before the first."""
        state = getattr(self, name)  # a list, or one tensor once processes have been joined
        if isinstance(state, Tensor):
            return state.cpu().numpy()
        return torch.cat(state).cpu().numpy() if state else np.empty(0)


def region_key(name: str, region: str) -> str:
    """Key of a score in a region; the frame's is the bare name."""
    return f"{name}_{region}" if region else name
