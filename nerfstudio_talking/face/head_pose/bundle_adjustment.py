"""Head pose by bundle adjustment: one shape, one focal length and a pose per frame, solved together.

The camera is parametrised so that what the image determines well is apart from what it determines badly: rotation,
position of the head's origin in the image, scale (focal length over depth), and inverse focal length, which only
perspective reveals. The cost is a robust reprojection error (pseudo-Huber), a prior that holds the shape near the first
guess, and a robust penalty on second differences of the pose, since heads have mass and landmark noise has none. Solved
by L-BFGS (Liu and Nocedal 1989) in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.spatial.transform import Rotation, Slerp

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.face.measurements import frames_seen
from nerfstudio_talking.face.similarity import fit_rotation

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PoseSettings:
    """Standard deviations that weigh the terms of the bundle adjustment."""

    pixel_sigma: float = 0.003
    """Standard deviation of the landmark noise, over the face's width in the image."""
    effective_points: float = 12.0
    """Number of independent measurements among the points of one frame; neighbours share the network's errors."""
    shape_sigma: float = 0.004
    """Standard deviation of the person's shape around the first guess, metres."""
    rotation_sigma: float = 0.0015
    """Standard deviation of the rotation's second difference between frames at 25 fps, radians."""
    shift_sigma: float = 0.01
    """Standard deviation of the second difference of the origin's position in the image at 25 fps, over the face's
    width."""
    scale_sigma: float = 0.0005
    """Standard deviation of the second difference of the logarithm of the scale at 25 fps."""
    distance: float = 0.9
    """Prior camera distance, metres. A talking face hardly shows perspective: the image alone leaves focal length and
    distance together almost free, and the landmark network's bias would choose."""
    focal_sigma: float = 0.005
    """Standard deviation of the logarithm of the focal length around the one that the prior distance implies."""
    iterations: int = 250
    """Number of L-BFGS steps at most."""


@dataclass(frozen=True)
class HeadPoses:
    """Result of the bundle adjustment. World = the head: OpenGL axes, metres."""

    camera_to_worlds: Float32[np.ndarray, "frames 3 4"]
    """The camera in the head's frame; looks along its -z."""
    camera: PinholeCamera
    """The recording camera; its focal length is solved for."""
    shape: Float[np.ndarray, "points 3"]
    """The person's rigid points in the head's frame, metres."""
    error: Float[np.ndarray, " frames"]
    """Median distance between seen and projected points in each frame, pixels; NaN without a face."""
    seen: Bool[np.ndarray, " frames"]
    """False where the pose is interpolated."""


def bundle_adjust(
    points: Float[np.ndarray, "frames points 2"],
    shape: Float[np.ndarray, "points 3"],
    width: int,
    height: int,
    fps: float = 25.0,
    settings: PoseSettings | None = None,
) -> HeadPoses:
    """Solve shape, focal length and poses together.

    Args:
        points: seen points in pixels, x right, y down, (0, 0) the image's upper left corner; NaN where a frame has
            no face.
        shape: first guess of the same points in the head's frame, metres.
        width: image width, pixels; the principal point is the image's centre.
        height: image height, pixels.
        fps: frames per second; the smoothness penalty scales with it.
        settings: weights of the terms.

    Raises:
        ValueError: fewer than 3 frames with a face or fewer than 8 points.
    """
    settings = settings or PoseSettings()
    seen = frames_seen(points)
    if seen.sum() < 3 or len(shape) < 8:
        raise ValueError(f"bundle adjustment needs 3 frames and 8 points, got {seen.sum()} and {len(shape)}")
    centered = (np.asarray(points, dtype=np.float64) - (width / 2, height / 2)) * (1.0, -1.0)
    start = _fill(_weak_perspective(centered[seen], shape), seen)
    focal = settings.distance * float(np.exp(np.median(start[seen, 5])))
    pose, person, focal = _solve(centered, seen, start, np.asarray(shape, np.float64), focal, fps, settings)
    pose, person = _align_to_guess(pose, person, shape, focal)
    pose = _fill(pose[seen], seen)
    camera_to_worlds = _camera_to_worlds(pose, focal)
    camera = PinholeCamera(float(focal), width, height)
    projected = camera.project(person, camera_to_worlds)
    error = np.full(len(points), np.nan)
    error[seen] = np.median(np.linalg.norm(projected[seen] - points[seen], axis=-1), axis=-1)
    return HeadPoses(camera_to_worlds.astype(np.float32), camera, person, error, seen)


