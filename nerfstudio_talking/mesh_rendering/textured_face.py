"""The paper's own stage before the refiner: the personal mesh, drawn with the person's texture over recorded frames.

What Yi et al. take from a registration-walled face model is here the personal linear model of `motion.face_model` on
the canonical face's triangles. Its texture is the mean over training frames; hair, ears and body are a training frame's
whose head is posed alike, carried to their places (surroundings.py); the inside of the mouth is one colour. All of that
is the refiner's to correct.
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
from nerfstudio_talking.face.linear_face_model import (
    FaceModel,
    canonical_face,
    face_basis,
    face_shapes,
    landmarks_of_shapes,
    pose_vectors,
)
from nerfstudio_talking.media.images import read_image
from nerfstudio_talking.media.inpainting import fill_smoothly
from nerfstudio_talking.mesh_rendering.rasterizer import interpolate, rasterise, sample, signed_areas
from nerfstudio_talking.mesh_rendering.reference_warp import affine_between, body_between, carried, person_layers

_TEXTURE = 256
"""Pixels on a side of the texture."""
_FRAMES = 48
"""Training frames that the texture is the mean of."""
_APART = 25
"""Frames between a frame and the one that lends it its surroundings: the answer is not to lie in what is given."""
_COMPONENTS = 24


@dataclass(frozen=True)
class TexturedFace:
    """A person as a textured mesh with a linear model of its shape."""

    model: FaceModel
    texture: UInt8[np.ndarray, "256 256 3"]
    mouth: UInt8[np.ndarray, " 3"]
    """Colour of the inside of the mouth."""


@lru_cache(maxsize=1)
def mesh_triangles() -> tuple[Int[np.ndarray, "triangles 3"], int]:
    """Triangles of skin and eyes, then those that close the mouth, and how many the first are."""
    _, triangles = canonical_face()
    rings = sorted(_rings(triangles), key=len)[:-1]  # the longest is the rim of the face
    lips = max(rings, key=lambda ring: len(set(ring) & {13, 14, 78, 308}))
    eyes = [_fan(ring) for ring in rings if ring is not lips]
    skin = np.concatenate([triangles, *eyes])
    return np.concatenate([skin, _fan(lips)]), len(skin)


def texture_positions() -> Float[np.ndarray, "478 2"]:
    """Where each point lies in the texture, pixels: the canonical face unrolled from a cylinder behind it."""
    points, _ = canonical_face()
    angle = np.arctan2(points[:, 0], points[:, 2] - points[:, 2].min() + 0.03)
    flat = np.stack([angle, -points[:, 1]], axis=1)
    low, high = flat.min(0), flat.max(0)
    return (flat - low) / (high - low) * (_TEXTURE - 4) + 2


def textured_face(sequence: TalkingSequence) -> TexturedFace:
    """The personal model and texture from the training frames of a clip.

    Raises:
        TalkingError: the clip has no FaceMesh landmarks.
    """
    track = sequence.track
    shapes, _ = face_shapes(track)
    train = sequence.train_frames
    closure = _closure(sequence)
    count = min(_COMPONENTS, len(train) - 1)
    basis = face_basis([(shapes[train], closure[train])], count)
    model = FaceModel(shapes[train].mean(0) - closure[train].mean() * basis.lid, basis)
    triangles, skin = mesh_triangles()
    where = texture_positions()
    layout = rasterise(where, np.zeros(len(where)), triangles[:skin], _TEXTURE, _TEXTURE)
    total, weight = np.zeros((_TEXTURE, _TEXTURE, 3)), np.zeros((_TEXTURE, _TEXTURE, 1))
    inner: list[np.ndarray] = []
    flat_area = signed_areas(where, triangles[:skin])
    for frame in train[np.unique(np.linspace(0, len(train) - 1, _FRAMES).astype(int))]:
        image = read_image(sequence.image_paths[frame], "RGB")
        points = landmarks_of_shapes(shapes[frame][None], track.camera_to_worlds[frame][None], track.camera)[0]
        seen = np.clip(signed_areas(points, triangles[:skin]) / np.maximum(flat_area, 1e-6), 0, None) ** 2
        share = np.where(layout.triangle >= 0, seen[np.maximum(layout.triangle, 0)], 0.0)[..., None]
        # eyes count where they are open
        colours = sample(image, interpolate(layout, triangles[:skin], points))
        total += share * colours
        weight += share
        if sequence.parsing_paths is not None:
            inner.append(image[load_parsing(sequence, int(frame)) == CLASS_ID["inner_mouth"]])
    colours = np.concatenate(inner) if inner else np.zeros((0, 3))
    mouth = np.median(colours, axis=0) if len(colours) else np.array([60, 25, 25])
    # what no frame showed is filled from beside, or its black would seep in along the rim
    texture = fill_smoothly((total / np.maximum(weight, 1e-6)).astype(np.float32), weight[..., 0] > 0)
    return TexturedFace(model, np.round(texture).astype(np.uint8), mouth.astype(np.uint8))


def draw_face(
    face: TexturedFace,
    shape: Float[np.ndarray, "478 3"],
    camera_to_world: Float[np.ndarray, "3 4"],
    camera: PinholeCamera,
    backdrop: UInt8[np.ndarray, "height width 3"],
) -> UInt8[np.ndarray, "height width 3"]:
    """The face over a backdrop, its rim softened.

    Args:
        face: of the person.
        shape: points in the head's frame, metres.
        camera_to_world: head pose.
        camera: of the backdrop's size.
        backdrop: image of the same size.
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
    soft = np.minimum(covered, cv2.GaussianBlur(cv2.erode(covered, np.ones((3, 3))), (0, 0), 1.5))[..., None]
    return np.round(soft * colours + (1 - soft) * backdrop).astype(np.uint8)


