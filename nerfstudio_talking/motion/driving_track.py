"""A new voice as a new track: same portrait, other audio, the recorded head motion arranged to its length."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.motion.pose_mode import PoseMode


def frame_sequence(num_source: int, num_target: int, mode: PoseMode) -> Int64[np.ndarray, " target"]:
    """Which recorded frame lends its head pose to each new frame.

    'ping-pong' runs forth and back without repeating the turning frame; 'replay' starts again at the front, with a
    jump; 'hold' stays on the last frame once the recording is used up.
    """
    index = np.arange(num_target)
    if mode == "replay":
        return index % num_source
    if mode == "hold":
        return np.minimum(index, num_source - 1)
    period = max(2 * (num_source - 1), 1)
    phase = index % period
    return np.minimum(phase, period - phase) if num_source > 1 else np.zeros(num_target, dtype=np.int64)


def smooth_poses(camera_to_worlds: Float[np.ndarray, "frames 3 4"], sigma: float) -> Float[np.ndarray, "frames 3 4"]:
    """Gaussian smoothing of poses over time; `sigma` in frames, 0 leaves them as they are.

    Rotations are averaged as matrices and carried back to the nearest rotation, which for the small spread of
    neighbouring frames is the mean rotation (Moakher 2002).
    """
    if sigma <= 0:
        return camera_to_worlds
    mean = gaussian_filter1d(camera_to_worlds.astype(np.float64), sigma, axis=0, mode="nearest")
    rotation = Rotation.from_matrix(mean[:, :, :3]).as_matrix()
    return np.concatenate([rotation, mean[:, :, 3:]], axis=2).astype(camera_to_worlds.dtype)


def smooth_body(motions: Float[np.ndarray, "frames 2 3"], sigma: float) -> Float[np.ndarray, "frames 2 3"]:
    """Gaussian smoothing of the body's motions over time; `sigma` in frames, 0 leaves them as they are."""
    return gaussian_filter1d(motions, sigma, axis=0, mode="nearest") if sigma > 0 else motions


def driving_track(
    portrait: TalkingTrack,
    audio: Float[np.ndarray, "target window channels"],
    pose: PoseMode = "ping-pong",
    smoothing: float = 0.0,
) -> TalkingTrack:
    """The track of a portrait that speaks other audio.

    Args:
        portrait: the recorded track.
        audio: features of the new audio, one window per new frame, of the portrait's kind.
        pose: how the recorded head poses and eyes are arranged to the new length.
        smoothing: standard deviation in frames of the smoothing over the arranged poses of head and body.
    """
    chosen = frame_sequence(portrait.num_frames, len(audio), pose)
    return portrait.replace(
        camera_to_worlds=smooth_poses(portrait.camera_to_worlds[chosen], smoothing),
        audio=audio,
        eyes=portrait.eyes[chosen],
        body=None if portrait.body is None else smooth_body(portrait.body[chosen], smoothing),
        expression=None if portrait.expression is None else portrait.expression[chosen],
        lips=None,
        landmarks=None,
        frame_ids=None,
        audio_path=None,
    )
