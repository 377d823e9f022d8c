"""Refine head poses photometrically: every frame is aligned to the colours of points on the head's surface.

Landmarks place a head to about half a pixel. The colours of thousands of points place it better. Each frame's pose is
corrected by Gauss-Newton on the difference between the image at the projected points and the points' median colours
over the clip: the forward-additive algorithm of Lucas and Kanade (1981; Baker and Matthews 2004) on a known rigid
surface. Absolute differences are minimised by iteratively reweighted least squares (IRLS), under one gain per frame.
A Gaussian prior holds the correction near zero, and a penalty on its second differences keeps it smooth over time. The
normal equations of all frames form one banded system. Colours and poses are estimated in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8
from scipy.linalg import solveh_banded
from scipy.spatial.transform import Rotation

from nerfstudio_talking.cameras.pinhole import PinholeCamera

_PARAMETERS = 6


@dataclass(frozen=True)
class AlignmentSettings:
    """Weights and bounds of the alignment."""

    rounds: int = 4
    """Number of rounds: the colours are estimated, then each pose by one Gauss-Newton step. More rounds follow the
    errors of the surface."""
    side: int = 256
    """Longer side, pixels, that larger images are shrunk to: it bounds the time, and keeps the start within reach."""
    cache_bytes: int = 2**28
    """Memory for images that are read in every round, bytes; what does not fit is read again."""
    blur: float = 0.8
    """Standard deviation of the Gaussian that images are smoothed with, pixels."""
    colour_frames: int = 250
    """Largest number of frames, spread over the clip, whose median gives the colours."""
    colour_sigma: float = 0.02
    """Standard deviation of a colour, images in [0, 1]; smaller differences are weighed as squares."""
    effective_points: float = 400.0
    """Number of independent measurements among the points of one frame."""
    rotation_sigma: float = 0.01
    """Standard deviation of the correction's rotation, radians."""
    position_sigma: tuple[float, float, float] = (0.001, 0.001, 0.003)
    """Standard deviation of the correction's translation, metres: across, up, towards the face."""
    rotation_bend: float = 0.006
    """Standard deviation of the rotation's second difference between frames at 25 fps, radians."""
    position_bend: tuple[float, float, float] = (0.0006, 0.0006, 0.0012)
    """Standard deviation of the translation's second difference between frames at 25 fps, metres."""
    max_rotation: float = 0.12
    """Largest rotation of a correction that is believed, radians."""
    max_translation: float = 0.03
    """Largest translation of a correction that is believed, metres."""
    min_visible: float = 0.5
    """Smallest share of the points' weight that must lie inside the image of a frame."""
    max_residual_ratio: float = 1.1
    """Largest residual of a corrected frame over its residual before, beyond which its correction is refused."""


@dataclass(frozen=True)
class AlignedPoses:
    """Result of the alignment."""

    camera_to_worlds: Float32[np.ndarray, "frames 3 4"]
    """Corrected poses; the poses given, to the bit, in frames whose correction was refused."""
    corrections: Float64[np.ndarray, "frames 6"]
    """Rotation vector (radians) and translation (metres) of each correction (`correct_poses`); 0 where refused."""
    residual_before: Float64[np.ndarray, " frames"]
    """Mean absolute colour difference under the poses given, images in [0, 1]; NaN in frames that were not measured."""
    residual_after: Float64[np.ndarray, " frames"]
    """The same under the corrected poses."""
    refused: Bool[np.ndarray, " frames"]
    """Frames whose correction was implausible or raised the residual."""

    @property
    def improved(self) -> bool:
        """Whether the median residual fell."""
        measured = np.isfinite(self.residual_before)
        if not measured.any():
            return False
        return bool(np.median(self.residual_after[measured]) < np.median(self.residual_before[measured]))


