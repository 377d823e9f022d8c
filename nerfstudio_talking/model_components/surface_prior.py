"""Depth prior of a head: the tracked face in one frame, completed to the outline (mesh_rendering/head_surface.py).

Images from the front say little about depth. Without a prior a volume's ears and hair lie anywhere along their rays and
come off the head as soon as it is seen from the side.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor, nn

from nerfstudio_talking.cameras.body_frame import middle_frame
from nerfstudio_talking.dataset_io.parsing_labels import HEAD_CLASSES, class_mask
from nerfstudio_talking.dataset_io.sequence import TalkingSequence, load_parsing
from nerfstudio_talking.face.linear_face_model import face_shapes
from nerfstudio_talking.mesh_rendering.head_surface import HeadSurface, head_surface

_TOLERANCE, _COMPLETED_TOLERANCE = 0.004, 0.012
"""Metres by which a depth may differ for free: where the face mesh is, and where the surface is a completion of it."""
_SCALE, _MOST = 0.05, 1.0
"""Metres beyond the tolerance that count as one, squared; and the most that one ray counts."""


def middle_head(sequence: TalkingSequence) -> tuple[int, Bool[np.ndarray, "height width"]]:
    """The training frame whose head pose is the middle one, and the pixels of the head in it.

    Args:
        sequence: a sequence with parsing maps.
    """
    frame = int(sequence.train_frames[middle_frame(sequence.track.camera_to_worlds[sequence.train_frames])])
    return frame, np.asarray(ndimage.binary_opening(class_mask(load_parsing(sequence, frame), HEAD_CLASSES)))


def training_shapes(sequence: TalkingSequence) -> Float[np.ndarray, "train 478 3"] | None:
    """The tracked shapes of the training frames, metres; None where the track has no FaceMesh points."""
    track = sequence.track
    if track.landmarks is None or track.landmarks.shape[1] != 478:
        return None
    return face_shapes(track.landmarks, track.camera_to_worlds, track.camera)[sequence.train_frames]


def surface_prior(sequence: TalkingSequence) -> SurfacePrior | None:
    """The prior of a recorded person; None where the sequence has no parsing maps, or they show no head."""
    if sequence.parsing_paths is None:
        return None
    frame, mask = middle_head(sequence)
    if not mask.any():
        return None
    pose = sequence.track.camera_to_worlds[frame].astype(np.float64)
    shapes = training_shapes(sequence)
    mean = None if shapes is None else np.nanmean(shapes, 0)
    return SurfacePrior(head_surface(mean, pose, sequence.track.camera, mask))


class SurfacePrior(nn.Module):
    """How far points lie off a head's surface.

    Args:
        surface: the surface, in one image.
    """

    depth: Tensor
    tolerance: Tensor
    pose: Tensor

    def __init__(self, surface: HeadSurface) -> None:
        super().__init__()
        self._camera = surface.camera
        tolerance = np.where(surface.on_mesh, _TOLERANCE, _COMPLETED_TOLERANCE)
        self.register_buffer("depth", torch.from_numpy(surface.depth * surface.mask), persistent=False)
        self.register_buffer("tolerance", torch.from_numpy(tolerance).float(), persistent=False)
        self.register_buffer("pose", torch.from_numpy(surface.pose).float(), persistent=False)

    def behind(
        self, points: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, " points"], Bool[Tensor, " points"]]:
        """How far points lie behind the surface, along the optical axis of its image.

        Args:
            points: points in the head's frame, metres.

        Returns:
            Distances, negative in front of the surface; the tolerance; and whether the surface is known there.
        """
        away = -((points - self.pose[:, 3]) @ self.pose[:, 2])
        pixels = self._camera.project(points.detach(), self.pose[None])[0].floor().long()
        height, width = self.depth.shape
        inside = ((pixels >= 0) & (pixels < pixels.new_tensor([width, height]))).all(1) & (away > 0)
        column, row = pixels[:, 0].clamp(0, width - 1), pixels[:, 1].clamp(0, height - 1)
        depth = self.depth[row, column]
        return away - depth, self.tolerance[row, column], inside & (depth > 0)

    def forward(self, points: Float[Tensor, "rays 3"], weights: Float[Tensor, " rays"]) -> Float[Tensor, ""]:
        """Loss of the points where rays end: the mean squared distance to the surface, bounded.

        Args:
            points: expected end of each ray, in the head's frame, metres.
            weights: how much each ray counts: opacities of rays of the head, 0 for other rays.
        """
        distance, tolerance, known = self.behind(points)
        excess = (distance.abs() - tolerance).clamp_min(0) / _SCALE
        counted = weights * known
        return (excess.square().clamp_max(_MOST) * counted).sum() / counted.sum().clamp_min(1.0)