def mesh_frames(
    sequence: TalkingSequence, face: TexturedFace | None = None, advance: Callable[[], Any] = lambda: None
) -> UInt8[np.ndarray, "frames height width 3"]:
    """Every frame of a clip as the personal mesh shows it, in the tracked motion.

    Raises:
        TalkingError: the clip has no FaceMesh landmarks.
    """
    track = sequence.track
    face = face or textured_face(sequence)
    shapes, _ = face_shapes(track)
    shapes = face.model.shapes(face.model.encode(shapes), _closure(sequence))
    lenders = backdrop_frames(pose_vectors(track.camera_to_worlds), sequence.train_frames)
    mean = np.tile(face.model.mean, (track.num_frames, 1, 1))
    posed = landmarks_of_shapes(mean, track.camera_to_worlds, track.camera)
    frames = np.empty((track.num_frames, track.height, track.width, 3), dtype=np.uint8)
    background, bodies = sequence.background, track.body
    for lender in np.unique(lenders):
        image = read_image(sequence.image_paths[lender], "RGB")
        backdrops = dict.fromkeys(np.flatnonzero(lenders == lender).tolist(), image)
        if sequence.parsing_paths is not None and background is not None and bodies is not None:
            layers = person_layers(image, load_parsing(sequence, int(lender)))
            for frame in backdrops:
                head = affine_between(posed[lender], posed[frame])
                body = body_between(bodies[lender], bodies[frame], track.width, track.height)
                backdrops[frame] = carried(layers, background, head, body)
        for frame, backdrop in backdrops.items():
            frames[frame] = draw_face(face, shapes[frame], track.camera_to_worlds[frame], track.camera, backdrop)
            advance()
    return frames


def backdrop_frames(
    poses: Float[np.ndarray, "frames 6"], train: Int64[np.ndarray, " train"], apart: int = _APART
) -> Int64[np.ndarray, " frames"]:
    """For each frame the training frame, a second or more away where there is one, whose head is posed most alike.

    Poses are compared in the units of `pose_vectors`, radians beside metres over the 0.1 m of a head's radius.
    """
    scaled = poses * np.array([1, 1, 1, 10, 10, 10])
    distance = np.linalg.norm(scaled[:, None] - scaled[train][None], axis=2)
    near = np.abs(np.arange(len(poses))[:, None] - train[None]) < apart
    near &= ~near.all(axis=1, keepdims=True)
    return train[np.where(near, np.inf, distance).argmin(1)]


def _closure(sequence: TalkingSequence) -> np.ndarray:
    opening = np.nan_to_num(sequence.track.eyes.mean(1), nan=1.0).astype(np.float64)
    return 1.0 - np.clip(opening, 0.0, 1.0)


def _rings(triangles: np.ndarray) -> list[list[int]]:
    """Closed borders of a mesh, each in the order that triangles filling it would run along it."""
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
    """Triangles across a ring, from side to side, so that none degenerates when a mouth or an eye closes."""
    triangles = []
    low, high = 0, len(ring) - 1
    while high - low > 1:
        triangles.append((ring[low], ring[low + 1], ring[high]))
        low += 1
        if high - low > 1:
            triangles.append((ring[low], ring[high - 1], ring[high]))
            high -= 1
    return np.array(triangles, dtype=np.int64)
