"""Scores of change over time: torso jitter and flicker. Frames are given in order."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from nerfstudio_talking.media.optical_flow import flow_field
from nerfstudio_talking.metrics.base import GT_PREFIX, ScoreInfo, VideoMetric, region_key
from nerfstudio_talking.metrics.functional import torso_motion
from nerfstudio_talking.metrics.functional.flicker import flicker, temporal_error, warping_error
from nerfstudio_talking.metrics.functional.landmarks import face_height
from nerfstudio_talking.metrics.regions import FrameRegions, box_mask

_JITTER_UNIT = "‰ of the face's height per frame²"


@dataclass(frozen=True)
class _Frame:
    """A frame of both videos."""

    rendered: np.ndarray
    gt: np.ndarray


@dataclass(frozen=True)
class _TrackedFrame(_Frame):
    """A frame and the FaceMesh points in it."""

    rendered_landmarks: np.ndarray
    gt_landmarks: np.ndarray


_AnyFrame = TypeVar("_AnyFrame", bound=_Frame)


class StepMetric(VideoMetric):
    """Base of the metrics that measure steps from a frame to the next."""

    def __init__(self) -> None:
        super().__init__()
        self._before: Any = None

    def reset(self) -> None:
        """Forget all frames."""
        super().reset()
        self._before = None

    def _step_to(self, now: _AnyFrame, follows: bool) -> _AnyFrame | None:
        """The frame before; None before the first, after a gap, and where the size has changed."""
        before, self._before = self._before, now
        if before is not None and not follows:
            self._mark_gap()
            return None
        return None if before is None or before.rendered.shape != now.rendered.shape else before

    def _mark_gap(self) -> None:
        """A frame was added that does not follow the one before."""


class TorsoJitter(StepMetric):
    """Jitter of the torso in both videos and of their difference: see `functional.torso_motion.torso_jitter`."""

    name = "torso_jitter_error"
    display_name = "torso jitter error"
    unit = _JITTER_UNIT
    higher_is_better = False
    number_format = ".2f"
    more = (ScoreInfo("torso_jitter", "torso jitter", _JITTER_UNIT, number_format=".2f", target="gt"),)

    def __init__(self) -> None:
        super().__init__()
        self.add_series("cells", "gt_cells", "heads", "gt_heads", "heights", "textures")

    def update(
        self,
        rendered_levels: UInt8[np.ndarray, "height width 3"],
        gt_levels: UInt8[np.ndarray, "height width 3"],
        regions: FrameRegions,
        rendered_landmarks: Float[np.ndarray, "478 xy"],
        gt_landmarks: Float[np.ndarray, "478 xy"],
        follows: bool = True,
    ) -> None:
        """Add a frame.

        Args:
            rendered_levels: the rendering.
            gt_levels: the ground truth frame.
            regions: its torso; a step without one is left out.
            rendered_landmarks: FaceMesh points in pixels; NaN where no face was found.
            gt_landmarks: the same of the ground truth frame.
            follows: False where it does not follow the frame before.
        """
        now = _TrackedFrame(rendered_levels, gt_levels, rendered_landmarks, gt_landmarks)
        before = self._step_to(now, follows)
        if before is None or regions.torso is None:
            return
        for prefix, frames, points in (
            ("", (before.rendered, now.rendered), (before.rendered_landmarks, now.rendered_landmarks)),
            (GT_PREFIX, (before.gt, now.gt), (before.gt_landmarks, now.gt_landmarks)),
        ):
            self.append(f"{prefix}cells", torso_motion.cell_motion(flow_field(*frames), regions.torso))
            self.append(f"{prefix}heads", torso_motion.head_motion(*points).astype(np.float32))
        self.append("textures", torso_motion.cell_texture(gt_levels))
        self.append("heights", np.float32(face_height(gt_landmarks)))

    def _mark_gap(self) -> None:
        """A row of NaN, so that no acceleration is taken across it."""
        if not len(self.cells):  # type: ignore[arg-type]
            return
        for prefix in ("", GT_PREFIX):
            self.append(f"{prefix}cells", np.full((torso_motion.GRID**2, 2), np.nan, np.float32))
            self.append(f"{prefix}heads", np.full(6, np.nan, np.float32))

    def compute(self) -> dict[str, float]:
        """`torso_jitter` of both videos and `torso_jitter_error`, in per mille of the face's height per frame squared;
        NaN for fewer than 20 successive steps.

        The error is the jitter of the rendering's motion less the ground truth's: 0 for a torso that moves as it did,
        and of a smooth torso what the ground truth has.
        """
        cells, gt_cells = self.series("cells"), self.series("gt_cells")
        if not len(cells):
            return {}
        heads, gt_heads = self.series("heads"), self.series("gt_heads")
        texture = self.series("textures").mean(axis=0)
        scale = 1000 / float(np.nanmedian(self.series("heights")))
        return {
            "torso_jitter": scale * torso_motion.torso_jitter(cells, heads, texture),
            f"{GT_PREFIX}torso_jitter": scale * torso_motion.torso_jitter(gt_cells, gt_heads, texture),
            "torso_jitter_error": scale * torso_motion.torso_jitter(cells - gt_cells, gt_heads, texture),
        }


class StepMean(StepMetric):
    """Mean over steps from a frame to the next of a measure of both, by name; a name that a step lacks is left out."""

    names: tuple[str, ...]
    """Names of the means."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(len(self.names), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("steps", torch.zeros(len(self.names), dtype=torch.int64), dist_reduce_fx="sum")

    @abstractmethod
    def measure(
        self, rendered: tuple[np.ndarray, np.ndarray], gt: tuple[np.ndarray, np.ndarray], regions: FrameRegions
    ) -> dict[str, float]:
        """Measures of two successive uint8 frames of both videos, by name; NaN for none."""

    def update(
        self,
        rendered_levels: UInt8[np.ndarray, "height width 3"],
        gt_levels: UInt8[np.ndarray, "height width 3"],
        regions: FrameRegions,
        follows: bool = True,
    ) -> None:
        """Add a frame; `follows` is False where it does not follow the frame before."""
        before = self._step_to(_Frame(rendered_levels, gt_levels), follows)
        if before is None:
            return
        values = self.measure((before.rendered, rendered_levels), (before.gt, gt_levels), regions)
        for index, name in enumerate(self.names):
            if np.isfinite(values.get(name, np.nan)):
                self.total[index] += values[name]  # type: ignore[index]
                self.steps[index] += 1  # type: ignore[index]

    def compute(self) -> dict[str, float]:
        """The means; none for what no step shows."""
        total, steps = self.total.tolist(), self.steps.tolist()  # type: ignore[operator]
        return {name: total[i] / steps[i] for i, name in enumerate(self.names) if steps[i]}


