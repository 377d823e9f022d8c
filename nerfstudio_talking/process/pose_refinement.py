"""Refinement of the head poses by the images: the stage after parsing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID, HEAD_CLASSES, MOUTH_CLASSES, class_mask
from nerfstudio_talking.dataset_io.track import IMAGE_DIR, PARSING_DIR
from nerfstudio_talking.face.head_pose.bundle_adjustment import pose_jitter
from nerfstudio_talking.face.head_pose.photometric_alignment import AlignedPoses, align_poses, alignment_passes
from nerfstudio_talking.face.landmark_sets import NOSE_BASE, NUM_LANDMARKS
from nerfstudio_talking.face.linear_face_model import face_shapes
from nerfstudio_talking.face.measurements import frames_seen
from nerfstudio_talking.io.files import write_json
from nerfstudio_talking.media.images import read_image
from nerfstudio_talking.mesh_rendering.head_surface import head_surface
from nerfstudio_talking.process.steps import Job, clip_crop

VERSION = 1
"""Part of the stage's key: raised when the method changes, so that datasets are processed anew."""
_NUM_POINTS = 4000
_MIN_FRAMES, _MIN_POINTS = 3, 200
_LOWER_FACE_WEIGHT, _BROW_WEIGHT = 0.05, 0.3
"""Weights of points that speech and expression move, against 1 on nose, cheeks, forehead, ears and hair."""
_OUTLINE_MARGIN = 2 / 256
"""Width of the strip inside the head's outline that is left out, over the image's width: parsing is uncertain there."""


@dataclass(frozen=True)
class Refinement:
    """Refined poses, or the landmark poses and why they were kept."""

    camera_to_worlds: Float32[np.ndarray, "frames 3 4"]
    """Poses to use."""
    record: dict[str, Any]
    """What was done and what it changed, for the provenance."""


def refine_poses(job: Job) -> None:
    """Write the poses that later stages use to refined_pose.npz, and what was done to refinement_record.json."""
    pose = job.space.load_arrays("pose")
    if not job.config.refine_poses:
        refined = _keep(pose["camera_to_worlds"], "switched off (--refine-poses False)")
    else:
        crop, folder = clip_crop(job), job.space.folder
        with job.progress("Refining the head pose", job.num_frames * alignment_passes()) as advance:
            refined = refine(
                lambda frame: read_image(folder / IMAGE_DIR / f"{frame:06d}.jpg", "RGB"),
                lambda frame: read_image(folder / PARSING_DIR / f"{frame:06d}.png"),
                crop.points(job.space.load_arrays("faces")["landmarks"])[..., :2],
                pose["camera_to_worlds"],
                PinholeCamera(float(pose["focal"]), crop.out_width, crop.out_height),
                job.fps,
                advance,
            )
    job.space.save_arrays("refined_pose", camera_to_worlds=refined.camera_to_worlds)
    write_json(refined.record, job.space.work / "refinement_record.json")


def refine(
    read_frame: Callable[[int], UInt8[np.ndarray, "height width 3"]],
    read_parsing: Callable[[int], UInt8[np.ndarray, "height width"]],
    landmarks: Float[np.ndarray, "frames points 2"] | None,
    camera_to_worlds: Float32[np.ndarray, "frames 3 4"],
    camera: PinholeCamera,
    fps: float,
    advance: Callable[[], Any] = lambda: None,
) -> Refinement:
    """Refine the poses of a clip by its images (`face.photometric_alignment`).

    The landmark poses are kept where the landmarks are not FaceMesh's, where too few frames have a face, where the
    parsing does not tell the lips from the head, and where the images do not match the head better afterwards.

    Args:
        read_frame: returns the RGB image of a frame.
        read_parsing: returns the class ids of a frame.
        landmarks: landmarks in pixels, NaN in frames without a face.
        camera_to_worlds: landmark poses.
        camera: camera of the images.
        fps: frames per second.
        advance: called as by `align_poses`.
    """
    if landmarks is None or landmarks.shape[1] != NUM_LANDMARKS:
        return _keep(camera_to_worlds, f"no FaceMesh landmarks ({NUM_LANDMARKS} points)")
    seen = frames_seen(landmarks)
    if seen.sum() < _MIN_FRAMES:
        return _keep(camera_to_worlds, f"fewer than {_MIN_FRAMES} frames with a face")
    reference = _reference_frame(camera_to_worlds, seen)
    parsing = read_parsing(reference)
    if not class_mask(parsing, ("lips",)).any():
        return _keep(camera_to_worlds, "the parsing maps do not tell the lips from the head")
    shape = face_shapes(landmarks, camera_to_worlds, camera)[seen].mean(0)
    points, weights = surface_points(shape, camera_to_worlds[reference], camera, parsing)
    if (weights == 1.0).sum() < _MIN_POINTS:
        return _keep(camera_to_worlds, "too little of the head is visible")
    aligned = align_poses(read_frame, points, weights, camera_to_worlds, camera, seen, fps, advance=advance)
    if not aligned.improved:
        return _keep(camera_to_worlds, "the images did not match the head better than before")
    return Refinement(aligned.camera_to_worlds, _record(aligned, camera_to_worlds))


