"""From a voice to a motion track: head pose, expression, lips and eyes, frame by frame."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.face.linear_face_model import camera_matrices, pose_vectors
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import new_file
from nerfstudio_talking.motion.audio_features import cepstral_windows, loudness, silence
from nerfstudio_talking.motion.blinks import sample_eyes
from nerfstudio_talking.motion.driving_track import driving_track
from nerfstudio_talking.motion.head_process import sample_head_process, soft_clamp
from nerfstudio_talking.motion.model import MotionModel, load_model
from nerfstudio_talking.motion.recording import MOTION_FPS, resampled

_KIND = "nerfstudio-talking motion track 1"
_HINT = "Make one with `ns-talking motion generate --model P --audio V.wav --output motion.npz`."


@dataclass(frozen=True)
class MotionTrack:
    """Generated motion. Frame i belongs to the audio in [i/fps, (i+1)/fps)."""

    fps: float
    pose: Float[np.ndarray, "frames 6"]
    """Head poses as of `face_model.pose_vectors`."""
    expression: Float[np.ndarray, "frames expression"]
    """Coefficients of the person's face model."""
    lips: Float[np.ndarray, " frames"]
    """Lip opening as in `TalkingTrack.lips`."""
    eyes: Float[np.ndarray, " frames"]
    """Eye opening as in `TalkingTrack.eyes`."""
    digest: str = ""
    """Of the video that the person's model was made from."""
    seed: int = 0

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return len(self.pose)


def generate_motion(
    model: MotionModel,
    samples: Float[np.ndarray, " samples"],
    fps: float = MOTION_FPS,
    num_frames: int | None = None,
    seed: int = 0,
) -> MotionTrack:
    """Motion of a person under a voice. Another seed, another head motion and other blinks; the same mouth.

    Args:
        model: a personal model.
        samples: mono audio at 16 kHz that starts with frame 0.
        fps: frames per second of the result.
        num_frames: its length; that of the audio where None.
        seed: of the random part.
    """
    person = model.person
    if person is None:
        raise ValueError("a general model knows no person")
    count = max(round(len(samples) / 16000 * fps), 1) if num_frames is None else num_frames
    own_count = max(int(np.ceil(count / fps * MOTION_FPS)), 1)
    patches = cepstral_windows(samples, MOTION_FPS, own_count)
    level = loudness(samples, MOTION_FPS, own_count)
    expression, pose = model.predict(patches)
    expression = soft_clamp(expression * person.expression_gain, *person.expression_range)
    quiet = silence(level, MOTION_FPS)[:, None]
    expression = expression + quiet * (person.expression_rest - expression)
    head_rng, eye_rng = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2))
    told = person.pose_gain * pose * person.pose_scale
    wander = sample_head_process(person.process, level, MOTION_FPS, head_rng)
    pose = soft_clamp(person.process.mean + told + wander, person.process.low, person.process.high)
    eyes = sample_eyes(person.blinking, own_count, MOTION_FPS, eye_rng)
    pose, expression, eyes = (resampled(curve, MOTION_FPS, fps, count) for curve in (pose, expression, eyes))
    lips = model.face().lip_opening(expression)
    return MotionTrack(fps, pose, expression, lips, eyes, person.digest, seed)


def save_motion(motion: MotionTrack, path: Path) -> None:
    """Write a motion track (.npz) atomically; the head's camera-to-world matrices lie in it too, for other programs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as file:
        np.savez(file, kind=_KIND, camera_to_worlds=camera_matrices(motion.pose), **vars(motion))


def is_motion_track(path: Path) -> bool:
    """True for a file of arrays, whether or not they are motion; a model is none."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return all(name.endswith(".npy") for name in archive.namelist())


def load_motion(path: Path) -> MotionTrack:
    """Read a motion track.

    Raises:
        TalkingError: there is none, or it is something else.
    """
    if not path.is_file():
        raise TalkingError(path, expected="a motion track", found="no such file", hint=_HINT)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        raise TalkingError(path, expected="a motion track", found=str(error), hint=_HINT) from error
    if str(arrays.get("kind", "")) != _KIND:
        raise TalkingError(path, expected="a motion track", found="other arrays", hint=_HINT)
    return MotionTrack(
        fps=float(arrays["fps"]),
        seed=int(arrays["seed"]),
        digest=str(arrays["digest"]),
        **{name: arrays[name].astype(np.float64) for name in ("pose", "expression", "lips", "eyes")},
    )


def motion_for(
    path: Path, samples: Float[np.ndarray, " samples"], fps: float, num_frames: int, seed: int
) -> MotionTrack:
    """The motion that a user names for an audio: a track as it is, or generated by a personal model.

    Raises:
        TalkingError: the file is neither.
    """
    if is_motion_track(path):
        return load_motion(path)
    return generate_motion(load_model(path, personal=True), samples, fps, num_frames, seed)


def recentred(
    pose: Float[np.ndarray, "frames 6"], camera_to_worlds: Float[np.ndarray, "recorded 3 4"]
) -> Float[np.ndarray, "frames 6"]:
    """Poses moved so that their mean is that of a recording: another crop or camera, or another person."""
    return pose - pose.mean(0) + pose_vectors(camera_to_worlds).mean(0)


def generated_track(
    portrait: TalkingTrack,
    audio: Float32[np.ndarray, "target window channels"],
    motion: MotionTrack,
    smoothing: float = 0.0,
) -> TalkingTrack:
    """The track of a portrait that speaks other audio and moves as generated.

    Head poses, eyes and lip opening come from the motion; where it was made from another clip than the portrait, its
    poses are moved to the portrait's mean pose. What motion does not tell is arranged as `driving_track` does.

    Args:
        portrait: the recorded track.
        audio: features of the new audio, one window per new frame.
        motion: at the portrait's frame rate or another, at least as long as the audio.
        smoothing: standard deviation in frames of the smoothing of what is arranged; generated motion is smooth.

    Raises:
        TalkingError: the motion ends before the audio.
    """
    count = len(audio)
    if motion.num_frames / motion.fps < count / portrait.fps - 1.5 / min(motion.fps, portrait.fps):
        raise TalkingError(
            "the motion track",
            expected=f"{count / portrait.fps:.2f} s, as long as the audio",
            found=f"{motion.num_frames / motion.fps:.2f} s",
            hint="Generate it from this audio, or give the personal model instead of a track.",
        )
    pose, lips, eyes = (
        resampled(curve, motion.fps, portrait.fps, count) for curve in (motion.pose, motion.lips, motion.eyes)
    )
    if motion.digest != portrait.digest:
        pose = recentred(pose, portrait.camera_to_worlds)
    arranged = driving_track(portrait, audio, "ping-pong", smoothing)
    return arranged.replace(
        camera_to_worlds=camera_matrices(pose).astype(np.float32),
        eyes=np.repeat(eyes[:, None], portrait.eyes.shape[1], axis=1).astype(np.float32),
        lips=lips.astype(np.float32),
        expression=None,
    )
