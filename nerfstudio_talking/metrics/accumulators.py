"""Scores of a whole video as torchmetrics classes: states that add up frame by frame, `compute` giving flat floats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torchmetrics import Metric

from nerfstudio_talking.audio.sync import OffsetEstimate, sync_score
from nerfstudio_talking.face.measurements import eye_opening, lid_gap, lip_opening
from nerfstudio_talking.media.optical_flow import flow_field
from nerfstudio_talking.metrics import action_units, landmarks, stability
from nerfstudio_talking.metrics.images import image_scores
from nerfstudio_talking.metrics.regions import Box, FrameRegions, outside

_KINDS, _AREAS = ("psnr", "ssim", "lpips"), ("", "_face", "_mouth")


class ImageQuality(Metric):
    """Means over frames of PSNR, SSIM and, with a network, LPIPS: of the frame, the face box and the mouth box.

    Called with a frame it returns that frame's scores; `compute` returns the means over all frames that had them.
    """

    full_state_update = False

    def __init__(self, network: nn.Module | None = None) -> None:
        super().__init__()
        self._network = [network]  # in a list: no part of this module's weights
        shape = (len(_KINDS), len(_AREAS))
        self.add_state("total", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("frames", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self,
        rendered: Float[Tensor, "height width 3"],
        gt: Float[Tensor, "height width 3"],
        boxes: Mapping[str, Box | None],
    ) -> None:
        """Add a frame: images in [0, 1], boxes `face` and `mouth` of the ground truth."""
        network = self._network[0]
        if network is not None:
            network.to(rendered.device)
        for name, value in image_scores(rendered, gt, boxes, network).items():
            kind, _, area = name.partition("_")
            at = _KINDS.index(kind), _AREAS.index(f"_{area}" if area else "")
            self.total[at] += value  # type: ignore[index]
            self.frames[at] += 1  # type: ignore[index]

    def compute(self) -> dict[str, float]:
        """Means by name: `psnr`, `psnr_face`, `psnr_mouth`, `ssim` ..."""
        total, frames = self.total.tolist(), self.frames.tolist()  # type: ignore[operator]
        return {
            kind + area: total[i][j] / frames[i][j]
            for i, kind in enumerate(_KINDS)
            for j, area in enumerate(_AREAS)
            if frames[i][j]
        }


class FaceMotion(Metric):
    """What rendered and true face do over a video: LMD, AUE by geometry, lips against lips and against audio, blinks.

    States are the landmarks of all frames (7.6 kB a frame); frames are given in order.

    Args:
        fps: frames per second.
        audio: mono samples that start with the first frame, and their rate; None leaves out what needs it.
    """

    full_state_update = False

    def __init__(self, fps: float, audio: tuple[Float[np.ndarray, " samples"], int] | None = None) -> None:
        super().__init__()
        self.fps, self.audio = fps, audio
        self.add_state("rendered", [], dist_reduce_fx="cat")
        self.add_state("gt", [], dist_reduce_fx="cat")

    def update(self, rendered: Float[np.ndarray, "478 xy"], gt: Float[np.ndarray, "478 xy"]) -> None:
        """Add a frame's FaceMesh points in pixels; NaN where no face was found."""
        for state, points in ((self.rendered, rendered), (self.gt, gt)):
            state.append(torch.from_numpy(np.asarray(points, np.float32)[None, :, :2].copy()))  # type: ignore[union-attr]

    @property
    def tracks(self) -> tuple[Float[np.ndarray, "frames 478 2"], Float[np.ndarray, "frames 478 2"]]:
        """Landmarks of the rendering and of the ground truth so far."""
        pair = (self.rendered, self.gt)
        joined = (torch.cat(list(state)) if len(state) else torch.empty(0, 478, 2) for state in pair)  # type: ignore[arg-type]
        rendered, gt = (points.cpu().numpy() for points in joined)
        return rendered, gt

    def compute(self) -> dict[str, float]:
        """Scores by name; NaN for what this video is too short for, names left out for what was not given."""
        rendered, gt = self.tracks
        if len(gt) == 0:
            return {}
        lmd = landmarks.landmark_score(rendered, gt)
        scores = {
            "lmd": lmd.pixels,
            "lmd_relative": lmd.relative,
            "faces_missed": float(lmd.missed_rendered),
            "gt_faces_missed": float(lmd.missed_gt),
        }
        units, true_units = action_units.from_landmarks(rendered), action_units.from_landmarks(gt)
        aue = action_units.action_unit_error(units, true_units, action_units.GEOMETRY_UNITS)
        scores |= {"aue_geometry_upper": aue.upper, "aue_geometry_lower": aue.lower}
        lips, true_lips = lip_opening(rendered), lip_opening(gt)
        agree = landmarks.agreement(lips, true_lips)
        scores |= {
            "lip_correlation": agree.correlation,
            "lip_lag": agree.best_lag,
        }
        minutes = len(gt) / self.fps / 60
        for prefix, points in (("", rendered), ("gt_", gt)):
            eyes = eye_opening(lid_gap(points))
            rate = stability.blinks(eyes) / minutes if np.isfinite(eyes).any() else np.nan
            scores[f"{prefix}blinks_per_minute"] = rate
        if self.audio is not None:
            scores |= self._against_audio(lips, true_lips)
        return scores

    def _against_audio(self, lips: np.ndarray, true_lips: np.ndarray) -> dict[str, float]:
        samples, rate = self.audio  # type: ignore[misc]
        needed = int(np.ceil(len(lips) / self.fps * rate)) + 1
        samples = np.pad(samples, (0, max(needed - len(samples), 0)))
        silent = stability.silent_frames(samples, self.fps, len(lips), rate)
        seen = true_lips[np.isfinite(true_lips)]
        scale = float(np.percentile(seen, 95)) if len(seen) else np.nan
        scores = {}
        for prefix, curve in (("", lips), ("gt_", true_lips)):
            scores |= sync_metrics(sync_score(curve, samples, self.fps, rate), prefix)
            scores[f"{prefix}lips_closed_in_silence"] = stability.closed_in_silence(curve, silent, scale)
        return scores


