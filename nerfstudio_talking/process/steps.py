"""The stages of `process_video`: each reads the results of earlier stages from disk and writes its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from nerfstudio_talking.dataset_io.track import BACKGROUND_NAME, IMAGE_DIR, PARSING_DIR, TORSO_DIR, TORSO_JSON
from nerfstudio_talking.face import measurements
from nerfstudio_talking.face.regions import face_boxes
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import write_json
from nerfstudio_talking.media.images import read_image
from nerfstudio_talking.media.reading import VideoInfo
from nerfstudio_talking.process import checks
from nerfstudio_talking.process.checks import Finding
from nerfstudio_talking.process.config import ProcessConfig
from nerfstudio_talking.process.crop import Crop, choose_crop
from nerfstudio_talking.process.stages import Workspace

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[], Any]]]
"""Takes a title and a number of steps; a context manager whose value is called after each step."""


@dataclass
class Job:
    """One run: options, source, range of frames and the folder of the results."""

    config: ProcessConfig
    info: VideoInfo
    fps: float
    start: int
    stop: int
    space: Workspace
    progress: Progress
    findings: list[Finding] = field(default_factory=list)
    """Warnings, in the order found."""

    @property
    def num_frames(self) -> int:
        """Number of frames of the dataset."""
        return self.stop - self.start

    def source_frames(self) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """The source's frames in the range, at the constant frame rate."""
        from nerfstudio_talking.media.reading import read_frames

        frames = read_frames(self.config.video, self.fps, self.start, self.stop)
        turns = -self.config.rotate // 90
        return (np.ascontiguousarray(np.rot90(frame, turns)) for frame in frames) if turns else frames

    def images(self) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """The dataset's images, read from disk."""
        for index in range(self.num_frames):
            yield read_image(self.space.folder / IMAGE_DIR / f"{index:06d}.jpg")

    def parsings(self) -> Iterator[UInt8[np.ndarray, "height width"]]:
        """The dataset's parsing maps."""
        for index in range(self.num_frames):
            yield read_image(self.space.folder / PARSING_DIR / f"{index:06d}.png")