def surface_points(
    shape: Float[np.ndarray, "478 3"],
    pose: Float[np.ndarray, "3 4"],
    camera: PinholeCamera,
    parsing: UInt8[np.ndarray, "height width"],
) -> tuple[Float64[np.ndarray, "points 3"], Float64[np.ndarray, " points"]]:
    """Points spread at random over the visible surface of the head, and the weight of each in the alignment.

    Args:
        shape: the person's mean FaceMesh points in the head's frame, metres.
        pose: camera-to-world of the frame that the parsing belongs to.
        camera: camera of that frame.
        parsing: class ids.

    Returns:
        Points in the head's frame, metres, and weights in [0, 1]: 0 for eyes and mouth, little below the nose.
    """
    from scipy import ndimage

    margin = max(1, round(_OUTLINE_MARGIN * camera.width))
    head = class_mask(parsing, HEAD_CLASSES)
    surface = head_surface(shape, pose, camera, head)
    rows, columns = np.nonzero(ndimage.binary_erosion(head, iterations=margin))
    chosen = np.random.default_rng(0).choice(len(rows), min(_NUM_POINTS, len(rows)), replace=False)
    rows, columns = rows[chosen], columns[chosen]
    points = surface.points(rows, columns)
    weights = np.ones(len(points))
    labels = parsing[rows, columns]
    face = surface.on_mesh[rows, columns] | (labels == CLASS_ID["skin"])  # the jaw shows skin below the mesh, too
    weights[face & (points[:, 1] < shape[NOSE_BASE, 1])] = _LOWER_FACE_WEIGHT
    weights[class_mask(labels, ("eyes", *MOUTH_CLASSES))] = 0.0
    weights[labels == CLASS_ID["brows"]] = _BROW_WEIGHT
    return points, weights


def _reference_frame(camera_to_worlds: np.ndarray, seen: Bool[np.ndarray, " frames"]) -> int:
    """The frame with a face whose camera is nearest to the mean: it shows the head as most frames do."""
    positions = camera_to_worlds[:, :, 3]
    distance = np.linalg.norm(positions - positions[seen].mean(0), axis=1)
    return int(np.where(seen, distance, np.inf).argmin())


def _keep(camera_to_worlds: Float32[np.ndarray, "frames 3 4"], reason: str) -> Refinement:
    return Refinement(camera_to_worlds, {"skipped": reason})


def _record(aligned: AlignedPoses, camera_to_worlds: np.ndarray) -> dict[str, Any]:
    """Sizes of the corrections, residuals in levels of 0 to 255, and jitter, before and after."""
    rotation, translation = (np.linalg.norm(aligned.corrections[:, part], axis=1) for part in (slice(3), slice(3, 6)))
    residuals = [255 * float(np.nanmedian(r)) for r in (aligned.residual_before, aligned.residual_after)]
    jitters = [pose_jitter(poses)[0] for poses in (camera_to_worlds, aligned.camera_to_worlds)]
    return {
        "method": "photometric alignment to the colours of the head's surface",
        "version": VERSION,
        "median_rotation_deg": round(float(np.degrees(np.median(rotation))), 4),
        "median_translation_mm": round(float(1000 * np.median(translation)), 4),
        "colour_residual_before": round(residuals[0], 3),
        "colour_residual_after": round(residuals[1], 3),
        "rotation_second_difference_deg_before": round(jitters[0], 5),
        "rotation_second_difference_deg_after": round(jitters[1], 5),
        "refused_frames": np.flatnonzero(aligned.refused).tolist(),
    }
