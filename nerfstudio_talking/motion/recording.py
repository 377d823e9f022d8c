"""A person's recorded motion, read from a dataset folder: what the motion model learns from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from nerfstudio_talking.dataset_io.track import AUDIO_NAME, load_track
from nerfstudio_talking.face.linear_face_model import face_shapes, pose_vectors
from nerfstudio_talking.face.measurements import fill_gaps
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.motion.audio_features import cepstral_windows, loudness

MOTION_FPS = 25.0
"""Frames per second of the motion model; other clips are resampled."""


@dataclass(frozen=True)
class Recording:
    """Frames of one person, at `MOTION_FPS`."""

    name: str
    digest: str
    """Of the source video."""
    shapes: Float[np.ndarray, "frames 478 3"]
    """Faces in the head's frame, metres."""
    closure: Float[np.ndarray, " frames"]
    """Of the lids, 0 open to 1."""
    opening: Float[np.ndarray, " frames"]
    """Of the eyes, mean of both, as in `TalkingTrack.eyes`."""
    pose: Float[np.ndarray, "frames 6"]
    """Head poses as of `face_model.pose_vectors`."""
    lips: Float[np.ndarray, " frames"]
    """Lip opening as in `TalkingTrack.lips`."""
    patches: Float32[np.ndarray, "frames 28 12"]
    """What is heard."""
    level: Float[np.ndarray, " frames"]
    """Loudness."""

    @property
    def num_frames(self) -> int:
        """Frames of the recording."""
        return len(self.pose)

    def part(self, start: int, stop: int) -> Recording:
        """Some of the frames."""
        rows = slice(start, stop)
        arrays = {
            name: getattr(self, name)[rows]
            for name in ("shapes", "closure", "opening", "pose", "lips", "patches", "level")
        }
        return Recording(self.name, self.digest, **arrays)


def load_recording(folder: Path, frames: int | None = None) -> Recording:
    """Read a dataset folder of our own layout.

    Args:
        folder: what `ns-talking process` wrote.
        frames: use only that many, from the front; all where None.

    Raises:
        TalkingError: it is no dataset, has no FaceMesh landmarks or no audio, or is too short.
    """
    from nerfstudio_talking.media.reading import read_audio

    track = load_track(folder)
    hint = "Make the dataset with `ns-talking process VIDEO --output DIR`."
    if track.audio_path is None:
        raise TalkingError(folder, expected=AUDIO_NAME, found="none", hint=hint)
    kept = track.num_frames if frames is None else min(round(frames * track.fps / MOTION_FPS), track.num_frames)
    if kept < 64 or (frames is not None and frames > track.num_frames * MOTION_FPS / track.fps + 1):
        raise TalkingError(
            folder,
            expected=f"{max(frames or 64, 64)} frames",
            found=f"{track.num_frames} at {track.fps:g} per second",
            hint="Give a longer clip, or fewer --frames (64 at least).",
        )
    track = track.first(kept)
    shapes, _ = face_shapes(track)
    opening = np.nan_to_num(track.eyes.mean(1), nan=1.0).astype(np.float64)
    lips = np.zeros(kept) if track.lips is None else fill_gaps(track.lips[:, None].astype(np.float64))[:, 0]
    pose = pose_vectors(track.camera_to_worlds)
    count = round(kept * MOTION_FPS / track.fps)
    samples = read_audio(folder / AUDIO_NAME)[: round(kept / track.fps * 16000)]
    return Recording(
        name=folder.name,
        digest=track.digest,
        shapes=resampled(shapes, track.fps, MOTION_FPS, count),
        closure=1.0 - np.clip(resampled(opening, track.fps, MOTION_FPS, count), 0.0, 1.0),
        opening=resampled(opening, track.fps, MOTION_FPS, count),
        pose=resampled(pose, track.fps, MOTION_FPS, count),
        lips=resampled(lips, track.fps, MOTION_FPS, count),
        patches=cepstral_windows(samples, MOTION_FPS, count),
        level=loudness(samples, MOTION_FPS, count),
    )


def resampled(
    values: Float[np.ndarray, "frames ..."], fps: float, new_fps: float, count: int
) -> Float[np.ndarray, "count ..."]:
    """Curves at another frame rate, linear between the middles of frames, held beyond the ends."""
    if abs(fps - new_fps) < 1e-6 and count == len(values):
        return values
    rows = np.clip((np.arange(count) + 0.5) * fps / new_fps - 0.5, 0, len(values) - 1)
    low = np.floor(rows).astype(int)
    high = np.minimum(low + 1, len(values) - 1)
    share = (rows - low).reshape(-1, *[1] * (values.ndim - 1))
    return values[low] * (1 - share) + values[high] * share