def independent_pnp(
    points: Float[np.ndarray, "frames points 2"],
    shape: Float[np.ndarray, "points 3"],
    camera: PinholeCamera,
) -> HeadPoses:
    """Solve each frame by itself on a fixed shape and focal length (OpenCV's iterative PnP).

    The baseline that bundle adjustment is compared with. Arguments and result as in `bundle_adjust`.
    """
    import cv2

    no_distortion = np.zeros(4)
    seen = frames_seen(points)
    poses = np.zeros((int(seen.sum()), 6))
    for row, frame in enumerate(np.flatnonzero(seen)):
        model = np.ascontiguousarray(shape * (1.0, -1.0, -1.0))  # OpenCV axes: y down, z away from the camera
        _, rotvec, shift = cv2.solvePnP(
            model,
            np.ascontiguousarray(points[frame], np.float64),
            camera.matrix,
            no_distortion,
            flags=cv2.SOLVEPNP_SQPNP,
        )
        _, rotvec, shift = cv2.solvePnP(
            model, np.ascontiguousarray(points[frame], np.float64), camera.matrix, no_distortion, rotvec, shift, True
        )
        rotvec, shift = rotvec[:, 0] * (1, -1, -1), shift[:, 0] * (1, -1, -1)
        depth = -shift[2]
        poses[row] = (*rotvec, *(camera.focal * shift[:2] / depth), np.log(camera.focal / depth))
    camera_to_worlds = _camera_to_worlds(_fill(poses, seen), camera.focal)
    projected = camera.project(shape, camera_to_worlds)
    error = np.full(len(points), np.nan)
    error[seen] = np.median(np.linalg.norm(projected[seen] - points[seen], axis=-1), axis=-1)
    return HeadPoses(camera_to_worlds.astype(np.float32), camera, np.asarray(shape, np.float64), error, seen)


def pose_jitter(camera_to_worlds: Float[np.ndarray, "frames 3 4"]) -> tuple[float, float]:
    """Root mean square second difference of the rotation (degrees) and of the depth (metres) between frames."""
    rotation = Rotation.from_matrix(np.asarray(camera_to_worlds, np.float64)[:, :, :3])
    step = (rotation[:-1].inv() * rotation[1:]).as_rotvec(degrees=True)
    local = -np.einsum("fij,fi->fj", camera_to_worlds[:, :, :3], camera_to_worlds[:, :, 3])
    rotation_jitter = np.sqrt((np.diff(step, axis=0) ** 2).sum(-1).mean())
    return float(rotation_jitter), float(np.sqrt((np.diff(local[:, 2], 2) ** 2).mean()))


def _camera_to_worlds(pose: Float[np.ndarray, "frames 6"], focal: float) -> Float[np.ndarray, "frames 3 4"]:
    """Pose rows (rotation vector, image x and y up of the origin in pixels, log scale) to camera-to-world."""
    head, shift = _head_to_camera(pose, focal)
    rotation = head.transpose(0, 2, 1)
    return np.concatenate([rotation, -rotation @ shift[:, :, None]], axis=-1)


def _head_to_camera(
    pose: Float[np.ndarray, "frames 6"], focal: float
) -> tuple[Float[np.ndarray, "frames 3 3"], Float[np.ndarray, "frames 3"]]:
    """Pose rows as rotations and translations (metres) from the head's frame to the camera's."""
    depth = focal / np.exp(pose[:, 5])
    shift = np.stack([pose[:, 3] * depth / focal, pose[:, 4] * depth / focal, -depth], axis=-1)
    return Rotation.from_rotvec(pose[:, :3]).as_matrix(), shift


def _weak_perspective(
    points: Float[np.ndarray, "frames points 2"], shape: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "frames 6"]:
    """Closed-form start: the affine camera of each frame by least squares, projected to a scaled rotation."""
    middle = shape.mean(axis=0)
    affine = np.einsum("pj,fpi->fij", np.linalg.pinv(shape - middle).T, points - points.mean(axis=1, keepdims=True))
    third = np.cross(affine[:, 0], affine[:, 1])
    norm = np.linalg.norm(affine, axis=-1).mean(axis=-1)
    third *= (norm / np.maximum(np.linalg.norm(third, axis=-1), 1e-12))[:, None]
    u, _, vt = np.linalg.svd(np.concatenate([affine, third[:, None]], axis=1))
    rotation = u @ vt
    origin = points.mean(axis=1) - norm[:, None] * (rotation @ middle)[:, :2]
    return np.concatenate([Rotation.from_matrix(rotation).as_rotvec(), origin, np.log(norm)[:, None]], axis=-1)


def _fill(pose: Float[np.ndarray, "found 6"], seen: Bool[np.ndarray, " frames"]) -> Float[np.ndarray, "frames 6"]:
    """Poses for all frames from those of the seen ones: interpolated between, held beyond the ends."""
    found, frames = np.flatnonzero(seen), np.arange(len(seen))
    filled = np.empty((len(seen), 6))
    rotation = Slerp(found, Rotation.from_rotvec(pose[:, :3]))(np.clip(frames, found[0], found[-1]))
    filled[:, :3] = rotation.as_rotvec()
    for column in range(3, 6):
        filled[:, column] = np.interp(frames, found, pose[:, column])
    filled[seen] = pose
    return filled


