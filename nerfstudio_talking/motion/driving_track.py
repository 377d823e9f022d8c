"""A new voice as a new track: same portrait, other audio, the recorded head motion arranged to its length.

Arrangement and smoothing are functions of a frame's number, so that a track can be made piece by piece: any piece
equals the same frames of the whole.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.motion.pose_mode import PoseMode

_TRUNCATE = 4.0
"""Standard deviations after which the smoothing ends."""


def frame_sequence(num_source: int, num_target: int, mode: PoseMode, first: int = 0) -> Int64[np.ndarray, " target"]:
    """Which recorded frame gives its head pose to each new frame.

    'ping-pong' runs forth and back without repeating the turning frame; 'replay' starts again at the front, with a
    jump; 'hold' stays on the last frame once the recording is used up.

    Args:
        num_source: recorded frames.
        num_target: new frames.
        mode: of the arrangement.
        first: number of the first of the new frames.
    """
    index = first + np.arange(num_target)
    if mode == "replay":
        return index % num_source
    if mode == "hold":
        return np.minimum(index, num_source - 1)
    period = max(2 * (num_source - 1), 1)
    phase = index % period
    return np.minimum(phase, period - phase) if num_source > 1 else np.zeros(num_target, dtype=np.int64)


def smooth_poses(camera_to_worlds: Float[np.ndarray, "frames 3 4"], sigma: float) -> Float[np.ndarray, "frames 3 4"]:
    """Gaussian smoothing of poses over time; `sigma` in frames, 0 leaves them as they are.

    Rotations are averaged as matrices and projected to the nearest rotation, which for the small spread of
    neighbouring frames is the mean rotation (Moakher 2002).
    """
    if sigma <= 0:
        return camera_to_worlds
    mean = smooth_curves(camera_to_worlds.astype(np.float64), sigma)
    rotation = Rotation.from_matrix(mean[:, :, :3]).as_matrix()
    return np.concatenate([rotation, mean[:, :, 3:]], axis=2).astype(camera_to_worlds.dtype)


def smooth_curves(values: Float[np.ndarray, "frames ..."], sigma: float) -> Float[np.ndarray, "frames ..."]:
    """Gaussian smoothing over time; `sigma` in frames, 0 leaves values as they are."""
    if sigma <= 0:
        return values
    return gaussian_filter1d(values, sigma, axis=0, mode="nearest", truncate=_TRUNCATE)


def driving_track(
    portrait: TalkingTrack,
    audio: Float[np.ndarray, "target window channels"],
    pose: PoseMode = "ping-pong",
    smoothing: float = 0.0,
    first: int = 0,
) -> TalkingTrack:
    """The track of a portrait that speaks other audio, or a piece of it.

    Before frame 0 the first pose is held; after the last frame the arrangement goes on, so that the track does not
    depend on where the audio ends.

    Args:
        portrait: the recorded track.
        audio: features of the new audio, one window per new frame, of the portrait's kind.
        pose: how the recorded head poses and eyes are arranged to the new length.
        smoothing: standard deviation in frames of the smoothing over the arranged poses of head and body.
        first: number of the piece's first frame.
    """
    reach = int(_TRUNCATE * smoothing + 0.5) if smoothing > 0 else 0
    count = len(audio)
    before = min(reach, first)
    around = frame_sequence(portrait.num_frames, before + count + reach, pose, first - before)
    piece = slice(before, before + count)
    chosen = around[piece]
    return portrait.replace(
        camera_to_worlds=smooth_poses(portrait.camera_to_worlds[around], smoothing)[piece],
        audio=audio,
        eyes=portrait.eyes[chosen],
        body=None if portrait.body is None else smooth_curves(portrait.body[around], smoothing)[piece],
        expression=None if portrait.expression is None else portrait.expression[chosen],
        lips=None,
        landmarks=None,
        mouth_activity=None,
        mouth_adaptation=None,
        frame_ids=None,
        audio_ids=None,
        audio_path=None,
    )