class Flicker(StepMean):
    """Change from a frame to the next that the ground truth does not have, of torso and of the face around the mouth;
    change of the background, which stands still: see `functional.flicker`."""

    name = "torso_flicker"
    display_name = "torso flicker"
    unit = "levels"
    higher_is_better = False
    number_format = ".2f"
    more = (
        ScoreInfo("face_flicker", "face flicker, mouth excepted", "levels", False, ".2f"),
        ScoreInfo("background_flicker", "background flicker", "levels", False, ".2f"),
    )
    names = ("torso_flicker", "face_flicker", "background_flicker", f"{GT_PREFIX}background_flicker")

    def measure(
        self, rendered: tuple[np.ndarray, np.ndarray], gt: tuple[np.ndarray, np.ndarray], regions: FrameRegions
    ) -> dict[str, float]:
        """Levels of 255."""
        size = rendered[0].shape[:2]
        values = {}
        if regions.face is not None:
            face = box_mask(regions.face, *size) & ~box_mask(regions.mouth, *size)
            values["face_flicker"] = temporal_error(rendered, gt, face)
        if regions.torso is not None:
            values["torso_flicker"] = temporal_error(rendered, gt, regions.torso)
        if regions.background is not None:
            values["background_flicker"] = flicker(rendered, regions.background)
            values[f"{GT_PREFIX}background_flicker"] = flicker(gt, regions.background)
        return values


class TemporalError(StepMean):
    """Change from a frame to the next that the ground truth does not have, in the boxes of face and mouth:
    `functional.flicker.temporal_error`."""

    name = "temporal_error"
    display_name = "temporal error"
    unit = "levels"
    higher_is_better = False
    regions = ("face", "mouth")
    in_suite = False
    names = ("temporal_error_face", "temporal_error_mouth")

    def measure(
        self, rendered: tuple[np.ndarray, np.ndarray], gt: tuple[np.ndarray, np.ndarray], regions: FrameRegions
    ) -> dict[str, float]:
        """Levels of 255."""
        masks = _box_masks(regions, rendered[0])
        return {region_key(self.name, name): temporal_error(rendered, gt, mask) for name, mask in masks.items()}


class WarpingError(StepMean):
    """What changes without moving in the boxes of face and mouth: `functional.flicker.warping_error`. Blur lowers it,
    so that neither way is better: read it beside the ground truth's."""

    name = "warping_error"
    display_name = "warping error"
    unit = "levels"
    target = "gt"
    regions = ("face", "mouth")
    in_suite = False
    names = (
        "warping_error_face",
        "warping_error_mouth",
        f"{GT_PREFIX}warping_error_face",
        f"{GT_PREFIX}warping_error_mouth",
    )

    def measure(
        self, rendered: tuple[np.ndarray, np.ndarray], gt: tuple[np.ndarray, np.ndarray], regions: FrameRegions
    ) -> dict[str, float]:
        """Levels of 255."""
        return {
            prefix + region_key(self.name, name): warping_error(*frames, mask)
            for prefix, frames in (("", rendered), (GT_PREFIX, gt))
            for name, mask in _box_masks(regions, frames[0]).items()
        }


def _box_masks(regions: FrameRegions, frame: np.ndarray) -> dict[str, Bool[np.ndarray, "height width"]]:
    return {name: box_mask(box, *frame.shape[:2]) for name, box in regions.boxes.items()}