def align_poses(
    read: Callable[[int], UInt8[np.ndarray, "height width 3"]],
    points: Float[np.ndarray, "points 3"],
    weights: Float[np.ndarray, " points"],
    camera_to_worlds: Float[np.ndarray, "frames 3 4"],
    camera: PinholeCamera,
    seen: Bool[np.ndarray, " frames"],
    fps: float = 25.0,
    settings: AlignmentSettings | None = None,
    advance: Callable[[], Any] = lambda: None,
) -> AlignedPoses:
    """Align all frames of a clip to the colours of points on the head.

    Memory for images is bounded by `AlignmentSettings.cache_bytes`, whatever the length of the clip.

    Args:
        read: returns the RGB image of a frame.
        points: points of the head's surface in the head's frame, metres.
        weights: weight of each point, 1 where the head is rigid, 0 where it moves.
        camera_to_worlds: poses to start from (world = the head, OpenGL axes, metres).
        camera: camera of the images.
        seen: False in frames without a face, whose correction is interpolated.
        fps: frames per second; the temporal penalty scales with it.
        settings: weights and bounds.
        advance: called `alignment_passes(settings)` times per frame.

    Raises:
        ValueError: no frame has a face, or no point has weight.
    """
    settings = settings or AlignmentSettings()
    if not seen.any() or not weights.sum() > 0:
        raise ValueError("photometric alignment needs a frame with a face and a point with weight")
    measure = _Measurement(read, points, weights, camera, settings)
    given = np.asarray(camera_to_worlds, dtype=np.float64)
    corrections = np.zeros((len(given), _PARAMETERS))
    penalty = _penalty(len(given), fps, settings)
    before = np.full(len(given), np.nan)
    poses, colours = given, measure.colours(given, seen)
    for round_index in range(settings.rounds):
        hessians = np.zeros((len(given), _PARAMETERS, _PARAMETERS))
        gradients = np.zeros((len(given), _PARAMETERS))
        for frame in range(len(given)):
            if seen[frame]:
                residual, hessians[frame], gradients[frame] = measure.equations(frame, poses[frame], colours)
                if round_index == 0:
                    before[frame] = residual
            advance()
        corrections = _solve(hessians, gradients, corrections, penalty)
        # a correction common to all frames moves the head's frame, which other parts rely on
        corrections -= np.median(corrections[seen], axis=0)
        poses = correct_poses(given, corrections)
        colours = measure.colours(poses, seen)
    after = np.full(len(given), np.nan)
    for frame in range(len(given)):
        if np.isfinite(before[frame]):
            after[frame] = measure.equations(frame, poses[frame], colours)[0]
        advance()
    refused = np.linalg.norm(corrections[:, :3], axis=1) > settings.max_rotation
    refused |= np.linalg.norm(corrections[:, 3:], axis=1) > settings.max_translation
    refused |= np.isfinite(before) & ~(after <= settings.max_residual_ratio * before)
    corrections[refused], after[refused] = 0.0, before[refused]
    result = np.asarray(camera_to_worlds, dtype=np.float32).copy()
    result[~refused] = poses[~refused]
    return AlignedPoses(result, corrections, before, after, refused)


def alignment_passes(settings: AlignmentSettings | None = None) -> int:
    """How often `align_poses` goes over the clip."""
    settings = settings or AlignmentSettings()
    return settings.rounds + 1


def correct_poses(
    camera_to_worlds: Float[np.ndarray, "frames 3 4"], corrections: Float[np.ndarray, "frames 6"]
) -> Float64[np.ndarray, "frames 3 4"]:
    """Rotate and then move the camera of each frame about the head's origin.

    Args:
        camera_to_worlds: poses (world = the head, metres).
        corrections: rotation vectors (radians) and translations (metres), in the head's frame.
    """
    turn = Rotation.from_rotvec(corrections[:, :3]).as_matrix()
    moved = turn @ np.asarray(camera_to_worlds, dtype=np.float64)
    moved[:, :, 3] += corrections[:, 3:]
    return moved


