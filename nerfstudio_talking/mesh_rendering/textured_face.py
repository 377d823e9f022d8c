"""Render the personal face mesh with the person's texture: the stage before the refiner in Yi et al. (2020).

They render a registration-only 3DMM; here a personal linear model (`face.linear_face_model`) on the triangles of the
canonical face takes its place. The texture is the mean over training frames, and the inside of the mouth has one
colour. Hair, ears and body come from the training frame whose head pose is nearest (`reference_warp`). The refiner has
to correct the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Int64, UInt8

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID
from nerfstudio_talking.dataset_io.sequence import TalkingSequence, load_parsing
from nerfstudio_talking.face.landmark_sets import INNER_LIP_CORNERS, MIDDLE_LIP_PAIR
from nerfstudio_talking.face.linear_face_model import (
    FaceModel,
    canonical_face,
    face_shapes,
    fit_face_basis,
    landmarks_of_shapes,
    pose_vectors,
)
from nerfstudio_talking.face.measurements import lid_closure, mean_eye_opening
from nerfstudio_talking.media.images import read_image
from nerfstudio_talking.media.inpainting import fill_smoothly
from nerfstudio_talking.mesh_rendering.rasterizer import interpolate, rasterise, sample, signed_areas
from nerfstudio_talking.mesh_rendering.reference_warp import (
    body_motion_between,
    composite_person,
    fit_affine,
    split_person,
)

_TEXTURE_SIZE = 256
"""Height and width of the texture, pixels."""
_TEXTURE_FRAMES = 48
"""Number of training frames that the texture is averaged over."""
_MIN_DISTANCE = 25
"""Least number of frames between a frame and its reference: the ground truth must not be given away."""
_COMPONENTS = 24
"""Components of the linear shape model."""


@dataclass(frozen=True)
class TexturedFace:
    """A person's face as a textured mesh with a linear shape model."""

    model: FaceModel
    """Mean shape and shape components."""
    texture: UInt8[np.ndarray, "256 256 3"]
    """Colours of the skin and eyes, laid out by `texture_positions`."""
    mouth: UInt8[np.ndarray, " 3"]
    """Colour of the inside of the mouth."""


@lru_cache(maxsize=1)
def mesh_triangles() -> tuple[Int[np.ndarray, "triangles 3"], int]:
    """Triangles of skin and eyes followed by those that close the mouth, and the number of the former."""
    _, triangles = canonical_face()
    rings = sorted(_rings(triangles), key=len)[:-1]  # the longest is the outline of the face
    lips = max(rings, key=lambda ring: len(set(ring) & {*MIDDLE_LIP_PAIR, *INNER_LIP_CORNERS}))
    eyes = [_fan(ring) for ring in rings if ring is not lips]
    skin = np.concatenate([triangles, *eyes])
    return np.concatenate([skin, _fan(lips)]), len(skin)


def texture_positions() -> Float[np.ndarray, "478 2"]:
    """Texture coordinates of the points, pixels: the canonical face unrolled from a vertical cylinder."""
    points, _ = canonical_face()
    angle = np.arctan2(points[:, 0], points[:, 2] - points[:, 2].min() + 0.03)
    flat = np.stack([angle, -points[:, 1]], axis=1)
    low, high = flat.min(0), flat.max(0)
    return (flat - low) / (high - low) * (_TEXTURE_SIZE - 4) + 2


def fit_textured_face(sequence: TalkingSequence) -> TexturedFace:
    """Fit the personal shape model and average the texture over the training frames of a sequence.

    Raises:
        TalkingError: the sequence has no FaceMesh landmarks.
    """
    track = sequence.track
    shapes = face_shapes(track.landmarks, track.camera_to_worlds, track.camera)
    train = sequence.train_frames
    closure = lid_closure(mean_eye_opening(track.eyes))
    count = min(_COMPONENTS, len(train) - 1)
    basis = fit_face_basis([(shapes[train], closure[train])], count)
    model = FaceModel(shapes[train].mean(0) - closure[train].mean() * basis.lid, basis)
    triangles, skin = mesh_triangles()
    positions = texture_positions()
    layout = rasterise(positions, np.zeros(len(positions)), triangles[:skin], _TEXTURE_SIZE, _TEXTURE_SIZE)
    total, weight = np.zeros((_TEXTURE_SIZE, _TEXTURE_SIZE, 3)), np.zeros((_TEXTURE_SIZE, _TEXTURE_SIZE, 1))
    inner: list[np.ndarray] = []
    flat_area = signed_areas(positions, triangles[:skin])
    for frame in train[np.unique(np.linspace(0, len(train) - 1, _TEXTURE_FRAMES).astype(int))]:
        image = read_image(sequence.image_paths[frame], "RGB")
        points = landmarks_of_shapes(shapes[frame][None], track.camera_to_worlds[frame][None], track.camera)[0]
        # a triangle counts by how large the frame shows it, which favours frontal views and open eyes
        visible = np.clip(signed_areas(points, triangles[:skin]) / np.maximum(flat_area, 1e-6), 0, None) ** 2
        share = np.where(layout.triangle >= 0, visible[np.maximum(layout.triangle, 0)], 0.0)[..., None]
        colours = sample(image, interpolate(layout, triangles[:skin], points))
        total += share * colours
        weight += share
        if sequence.parsing_paths is not None:
            inner.append(image[load_parsing(sequence, int(frame)) == CLASS_ID["inner_mouth"]])
    colours = np.concatenate(inner) if inner else np.zeros((0, 3))
    mouth = np.median(colours, axis=0) if len(colours) else np.array([60, 25, 25])
    # texels that no frame shows are inpainted: their black would bleed into the outline of the face
    texture = fill_smoothly((total / np.maximum(weight, 1e-6)).astype(np.float32), weight[..., 0] > 0)
    return TexturedFace(model, np.round(texture).astype(np.uint8), mouth.astype(np.uint8))