def _rotate(rotvec: Float[Tensor, "frames 3"]) -> Float[Tensor, "frames 3 3"]:
    """Rotation matrices by Rodrigues' formula, differentiable at zero."""
    import torch

    square = (rotvec**2).sum(-1).clamp_min(1e-16)
    angle = square.sqrt()
    x, y, z = rotvec.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).view(-1, 3, 3)
    sine, versine = torch.sinc(angle / torch.pi), 0.5 * torch.sinc(angle / (2 * torch.pi)) ** 2
    return torch.eye(3, dtype=rotvec.dtype) + sine[:, None, None] * cross + versine[:, None, None] * (cross @ cross)


def _solve(
    points: Float[np.ndarray, "frames points 2"],
    seen: Bool[np.ndarray, " frames"],
    start: Float[np.ndarray, "frames 6"],
    shape: Float[np.ndarray, "points 3"],
    focal: float,
    fps: float,
    settings: PoseSettings,
) -> tuple[Float[np.ndarray, "frames 6"], Float[np.ndarray, "points 3"], float]:
    """Minimise the cost of the module's docstring; returns poses, shape and focal length."""
    import torch

    face = float(np.median(np.ptp(points[seen][:, :, 0], axis=1)))
    target = torch.from_numpy(points[seen])
    rows = torch.from_numpy(np.flatnonzero(seen))
    pose0, shape0 = torch.from_numpy(start), torch.from_numpy(shape)
    noise = settings.pixel_sigma * face
    # One unit of each variable is about its own uncertainty: L-BFGS starts from a scaled identity.
    unit = torch.tensor([0.01] * 3 + [0.005 * face] * 2 + [0.005], dtype=torch.float64)
    bend_sigma = torch.tensor(
        [settings.rotation_sigma] * 3 + [settings.shift_sigma * face] * 2 + [settings.scale_sigma], dtype=torch.float64
    )
    bend_sigma = bend_sigma * (25.0 / fps) ** 2
    pose = torch.zeros_like(pose0, requires_grad=True)
    person = torch.zeros_like(shape0, requires_grad=True)
    log_focal = torch.zeros((), dtype=torch.float64, requires_grad=True)
    per_point = settings.effective_points / len(shape)

    def cost() -> Tensor:
        p, s = pose0 + pose * unit, shape0 + person * 0.002
        inverse = torch.exp(-0.1 * log_focal) / focal
        seen_pose = p[rows]
        rotated = s @ _rotate(seen_pose[:, :3]).transpose(1, 2)
        scale = torch.exp(seen_pose[:, 5])[:, None]
        relative_depth = 1 - inverse * scale * rotated[..., 2]
        uv = (scale[..., None] * rotated[..., :2] + seen_pose[:, None, 3:5]) / relative_depth[..., None]
        square = ((uv - target) ** 2).sum(-1) / noise**2
        data = per_point * 4.0 * (torch.sqrt(1 + square / 4.0) - 1).sum()
        bend = (p[2:] - 2 * p[1:-1] + p[:-2]) / bend_sigma
        smooth = 4.0 * (torch.sqrt(1 + bend**2 / 4.0) - 1).sum()
        prior = 0.5 * ((person * 0.002 / settings.shape_sigma) ** 2).sum()
        return data + smooth + prior + 0.5 * (0.1 * log_focal / settings.focal_sigma) ** 2

    solver = torch.optim.LBFGS(
        [pose, person, log_focal],
        max_iter=settings.iterations,
        history_size=20,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-6,
        tolerance_change=1e-9,
    )

    def closure() -> Tensor:
        solver.zero_grad()
        value = cost()
        value.backward()
        return value

    solver.step(closure)
    final = (pose0 + pose * unit).detach().numpy()
    return final, (shape0 + person * 0.002).detach().numpy(), focal * float(torch.exp(0.1 * log_focal.detach()))


def _align_to_guess(
    pose: Float[np.ndarray, "frames 6"],
    person: Float[np.ndarray, "points 3"],
    shape: Float[np.ndarray, "points 3"],
    focal: float,
) -> tuple[Float[np.ndarray, "frames 6"], Float[np.ndarray, "points 3"]]:
    """Align the solved shape to the first guess (similarity) and move the poses with it, so that the image stays.

    The reprojection does not determine the head's frame: this fixes the gauge.
    """
    middle, anchor = person.mean(axis=0), shape.mean(axis=0)
    a, b = person - middle, shape - anchor
    rotation = fit_rotation(a, b)
    scale = float(np.sqrt((b**2).sum() / (a**2).sum()))
    aligned = scale * a @ rotation + anchor
    head, shift = _head_to_camera(pose, focal)
    # head @ x + shift, with x = (aligned - anchor) @ rotation.T / scale + middle, all times scale
    new_head = head @ rotation
    new_shift = scale * (shift + head @ middle) - new_head @ anchor
    depth = -new_shift[:, 2]
    rotvec = Rotation.from_matrix(new_head).as_rotvec()
    rows = [rotvec, focal * new_shift[:, :2] / depth[:, None], np.log(focal / depth)[:, None]]
    return np.concatenate(rows, axis=-1), aligned
