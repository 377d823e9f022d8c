"""Head motion and eyes of a session without end: a loop of recorded or generated motion, with blinks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32
from scipy.spatial.transform import Rotation

from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.motion.blinks import fit_blinking, sample_eyes
from nerfstudio_talking.motion.driving_track import driving_track

MotionMode = Literal["recorded", "generated", "still"]
"""Head motion of a session: the recorded one, or a generated one, forth and back; or a head that only blinks."""
_BLEND = 0.6
"""Seconds from one motion to another."""
_EYES_SECONDS = 120
"""Seconds of generated blinks before they repeat."""


@dataclass(frozen=True)
class MotionLoop:
    """One period of motion played forth and back, smoothed. Shared by sessions."""

    track: TalkingTrack
    """Poses, eyes and body of the period; the last frame is followed by the first."""
    eyes: Float32[np.ndarray, " frames"]
    """Eye opening of a person who keeps still: blinks at this person's rate."""

    def __len__(self) -> int:
        return self.track.num_frames


def motion_loop(track: TalkingTrack, smoothing: float, seed: int) -> MotionLoop:
    """The loop of a track's motion.

    Args:
        track: recorded or generated motion.
        smoothing: standard deviation in frames of the smoothing of the poses of head and body; 0 for none.
        seed: of the blinks.
    """
    period = max(2 * (track.num_frames - 1), 1)
    no_audio = np.broadcast_to(np.float32(0), (period, *track.audio.shape[1:]))
    # one period late, so that the smoothing runs across the seam
    loop = driving_track(track, no_audio, "ping-pong", smoothing, first=period)
    blinking = fit_blinking(track.eyes.mean(axis=1).astype(np.float64), track.fps)
    rng = np.random.default_rng(seed)
    eyes = sample_eyes(blinking, round(_EYES_SECONDS * track.fps), track.fps, rng)
    return MotionLoop(loop, eyes.astype(np.float32))


@dataclass(frozen=True)
class _Row:
    """What is shown at one frame, apart from audio."""

    camera_to_world: np.ndarray
    eyes: np.ndarray
    body: np.ndarray | None
    expression: np.ndarray | None


class SessionMotion:
    """Makes the tracks of a session's frames: its audio windows on a loop of motion.

    Args:
        loops: by the name of the mode; 'still' stays on the frame of the loop where it began.
        fps: frames per second.
        mouth_limit: how far the mouth may move at a time in seconds (`Timeline.mouth_limit`).
        mode: of the motion at the start.
        phase: frame of the loop to begin with.
    """

    def __init__(
        self,
        loops: dict[str, MotionLoop],
        fps: float,
        mouth_limit: Callable[[float], float],
        mode: MotionMode = "recorded",
        phase: int = 0,
    ) -> None:
        self._loops, self._fps, self._mouth_limit = loops, fps, mouth_limit
        self.mouth_gain = 1.0
        """Factor of the mouth's motion; may be set at any time."""
        self.mode: MotionMode = mode
        """May be set at any time; the head moves over to the new motion within 0.6 s."""
        self._shown_mode: MotionMode = mode
        self._loop = loops["recorded" if mode == "still" else mode]
        self._index, self._eyes_index = phase, 37 * phase
        self._rows: dict[int, _Row] = {}
        self._from: _Row | None = None
        self._blended = 0.0

    def make_track(self, first: int, windows: Float32[np.ndarray, "frames window channels"]) -> TalkingTrack:
        """The track of frames `first`, `first` + 1, ...; the audio encoder's neighbours are among them."""
        count = len(windows)
        limits = [self.mouth_gain * self._mouth_limit(frame / self._fps) for frame in range(first, first + count)]
        for frame in [frame for frame in self._rows if frame < first]:
            del self._rows[frame]
        for frame in range(first, first + count):
            if frame not in self._rows:
                self._rows[frame] = self._next_row()
        rows = [self._rows[frame] for frame in range(first, first + count)]
        return self._loop.track.replace(
            camera_to_worlds=np.stack([row.camera_to_world for row in rows]),
            audio=windows,
            mouth_activity=np.array(limits, dtype=np.float32),
            eyes=np.stack([row.eyes for row in rows]),
            body=None if rows[0].body is None else np.stack([row.body for row in rows]),  # type: ignore[arg-type]
            expression=None if rows[0].expression is None else np.stack([row.expression for row in rows]),  # type: ignore[arg-type]
        )

    def _next_row(self) -> _Row:
        """The next frame of the loop; on the way over from another motion, between the two."""
        mode, track = self.mode, self._loop.track
        if mode != self._shown_mode:
            self._from, self._blended, self._shown_mode = self._row(), 0.0, mode
            if mode in self._loops:
                self._loop = self._loops[mode]
                self._index %= len(self._loop)
        row = self._row()
        self._eyes_index += 1
        if mode != "still":
            self._index = (self._index + 1) % len(self._loop)
        if self._from is None:
            return row
        self._blended += 1 / (_BLEND * track.fps)
        if self._blended >= 1:
            self._from = None
            return row
        return _between(self._from, row, 3 * self._blended**2 - 2 * self._blended**3)

    def _row(self) -> _Row:
        track = self._loop.track
        index = self._index % len(self._loop)
        eyes = track.eyes[index]
        if self._shown_mode == "still":
            eyes = np.full_like(eyes, self._loop.eyes[self._eyes_index % len(self._loop.eyes)])
        return _Row(
            track.camera_to_worlds[index],
            eyes,
            None if track.body is None else track.body[index],
            None if track.expression is None else track.expression[index],
        )


def _between(a: _Row, b: _Row, share: float) -> _Row:
    """A share of the way from one row to another; rotations by the mean of their matrices, projected."""

    def mix(x: np.ndarray | None, y: np.ndarray | None) -> np.ndarray | None:
        return y if x is None or y is None else ((1 - share) * x + share * y).astype(y.dtype)

    pose = (1 - share) * a.camera_to_world + share * b.camera_to_world
    rotation = Rotation.from_matrix(pose[:, :3]).as_matrix()
    camera = np.concatenate([rotation, pose[:, 3:]], axis=1).astype(b.camera_to_world.dtype)
    eyes, body, expression = mix(a.eyes, b.eyes), mix(a.body, b.body), mix(a.expression, b.expression)
    assert eyes is not None
    return _Row(camera, eyes, body, expression)
