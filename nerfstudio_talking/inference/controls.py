"""Controls by hand over a portrait's motion: head pose, eyes, blinks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from nerfstudio_talking.cameras.body_frame import middle_frame
from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.motion.blinks import blink_shape


@dataclass(frozen=True)
class PortraitControls:
    """What is changed of a track's motion."""

    still: bool = False
    """Whether head and body hold the pose of the frame nearest to the recorded mean."""
    yaw: float = 0.0
    """Rotation of the head to the image's right, degrees."""
    pitch: float = 0.0
    """Rotation of the head upwards, degrees."""
    roll: float = 0.0
    """Rotation of the head's top to the image's right, degrees."""
    eyes: float = 1.0
    """Factor of the eye opening: 0 closes the eyes."""
    mouth_gain: float = 1.0
    """Factor of the mouth's motion about its rest; 1 shows it as predicted."""
    blinks: tuple[float, ...] = ()
    """Seconds at which a blink is closed most, on the clock of the track."""


def control_motion(
    track: TalkingTrack, controls: PortraitControls, portrait: TalkingTrack, first: int = 0
) -> TalkingTrack:
    """A track under controls.

    Args:
        track: some frames of what the portrait performs.
        controls: what is changed.
        portrait: the recorded track.
        first: number of the first of the frames.
    """
    poses, body, eyes = track.camera_to_worlds, track.body, track.eyes * np.float32(controls.eyes)
    if controls.still:
        rest = middle_frame(portrait.camera_to_worlds)
        poses = np.broadcast_to(portrait.camera_to_worlds[rest], poses.shape)
        body = None if portrait.body is None else np.broadcast_to(portrait.body[rest], (len(poses), 2, 3)).copy()
    if controls.yaw or controls.pitch or controls.roll:
        poses = rotate_head(poses, controls.yaw, controls.pitch, controls.roll)
    activity = track.mouth_activity
    if controls.mouth_gain != 1:
        spoken = np.ones(track.num_frames, np.float32) if activity is None else activity
        activity = np.float32(controls.mouth_gain) * spoken
    for time in controls.blinks:
        seconds = (first + np.arange(track.num_frames)) / track.fps
        eyes = eyes * (1 - blink_shape(seconds - time))[:, None].astype(np.float32)
    poses = np.ascontiguousarray(poses, dtype=np.float32)
    return track.replace(camera_to_worlds=poses, body=body, eyes=eyes, mouth_activity=activity)


def rotate_head(
    camera_to_worlds: Float[np.ndarray, "frames 3 4"], yaw: float, pitch: float, roll: float
) -> Float[np.ndarray, "frames 3 4"]:
    """Poses of the recording camera for a head that is rotated about its centre, seen from where the camera is.

    Args:
        camera_to_worlds: metres, in the head's frame.
        yaw: to the image's right, degrees.
        pitch: upwards, degrees.
        roll: of the head's top to the image's right, degrees.
    """
    head = Rotation.from_euler("YXZ", (yaw, -pitch, -roll), degrees=True)
    return (head.inv().as_matrix() @ camera_to_worlds).astype(camera_to_worlds.dtype)