def project_with_jacobian(
    points: Float64[np.ndarray, "points 3"], pose: Float64[np.ndarray, "3 4"], camera: PinholeCamera
) -> tuple[Float64[np.ndarray, "points 2"], Float64[np.ndarray, "points 2 6"]]:
    """Positions of points in the image, pixels, and their derivative by a correction of the pose, at zero.

    Args:
        points: points in the head's frame, metres.
        pose: camera-to-world.
        camera: camera of the image.
    """
    local = (points - pose[:, 3]) @ pose[:, :3]
    depth = np.maximum(-local[:, 2], 1e-6)
    scale, slope = camera.focal / depth, local[:, :2] / depth[:, None]
    pixels = slope * (camera.focal, -camera.focal) + (camera.width / 2, camera.height / 2)
    # derivative by the point in the head's frame: rows of the rotation, weighed by the perspective
    axes = pose[:, :3].T
    by_point = np.stack([axes[0] + slope[:, :1] * axes[2], -axes[1] - slope[:, 1:] * axes[2]], axis=1)
    by_point *= scale[:, None, None]
    # the camera rotated by w and moved by t sees the point at x + x cross w - t, to first order
    by_rotation = np.cross(by_point, points[:, None])
    return pixels, np.concatenate([by_rotation, -by_point], axis=2)


class _Measurement:
    """Differences between images and the points' colours."""

    def __init__(
        self,
        read: Callable[[int], np.ndarray],
        points: np.ndarray,
        weights: np.ndarray,
        camera: PinholeCamera,
        settings: AlignmentSettings,
    ) -> None:
        scale = min(1.0, settings.side / max(camera.size))
        self.read, self.settings = read, settings
        self.cache: dict[int, np.ndarray] = {}
        self.camera = camera.resize(round(camera.width * scale), round(camera.height * scale))
        self.points = np.asarray(points, dtype=np.float64)
        self.weights = np.asarray(weights, dtype=np.float64)

    def colours(
        self, poses: Float64[np.ndarray, "frames 3 4"], seen: Bool[np.ndarray, " frames"]
    ) -> Float32[np.ndarray, "points 3"]:
        """Median colour of each point over frames spread over the clip."""
        frames = np.flatnonzero(seen)
        count = min(self.settings.colour_frames, len(frames))
        chosen = frames[np.round(np.linspace(0, len(frames) - 1, count)).astype(int)]
        samples = [
            _sample(self._image(int(frame)), self.camera.project(self.points, poses[frame][None])[0])
            for frame in chosen
        ]
        return np.median(np.stack(samples), axis=0)

    def equations(
        self, frame: int, pose: Float64[np.ndarray, "3 4"], colours: Float32[np.ndarray, "points 3"]
    ) -> tuple[float, Float64[np.ndarray, "6 6"], Float64[np.ndarray, " 6"]]:
        """Mean absolute difference, and Hessian and gradient of the normal equations; NaN and 0 if hardly visible."""
        size = self.settings.colour_sigma
        pixels, by_pose = project_with_jacobian(self.points, pose, self.camera)
        inside = ((pixels > 2) & (pixels < np.array(self.camera.size) - 2)).all(1)
        weights = self.weights * inside
        if weights.sum() < self.settings.min_visible * self.weights.sum():
            return float("nan"), np.zeros((_PARAMETERS, _PARAMETERS)), np.zeros(_PARAMETERS)
        offsets = np.array([(0.0, 0.0), (-1, 0), (1, 0), (0, -1), (0, 1)])
        image = self._image(frame)
        seen = _sample(image, (pixels + offsets[:, None]).reshape(-1, 2)).reshape(5, len(pixels), 3)
        values, right, down = seen[0], 0.5 * (seen[2] - seen[1]), 0.5 * (seen[4] - seen[3])
        bright = (weights[:, None] * values * values).sum()
        gain = float((weights[:, None] * values * colours).sum() / max(bright, 1e-9))
        difference = colours - gain * values
        jacobian = gain * (right[:, :, None] * by_pose[:, None, 0] + down[:, :, None] * by_pose[:, None, 1])
        share = self.settings.effective_points / (3 * len(self.points))
        robust = share * weights[:, None] / (size * (np.abs(difference) + size))
        flat = jacobian.reshape(-1, _PARAMETERS)
        weighted = flat * robust.reshape(-1, 1)
        residual = float((weights[:, None] * np.abs(difference)).sum() / (3 * weights.sum()))
        return residual, weighted.T @ flat, weighted.T @ difference.reshape(-1).astype(np.float64)

    def _image(self, frame: int) -> Float32[np.ndarray, "height width 3"]:
        import cv2

        image = self.cache.get(frame)
        if image is None:
            image = self._shrunk(self.read(frame))
            if (len(self.cache) + 1) * image.nbytes <= self.settings.cache_bytes:
                self.cache[frame] = image
        return cv2.GaussianBlur(image.astype(np.float32) * np.float32(1 / 255), (0, 0), self.settings.blur)

    def _shrunk(self, image: UInt8[np.ndarray, "rows columns 3"]) -> UInt8[np.ndarray, "height width 3"]:
        import cv2

        if (image.shape[1], image.shape[0]) != self.camera.size:
            image = cv2.resize(image, self.camera.size, interpolation=cv2.INTER_AREA)
        return image