def find_faces(job: Job) -> None:
    """Write landmarks, thumbnails and face counts of the source's frames to faces.npz."""
    from nerfstudio_talking.face.tracking import find_turn, track_faces

    step = min(max(job.num_frames // 6, 1), 12)
    turn = find_turn(islice(job.source_frames(), 0, 5 * step + 1, step))
    checks.require_upright(job.config.video, turn, job.config.rotate)
    with job.progress("Tracking the face", job.num_frames) as advance:
        track = track_faces(job.source_frames(), advance)
    job.space.save_arrays("faces", landmarks=track.landmarks, thumbnails=track.thumbnails, counts=track.counts)


def check_clip(job: Job) -> None:
    """Refuse a clip that cannot be used, and collect warnings.

    Raises:
        TalkingError: no face, or a jump cut.
    """
    faces = job.space.load_arrays("faces")
    landmarks, thumbnails = faces["landmarks"], faces["thumbnails"]
    if len(landmarks) < job.num_frames:
        job.stop = job.start + len(landmarks)  # some containers hold fewer frames than their duration implies
    seen = measurements.frames_seen(landmarks)
    job.findings += checks.require_faces(job.config.video, seen)
    cuts = checks.find_cuts(thumbnails, landmarks)
    checks.require_no_cuts(job.config.video, cuts, len(landmarks), job.start)
    job.findings += checks.face_findings(landmarks, faces["counts"])
    job.findings += checks.timing_findings(thumbnails, job.fps, job.info.timestamps, job.info.fps, job.start)


def clip_crop(job: Job) -> Crop:
    """The crop of the clip, from its landmarks."""
    boxes = face_boxes(job.space.load_arrays("faces")["landmarks"])
    return choose_crop(job.config.crop, job.config.size, job.info.width, job.info.height, boxes)


def write_images(job: Job) -> None:
    """Write cropped images to images/ and person masks to masks.bin, a byte per pixel."""
    from nerfstudio_talking.face.tracking import person_masks

    crop = clip_crop(job)
    with (
        job.space.new_folder(IMAGE_DIR) as folder,
        job.space.new_file(job.space.work / "masks.bin") as aside,
        aside.open("wb") as file,
        job.progress("Writing images", job.num_frames) as advance,
    ):

        def images() -> Iterator[np.ndarray]:
            for index, frame in enumerate(job.source_frames()):
                image = crop.apply(frame)
                Image.fromarray(image).save(folder / f"{index:06d}.jpg", quality=95, subsampling=0)
                yield image

        # plain writes: a disk that fills under a memory map kills the process instead of raising
        for mask in person_masks(images(), advance):
            file.write(mask.tobytes())


def solve_pose(job: Job) -> None:
    """Write head poses and shape to pose.npz."""
    from nerfstudio_talking.face.head_pose.bundle_adjustment import bundle_adjust, independent_pnp, pose_jitter
    from nerfstudio_talking.face.head_shape import mean_shape, rigid_points

    crop = clip_crop(job)
    landmarks = crop.points(job.space.load_arrays("faces")["landmarks"].astype(np.float64))
    seen = measurements.frames_seen(landmarks)
    with job.progress("Solving the head pose", None):
        shape = mean_shape(landmarks[seen])
        rigid = rigid_points(shape)
        size = (crop.out_width, crop.out_height)
        points = landmarks[:, rigid, :2]
        solved = bundle_adjust(points, shape[rigid], *size, job.fps)
        single = independent_pnp(points[:1500], shape[rigid], solved.camera)
    job.space.save_arrays(
        "pose",
        camera_to_worlds=solved.camera_to_worlds,
        focal=np.float64(solved.camera.focal),
        error=solved.error,
        seen=solved.seen,
        shape=solved.shape,
        rigid=rigid,
        jitter=np.array([pose_jitter(solved.camera_to_worlds[:1500]), pose_jitter(single.camera_to_worlds)]),
        pnp_error=np.float64(np.nanmedian(single.error)),
    )


def find_blendshapes(job: Job) -> None:
    """Write the 52 blendshapes to blendshapes.npz."""
    from nerfstudio_talking.face.tracking import blendshapes

    assert job.config.face_landmarker is not None
    with job.progress("Finding blendshapes", job.num_frames) as advance:
        values = blendshapes(job.images(), job.fps, job.config.face_landmarker, advance)
    if not np.isfinite(values).any():
        raise TalkingError(
            job.config.video,
            expected="a face for the blendshapes",
            found="none",
            hint="Leave --face-landmarker out, or crop closer to the face (--crop face).",
        )
    job.space.save_arrays("blendshapes", expression=measurements.fill_gaps(values))


def write_parsing(job: Job) -> None:
    """Write the parsing labels of every frame to parsing/."""
    with (
        job.space.new_folder(PARSING_DIR) as folder,
        job.progress("Parsing", job.num_frames) as advance,
    ):
        for index, ids in enumerate(_parsings_of(job)):
            Image.fromarray(ids).save(folder / f"{index:06d}.png", compress_level=3)
            advance()


def track_body(job: Job) -> None:
    """Write the motion of the body to body.npz."""
    from nerfstudio_talking.process import body

    with job.progress("Tracking the body", job.num_frames) as advance:
        motions, correlation = body.track_body(job.images, job.parsings, job.num_frames, advance)
    job.space.save_arrays("body", motions=motions, correlation=correlation)


def write_layers(job: Job) -> None:
    """Write background.png and torso/."""
    from nerfstudio_talking.process.background import clean_background
    from nerfstudio_talking.process.torso import torso_references

    with job.progress("Background and torso", None):
        background = clean_background(job.images, job.parsings)
        with job.space.new_file(job.space.folder / BACKGROUND_NAME) as aside:
            Image.fromarray(background).save(aside)
        poses = job.space.load_arrays("refined_pose")["camera_to_worlds"]
        images, frames = torso_references(job.images, job.parsings, poses)
        with job.space.new_folder(TORSO_DIR) as folder:
            for index, image in enumerate(images):
                Image.fromarray(image).save(folder / f"{index:02d}.png")
            write_json({"frames": [int(frame) for frame in frames]}, folder / TORSO_JSON)


def lip_curve(job: Job) -> Float32[np.ndarray, " frames"]:
    """Lip opening of every frame, by the landmark poses: the audio is written before they are refined."""
    return measurements.lip_opening(
        job.space.load_arrays("faces")["landmarks"], job.space.load_arrays("pose")["camera_to_worlds"]
    )


def _parsings_of(job: Job) -> Iterator[UInt8[np.ndarray, "height width"]]:
    if job.config.parsing is not None:
        from nerfstudio_talking.process.parsing.folder import read_parsings

        yield from read_parsings(
            job.config.parsing, clip_crop(job), (job.info.width, job.info.height), job.start, job.num_frames
        )
        return
    from nerfstudio_talking.process.parsing.clip_parsing import parse_clip

    crop = clip_crop(job)
    landmarks = crop.points(job.space.load_arrays("faces")["landmarks"])[..., :2]
    shape = (job.num_frames, crop.out_height, crop.out_width)
    masks = np.memmap(job.space.work / "masks.bin", dtype=np.uint8, mode="r", shape=shape)
    yield from parse_clip(job.images, measurements.fill_gaps(landmarks), masks)