def render_face(
    face: TexturedFace,
    shape: Float[np.ndarray, "478 3"],
    camera_to_world: Float[np.ndarray, "3 4"],
    camera: PinholeCamera,
    backdrop: UInt8[np.ndarray, "height width 3"],
) -> UInt8[np.ndarray, "height width 3"]:
    """Render the face over a backdrop, with a soft outline.

    Args:
        face: the person's textured mesh.
        shape: points of the mesh in the head's frame, metres.
        camera_to_world: pose of the camera in the head's frame (OpenGL axes).
        camera: camera of the backdrop's size.
        backdrop: image of the size to render.
    """
    import cv2

    height, width = backdrop.shape[:2]
    triangles, skin = mesh_triangles()
    points = landmarks_of_shapes(shape[None], camera_to_world[None], camera)[0]
    depth = np.linalg.norm(shape - camera_to_world[:, 3], axis=1)
    coverage = rasterise(points, depth, triangles, height, width)
    colours = sample(face.texture, interpolate(coverage, triangles, texture_positions()))
    colours[coverage.triangle >= skin] = face.mouth
    covered = (coverage.triangle >= 0).astype(np.float32)
    alpha = np.minimum(covered, cv2.GaussianBlur(cv2.erode(covered, np.ones((3, 3))), (0, 0), 1.5))[..., None]
    return np.round(alpha * colours + (1 - alpha) * backdrop).astype(np.uint8)


def render_sequence(
    sequence: TalkingSequence, face: TexturedFace | None = None, advance: Callable[[], Any] = lambda: None
) -> UInt8[np.ndarray, "frames height width 3"]:
    """Render every frame of a sequence by the personal mesh, in the tracked motion.

    Args:
        sequence: the sequence.
        face: the textured mesh; fitted to the sequence where None.
        advance: called after each frame.

    Raises:
        TalkingError: the sequence has no FaceMesh landmarks.
    """
    track = sequence.track
    face = face or fit_textured_face(sequence)
    shapes = face_shapes(track.landmarks, track.camera_to_worlds, track.camera)
    shapes = face.model.shapes(face.model.encode(shapes), lid_closure(mean_eye_opening(sequence.track.eyes)))
    references = choose_references(pose_vectors(track.camera_to_worlds), sequence.train_frames)
    mean = np.tile(face.model.mean, (track.num_frames, 1, 1))
    posed = landmarks_of_shapes(mean, track.camera_to_worlds, track.camera)
    frames = np.empty((track.num_frames, track.height, track.width, 3), dtype=np.uint8)
    background, bodies = sequence.background, track.body
    for reference in np.unique(references):
        image = read_image(sequence.image_paths[reference], "RGB")
        backdrops = dict.fromkeys(np.flatnonzero(references == reference).tolist(), image)
        if sequence.parsing_paths is not None and background is not None and bodies is not None:
            layers = split_person(image, load_parsing(sequence, int(reference)))
            for frame in backdrops:
                head_motion = fit_affine(posed[reference], posed[frame])
                body_motion = body_motion_between(bodies[reference], bodies[frame], track.width, track.height)
                backdrops[frame] = composite_person(layers, background, head_motion, body_motion)
        for frame, backdrop in backdrops.items():
            frames[frame] = render_face(face, shapes[frame], track.camera_to_worlds[frame], track.camera, backdrop)
            advance()
    return frames


def choose_references(
    poses: Float[np.ndarray, "frames 6"], train: Int64[np.ndarray, " train"], min_distance: int = _MIN_DISTANCE
) -> Int64[np.ndarray, " frames"]:
    """Choose for each frame the training frame with the nearest head pose.

    Args:
        poses: rotation vectors in radians and positions in metres (`pose_vectors`); a distance of 0.1 m, a head's
            radius, counts as much as one radian.
        train: positions of the training frames.
        min_distance: least number of frames between a frame and its reference, where some training frame is so far
            away.
    """
    scaled = poses * np.array([1, 1, 1, 10, 10, 10])
    distance = np.linalg.norm(scaled[:, None] - scaled[train][None], axis=2)
    near = np.abs(np.arange(len(poses))[:, None] - train[None]) < min_distance
    near &= ~near.all(axis=1, keepdims=True)
    return train[np.where(near, np.inf, distance).argmin(1)]


def _rings(triangles: np.ndarray) -> list[list[int]]:
    """Closed borders of a mesh, each in the winding order of triangles that would fill it."""
    edges = {(int(t[k]), int(t[(k + 1) % 3])) for t in triangles for k in range(3)}
    following = {b: a for a, b in edges if (b, a) not in edges}
    rings = []
    while following:
        start, after = following.popitem()
        ring = [start]
        while after != start:
            ring.append(after)
            after = following.pop(after)
        rings.append(ring)
    return rings


def _fan(ring: list[int]) -> np.ndarray:
    """Triangles that fill a ring, from one side to the other, so that none degenerates when a mouth or eye closes."""
    triangles = []
    low, high = 0, len(ring) - 1
    while high - low > 1:
        triangles.append((ring[low], ring[low + 1], ring[high]))
        low += 1
        if high - low > 1:
            triangles.append((ring[low], ring[high - 1], ring[high]))
            high -= 1
    return np.array(triangles, dtype=np.int64)