def sync_metrics(estimate: OffsetEstimate, prefix: str = "") -> dict[str, float]:
    """The weight-free sync score as flat floats: score at the best lag, that lag, score in place, the null's top."""
    lag = estimate.lag_frames if np.isfinite(estimate.score) else np.nan
    return {
        f"{prefix}sync_score": estimate.score,
        f"{prefix}sync_lag": lag,
        f"{prefix}sync_score_in_place": estimate.score_in_place,
        f"{prefix}sync_null_max": estimate.null_max,
    }


class Steadiness(Metric):
    """Torso jitter and flicker over a video. Frames are given in order; `restart` marks a break."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name in ("cells", "gt_cells", "heads", "gt_heads", "heights", "textures"):
            self.add_state(name, [], dist_reduce_fx="cat")
        self._names = ("torso_flicker", "face_flicker", "background_flicker", "gt_background_flicker")
        self.add_state("total", torch.zeros(len(self._names), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("steps", torch.zeros(len(self._names), dtype=torch.int64), dist_reduce_fx="sum")
        self._before: tuple[Any, ...] | None = None

    def reset(self) -> None:
        """Forget all frames."""
        super().reset()
        self._before = None

    def restart(self) -> None:
        """The next frame does not follow the one before."""
        if self._before is not None and len(self.cells):  # type: ignore[arg-type]
            broken = torch.full((1, stability.GRID**2, 2), float("nan"))
            for name, row in (("cells", broken), ("heads", broken[:, :3].reshape(1, 6))):
                getattr(self, name).append(row)
                getattr(self, f"gt_{name}").append(row)
        self._before = None

    def update(
        self,
        rendered: UInt8[np.ndarray, "height width 3"],
        gt: UInt8[np.ndarray, "height width 3"],
        regions: FrameRegions,
        rendered_landmarks: Float[np.ndarray, "478 xy"] | None = None,
        gt_landmarks: Float[np.ndarray, "478 xy"] | None = None,
    ) -> None:
        """Add a frame; without landmarks there is no torso jitter."""
        now = (rendered, gt, regions, rendered_landmarks, gt_landmarks)
        before, self._before = self._before, now
        if before is None or before[0].shape != rendered.shape:
            return
        pairs = (before[0], rendered), (before[1], gt)
        self._flicker(pairs, regions)
        if regions.torso is None or rendered_landmarks is None or gt_landmarks is None or before[3] is None:
            return
        for prefix, (first, second), points_before, points in (
            ("", pairs[0], before[3], rendered_landmarks),
            ("gt_", pairs[1], before[4], gt_landmarks),
        ):
            cells = stability.cell_motion(flow_field(first, second), regions.torso)
            head = stability.head_motion(points_before, points)
            getattr(self, f"{prefix}cells").append(torch.from_numpy(cells)[None])
            getattr(self, f"{prefix}heads").append(torch.from_numpy(head).float()[None])
        self.textures.append(torch.from_numpy(stability.cell_texture(gt))[None])  # type: ignore[union-attr]
        self.heights.append(torch.tensor([landmarks.face_height(gt_landmarks)]).float())  # type: ignore[union-attr]

    def _flicker(self, pairs: tuple[tuple[np.ndarray, np.ndarray], ...], regions: FrameRegions) -> None:
        face = outside(regions.mouth, regions.face, *pairs[0][0].shape[:2])
        values = (
            np.nan if regions.torso is None else stability.temporal_error(pairs[0], pairs[1], regions.torso),
            np.nan if face is None else stability.temporal_error(pairs[0], pairs[1], face),
            np.nan if regions.background is None else stability.flicker(pairs[0], regions.background),
            np.nan if regions.background is None else stability.flicker(pairs[1], regions.background),
        )
        for i, value in enumerate(values):
            if np.isfinite(value):
                self.total[i] += value  # type: ignore[index]
                self.steps[i] += 1  # type: ignore[index]

    def compute(self) -> dict[str, float]:
        """`torso_jitter` and `torso_jitter_error` in per mille of the face's height per frame squared, flicker in
        levels of 255. The error is the jitter of the rendering's motion less the ground truth's: 0 for a torso that
        moves as it did, and of a smooth torso what the ground truth has."""
        scores = {}
        for name, total, steps in zip(self._names, self.total.tolist(), self.steps.tolist()):  # type: ignore[operator]
            if steps:
                scores[name] = total / steps
        if len(self.cells):  # type: ignore[arg-type]
            height = float(np.nanmedian(self._series("heights")))
            texture = self._series("textures").mean(axis=0)
            cells, heads = self._series("cells"), self._series("heads")
            true_cells, true_heads = self._series("gt_cells"), self._series("gt_heads")
            for name, motion, head in (
                ("torso_jitter", cells, heads),
                ("gt_torso_jitter", true_cells, true_heads),
                ("torso_jitter_error", cells - true_cells, true_heads),
            ):
                scores[name] = 1000 * stability.torso_jitter(motion, head, texture) / height
        return scores

    def _series(self, name: str) -> np.ndarray:
        state = getattr(self, name)  # a list, or one tensor once processes have been joined
        return (state if isinstance(state, Tensor) else torch.cat(state)).cpu().numpy()
