"""MediaPipe on frames: FaceMesh landmarks with irises, blendshapes, person masks. MediaPipe is imported on use."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from nerfstudio_talking.face.landmark_sets import NUM_LANDMARKS
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.images import shrink_image

NUM_BLENDSHAPES = 52
THUMBNAIL_SIZE = 64
_DETECTION_SIDE = 1280  # FaceMesh itself works on 256 pixels; a larger image only costs time
_COUNT_EVERY = 12
"""Frames between two counts of the faces."""


@dataclass(frozen=True)
class FaceTrack:
    """Results of one pass over the frames."""

    landmarks: Float32[np.ndarray, "frames 478 3"]
    """Pixels of the given frames: x right, y down, (0, 0) the image's upper left corner; z away from the camera at
    the scale of x, about 0 at the head's middle. NaN where no face was found."""
    thumbnails: UInt8[np.ndarray, "frames 64 64 3"]
    """Small images of the frames, for the checks."""
    counts: Int64[np.ndarray, " samples"]
    """Number of faces found by the detector in every twelfth frame."""


class FaceFollower:
    """Tracks one face from frame to frame. A context manager; otherwise call `close`.

    FaceMesh runs in tracking mode; where it loses the face, a second instance in static mode searches that frame.

    Raises:
        ImportError: MediaPipe is not installed.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._tracker = self._stack.enter_context(_face_mesh(static=False, confidence=0.5))
        self._searcher: Any = None

    def follow(self, frame: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "478 3"]:
        """The landmarks of the next frame (RGB), as in `FaceTrack.landmarks`."""
        height, width = frame.shape[:2]
        small = shrink_image(frame, _DETECTION_SIDE)
        found = self._tracker.process(small).multi_face_landmarks
        if not found:
            self._searcher = self._searcher or self._stack.enter_context(_face_mesh(static=True, confidence=0.3))
            found = self._searcher.process(small).multi_face_landmarks
        return _to_pixels(found, width, height)

    def close(self) -> None:
        """Release the models."""
        self._stack.close()

    def __enter__(self) -> FaceFollower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def track_faces(
    frames: Iterable[UInt8[np.ndarray, "height width 3"]], advance: Callable[[], Any] | None = None
) -> FaceTrack:
    """Track one face through the frames, by `FaceFollower`.

    Args:
        frames: RGB images of one size, in order.
        advance: called after each frame.
    """
    import cv2

    landmarks, thumbnails, counts = [], [], []
    with FaceFollower() as follower, _face_detector() as detector:
        for index, frame in enumerate(frames):
            landmarks.append(follower.follow(frame))
            thumbnails.append(cv2.resize(frame, (THUMBNAIL_SIZE, THUMBNAIL_SIZE), interpolation=cv2.INTER_AREA))
            if index % _COUNT_EVERY == 0:
                counts.append(len(detector.process(shrink_image(frame, _DETECTION_SIDE)).detections or ()))
            if advance is not None:
                advance()
    return FaceTrack(
        np.array(landmarks, dtype=np.float32).reshape(-1, NUM_LANDMARKS, 3),
        np.array(thumbnails, dtype=np.uint8).reshape(-1, THUMBNAIL_SIZE, THUMBNAIL_SIZE, 3),
        np.array(counts, dtype=np.int64),
    )


def find_turn(frames: Iterable[UInt8[np.ndarray, "height width 3"]]) -> int:
    """Degrees clockwise that put the faces of some frames upright: 0, 90, 180 or 270.

    The face detector decides, since FaceMesh fits an upright face into one that stands on its head. Another turn is
    taken where it shows upright faces in most frames, a quarter more of them than there are without it.

    Args:
        frames: a few RGB images; more cost time.
    """
    images = [shrink_image(frame, _DETECTION_SIDE) for frame in frames]
    upright = {}
    with _face_detector() as detector:
        for turn in (0, 90, 180, 270):
            turned = (np.ascontiguousarray(np.rot90(image, -turn // 90)) for image in images)
            upright[turn] = sum(_upright_face(detector, image) for image in turned)
    best = max(upright, key=lambda turn: upright[turn])
    return best if upright[best] > max(1.25 * upright[0], 0.6 * len(images)) else 0


def _upright_face(detector: Any, image: UInt8[np.ndarray, "height width 3"]) -> float:
    """Confidence, in [0, 1], of a face whose mouth is below its eyes, by no more than 45 degrees aside."""
    height, width = image.shape[:2]
    best = 0.0
    for face in detector.process(image).detections or ():
        points = face.location_data.relative_keypoints  # eyes, nose, mouth, ears
        eyes = np.array([(points[0].x + points[1].x) / 2 * width, (points[0].y + points[1].y) / 2 * height])
        across, down = np.array([points[3].x * width, points[3].y * height]) - eyes
        if down > abs(across):
            best = max(best, float(face.score[0]))
    return best


def person_masks(
    frames: Iterable[UInt8[np.ndarray, "height width 3"]], advance: Callable[[], Any] | None = None
) -> Iterator[UInt8[np.ndarray, "height width"]]:
    """Probability of a person in each pixel of each frame, 0 to 255 (MediaPipe selfie segmentation)."""
    with quiet_stderr():
        from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

        segmenter = SelfieSegmentation(model_selection=0)
    with segmenter:
        for frame in frames:
            answer: Any = segmenter.process(frame)
            yield (answer.segmentation_mask * 255.0 + 0.5).astype(np.uint8)
            if advance is not None:
                advance()


def blendshapes(
    frames: Iterable[UInt8[np.ndarray, "height width 3"]],
    fps: float,
    model: Path,
    advance: Callable[[], Any] | None = None,
) -> Float32[np.ndarray, "frames 52"]:
    """The 52 blendshape weights in [0, 1] of each frame, by MediaPipe's face landmarker; NaN where no face is found.

    Args:
        frames: RGB images in order.
        fps: frames per second.
        model: a `face_landmarker.task` bundle with blendshapes.
        advance: called after each frame.

    Raises:
        TalkingError: the bundle is missing, or is no face landmarker with blendshapes.
    """
    hint = "Download face_landmarker.task from MediaPipe's model page and pass its path, or leave the option out."
    if not model.is_file():
        raise TalkingError(model, expected="a face_landmarker.task bundle", found="no such file", hint=hint)
    with quiet_stderr():
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=model.read_bytes()),
            running_mode=vision.RunningMode.VIDEO,
            output_face_blendshapes=True,
        )
        try:
            landmarker = vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise TalkingError(model, expected="a face_landmarker.task bundle", found=str(error), hint=hint) from error
    rows = []
    with landmarker:
        for index, frame in enumerate(frames):
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(frame))
            found = landmarker.detect_for_video(image, round(index * 1000 / fps)).face_blendshapes
            rows.append([shape.score for shape in found[0]] if found else [np.nan] * NUM_BLENDSHAPES)
            if advance is not None:
                advance()
    return np.array(rows, dtype=np.float32).reshape(-1, NUM_BLENDSHAPES)


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Suppress the start-up messages of native libraries on the terminal; Python exceptions still come through."""
    sys.stderr.flush()
    saved = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)


def _face_mesh(static: bool, confidence: float) -> Any:
    with quiet_stderr():
        from mediapipe.python.solutions.face_mesh import FaceMesh

        mesh = FaceMesh(
            static_image_mode=static,
            max_num_faces=1,
            refine_landmarks=True,
            min_detection_confidence=confidence,
            min_tracking_confidence=confidence,
        )
        mesh.process(np.zeros((64, 64, 3), dtype=np.uint8))  # the first call loads the delegate, which prints
    return mesh


def _face_detector() -> Any:
    with quiet_stderr():
        from mediapipe.python.solutions.face_detection import FaceDetection

        detector = FaceDetection(model_selection=1, min_detection_confidence=0.6)
        detector.process(np.zeros((64, 64, 3), dtype=np.uint8))
    return detector


def _to_pixels(found: Any, width: int, height: int) -> Float32[np.ndarray, "478 3"]:
    if not found:
        return np.full((NUM_LANDMARKS, 3), np.nan, dtype=np.float32)
    return np.array([(p.x * width, p.y * height, p.z * width) for p in found[0].landmark], dtype=np.float32)