def _sample(
    image: Float32[np.ndarray, "height width 3"], pixels: Float64[np.ndarray, "points 2"]
) -> Float32[np.ndarray, "points 3"]:
    """Bilinear samples at pixel positions; beyond the border, the border."""
    import cv2

    # OpenCV's remap takes at most 32766 columns
    rows = np.pad(pixels - 0.5, ((0, -len(pixels) % 1024), (0, 0))).reshape(-1, 1024, 2).astype(np.float32)
    found = cv2.remap(image, rows, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # pyright: ignore
    return found.reshape(-1, 3)[: len(pixels)]


def _penalty(num_frames: int, fps: float, settings: AlignmentSettings) -> Float64[np.ndarray, "13 parameters"]:
    """Prior and penalty on second differences, as the lower bands of a symmetric matrix."""
    prior = 1.0 / np.array([settings.rotation_sigma] * 3 + list(settings.position_sigma)) ** 2
    bend = np.array([settings.rotation_bend] * 3 + list(settings.position_bend)) * (25.0 / fps) ** 2
    middle, beside, beyond = np.zeros(num_frames), np.zeros(num_frames), np.zeros(num_frames)
    middle[:-2] += 1.0
    middle[1:-1] += 4.0
    middle[2:] += 1.0
    if num_frames > 2:
        beside[: num_frames - 2] -= 2.0
        beside[1 : num_frames - 1] -= 2.0
        beyond[: num_frames - 2] = 1.0
    bands = np.zeros((2 * _PARAMETERS + 1, num_frames, _PARAMETERS))
    bands[0] = prior
    for row, factor in ((0, middle), (_PARAMETERS, beside), (2 * _PARAMETERS, beyond)):
        bands[row] += factor[:, None] / bend**2
    return bands.reshape(len(bands), -1)


def _solve(
    hessians: Float64[np.ndarray, "frames 6 6"],
    gradients: Float64[np.ndarray, "frames 6"],
    corrections: Float64[np.ndarray, "frames 6"],
    penalty: Float64[np.ndarray, "13 parameters"],
) -> Float64[np.ndarray, "frames 6"]:
    """Corrections that minimise the quadratic model about the present ones."""
    bands = penalty.reshape(len(penalty), -1, _PARAMETERS).copy()
    for offset in range(_PARAMETERS):
        for column in range(_PARAMETERS - offset):
            bands[offset, :, column] += hessians[:, column + offset, column]
    target = np.einsum("fij,fj->fi", hessians, corrections) + gradients
    return solveh_banded(bands.reshape(len(bands), -1), target.reshape(-1), lower=True).reshape(-1, _PARAMETERS)
