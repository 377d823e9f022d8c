"""A person's recorded motion from a dataset folder: the training data of the motion model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from nerfstudio_talking.dataset_io.track import AUDIO_NAME, load_track
from nerfstudio_talking.face.linear_face_model import face_shapes, pose_vectors
from nerfstudio_talking.face.measurements import fill_gaps, lid_closure, mean_eye_opening
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.motion.audio_features import cepstral_windows, loudness

MOTION_FPS = 25.0
"""Frame rate of the motion model, frames per second; other clips are resampled."""


@dataclass(frozen=True)
class Recording:
    """Tracked motion and audio of one person, at `MOTION_FPS`."""

    name: str
    """Name of the dataset folder."""
    digest: str
    """SHA-256 of the source video."""
    shapes: Float[np.ndarray, "frames 478 3"]
    """Faces in the head's frame, metres."""
    closure: Float[np.ndarray, " frames"]
    """Closure of the lids, 0 open to 1."""
    opening: Float[np.ndarray, " frames"]
    """Mean opening of both eyes, as in `TalkingTrack.eyes`."""
    pose: Float[np.ndarray, "frames 6"]
    """Head poses as in `linear_face_model.pose_vectors`."""
    lips: Float[np.ndarray, " frames"]
    """Lip opening as in `TalkingTrack.lips`."""
    patches: Float32[np.ndarray, "frames 28 12"]
    """Cepstral patches of the audio."""
    level: Float[np.ndarray, " frames"]
    """Loudness of the audio, by `audio_features.loudness`."""

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return len(self.pose)

    def part(self, start: int, stop: int) -> Recording:
        """The frames from `start` up to, not including, `stop`."""
        rows = slice(start, stop)
        arrays = {
            name: getattr(self, name)[rows]
            for name in ("shapes", "closure", "opening", "pose", "lips", "patches", "level")
        }
        return Recording(self.name, self.digest, **arrays)


def load_recording(folder: Path, frames: int | None = None) -> Recording:
    """Read a dataset folder of our own layout.

    Args:
        folder: a folder that `ns-talking process` wrote.
        frames: number of frames to use, from the first one on; all where None.

    Raises:
        TalkingError: the folder is not a dataset, has no FaceMesh landmarks or no audio, or the clip is too short.
    """
    from nerfstudio_talking.media.reading import read_audio

    track = load_track(folder)
    hint = "Make the dataset with `ns-talking process VIDEO --output DIR`."
    if track.audio_path is None:
        raise TalkingError(folder, expected=AUDIO_NAME, found="none", hint=hint)
    used = track.num_frames if frames is None else min(round(frames * track.fps / MOTION_FPS), track.num_frames)
    if used < 64 or (frames is not None and frames > track.num_frames * MOTION_FPS / track.fps + 1):
        raise TalkingError(
            folder,
            expected=f"{max(frames or 64, 64)} frames",
            found=f"{track.num_frames} at {track.fps:g} per second",
            hint="Give a longer clip, or fewer --frames (64 at least).",
        )
    track = track.first(used)
    count = round(used * MOTION_FPS / track.fps)
    shapes = face_shapes(track.landmarks, track.camera_to_worlds, track.camera)
    opening = resample_curve(mean_eye_opening(track.eyes), track.fps, MOTION_FPS, count)
    lips = np.zeros(used) if track.lips is None else fill_gaps(track.lips[:, None].astype(np.float64))[:, 0]
    pose = pose_vectors(track.camera_to_worlds)
    samples = read_audio(folder / AUDIO_NAME)[: round(used / track.fps * 16000)]
    return Recording(
        name=folder.name,
        digest=track.digest,
        shapes=resample_curve(shapes, track.fps, MOTION_FPS, count),
        closure=lid_closure(opening),
        opening=opening,
        pose=resample_curve(pose, track.fps, MOTION_FPS, count),
        lips=resample_curve(lips, track.fps, MOTION_FPS, count),
        patches=cepstral_windows(samples, MOTION_FPS, count),
        level=loudness(samples, MOTION_FPS, count),
    )


def resample_curve(
    values: Float[np.ndarray, "frames ..."], fps: float, new_fps: float, count: int
) -> Float[np.ndarray, "count ..."]:
    """Resample curves to another frame rate, linearly between the middles of frames, constant beyond the ends."""
    if abs(fps - new_fps) < 1e-6 and count == len(values):
        return values
    rows = np.clip((np.arange(count) + 0.5) * fps / new_fps - 0.5, 0, len(values) - 1)
    low = np.floor(rows).astype(int)
    high = np.minimum(low + 1, len(values) - 1)
    share = (rows - low).reshape(-1, *[1] * (values.ndim - 1))
    return values[low] * (1 - share) + values[high] * share
