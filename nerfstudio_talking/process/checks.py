"""Checks of a clip: cuts, repeated frames, faces, audio.

All functions but `require_face_tracker` are pure. A `Finding` is a warning, which the caller reports; a clip that
cannot be used raises `TalkingError`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from nerfstudio_talking.audio.sync import NULL_LEAST as SYNC_NULL_LEAST
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.decoding.audio_source import QUIET_DB, SILENT_DB
from nerfstudio_talking.media.repeated_frames import change, find_conversion, repeated_by_resampling

SHORTEST_RANGE = 50
"""Least number of frames of a range between cuts that an error message proposes."""
SMALL_FACE = 96
"""Width of the face in source pixels below which there is a warning."""


@dataclass(frozen=True)
class Finding:
    """A warning about the clip for the person who trains on it."""

    code: str
    """Short name: 'several-faces', 'duplicate-frames' ..."""
    message: str
    """What was found and what to do about it, as sentences."""


def find_cuts(
    thumbnails: UInt8[np.ndarray, "frames height width 3"], landmarks: Float[np.ndarray, "frames points xy"]
) -> list[int]:
    """First frame after each jump cut.

    A cut is one large change between frames that change little: the change of pixels, landmarks or colours must
    stand out against the two steps before and after it, which fast motion does not.

    Args:
        thumbnails: small images, about 64 pixels wide.
        landmarks: in pixels, any scale; NaN where no face is seen.
    """
    if len(thumbnails) < 3:
        return []
    pixels = _pixel_change(thumbnails)
    points = np.asarray(landmarks[..., :2], dtype=np.float64)
    face = float(np.nanmedian(np.ptp(points[..., 0], axis=1))) if np.isfinite(points).any() else 1.0
    moved = np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(axis=1) / max(face, 1e-6)
    lost = ~np.isfinite(moved)
    moved = np.where(lost, 0.0, moved)
    colours = _colour_change(thumbnails)
    pixel_ratio, point_ratio, colour_ratio = (_peak_ratio(series) for series in (pixels, moved, colours))
    jump = (pixels > 4.0) & (pixel_ratio > 5.0) & ((point_ratio > 2.0) | lost)
    leap = (moved > 0.1) & (point_ratio > 4.0) & (pixel_ratio > 2.5)
    scene = (colours > 0.35) & (colour_ratio > 3.0)
    return [int(index) + 1 for index in np.flatnonzero(jump | leap | scene)]


def usable_ranges(num_frames: int, cuts: list[int], shortest: int = SHORTEST_RANGE) -> list[tuple[int, int]]:
    """Ranges [A, B) between cuts that hold at least `shortest` frames; the longest where none does."""
    edges = [0, *cuts, num_frames]
    ranges = [(a, b) for a, b in itertools.pairwise(edges) if b > a]
    return [r for r in ranges if r[1] - r[0] >= shortest] or [max(ranges, key=lambda r: r[1] - r[0])]


def require_no_cuts(source: object, cuts: list[int], num_frames: int, offset: int = 0) -> None:
    """Refuse a clip with jump cuts, naming the usable ranges in frames of the source.

    Args:
        source: name of the video.
        cuts: from `find_cuts`, counted from the first frame looked at.
        num_frames: frames looked at.
        offset: number of the first frame looked at in the source.

    Raises:
        TalkingError: there is a cut.
    """
    if not cuts:
        return
    ranges = [f"--frames {a + offset}:{b + offset}" for a, b in usable_ranges(num_frames, cuts)]
    where = ", ".join(str(cut + offset) for cut in cuts[:10]) + (" ..." if len(cuts) > 10 else "")
    raise TalkingError(
        source,
        expected="one take without cuts",
        found=f"{len(cuts)} jump cut{'s' * (len(cuts) > 1)}, at frame {where}",
        hint="Use one of the ranges between them: " + ", ".join(ranges) + ".",
    )


def duplicate_frames(
    thumbnails: UInt8[np.ndarray, "frames height width 3"], tolerance: float = 0.02
) -> Bool[np.ndarray, " frames"]:
    """True where a frame repeats the one before it: mean change of the thumbnail under `tolerance` grey levels."""
    return np.concatenate([[False], _pixel_change(thumbnails) < tolerance])


def require_upright(source: object, turn: int, rotate: int) -> None:
    """Refuse a video whose faces lie on their side or stand on their head.

    Args:
        source: name of the video.
        turn: degrees clockwise, from `face.tracking.find_turn`.
        rotate: the turn that was asked for already.

    Raises:
        TalkingError: the faces are not upright.
    """
    if turn == 0:
        return
    found = "faces upside down" if turn == 180 else "faces on their side"
    hint = f"Turn the video: --rotate {(rotate + turn) % 360}."
    raise TalkingError(source, expected="upright faces", found=found, hint=hint)


def require_face_tracker() -> None:
    """Refuse to process where faces cannot be tracked.

    Raises:
        TalkingError: mediapipe is not installed, as under Python 3.12.
    """
    if find_spec("mediapipe") is None:
        raise TalkingError(
            "mediapipe",
            expected="the package installed: it tracks faces",
            found="no such package",
            hint="Process under Python 3.10 or 3.11 and copy the folder; training and driving need no mediapipe.",
        )


def require_faces(source: object, seen: Bool[np.ndarray, " frames"], least: float = 0.5) -> list[Finding]:
    """Refuse a clip without a face in most frames; warn about single frames without one.

    Raises:
        TalkingError: no face at all, or one in fewer than `least` of the frames.
    """
    share = float(np.mean(seen)) if len(seen) else 0.0
    if share < least or seen.sum() < 3:
        found = "no face" if not seen.any() else f"a face in {int(seen.sum())} of {len(seen)} frames only"
        raise TalkingError(
            source,
            expected="one face, seen throughout",
            found=found,
            hint="Use a video of one person facing the camera, or a range where the face is seen (--frames A:B).",
        )
    if share == 1.0:
        return []
    missing = np.flatnonzero(~seen)
    message = f"No face in {len(missing)} of {len(seen)} frames (first: {missing[0]}); the pose is interpolated there."
    return [Finding("face-lost", message)]


def face_findings(
    landmarks: Float[np.ndarray, "frames points xy"], counts: Int[np.ndarray, " samples"], smallest: int = SMALL_FACE
) -> list[Finding]:
    """Warn about a small face and about several.

    Args:
        landmarks: in source pixels; NaN where no face is seen.
        counts: faces found by a detector in sampled frames.
        smallest: width in pixels below which a face is small.
    """
    findings = []
    width = float(np.nanmedian(np.ptp(landmarks[..., 0], axis=1)))
    if width < smallest:
        text = f"The face is {width:.0f} pixels wide; {smallest} or more give a sharp portrait. Film closer or larger."
        findings.append(Finding("small-face", text))
    crowded = int((counts > 1).sum())
    if crowded > max(1, 0.05 * len(counts)):
        text = (
            f"{int(counts.max())} faces in {crowded} of {len(counts)} sampled frames; one of them is tracked. "
            "Crop the others out (--crop X,Y,W,H) if it is the wrong one."
        )
        findings.append(Finding("several-faces", text))
    return findings


def timing_findings(
    thumbnails: UInt8[np.ndarray, "frames height width 3"],
    fps: float,
    timestamps: Float[np.ndarray, " packets"] | None,
    source_fps: float,
    start: int = 0,
) -> list[Finding]:
    """Warn about repeated frames and a variable frame rate.

    Args:
        thumbnails: small images of the frames, about 64 pixels wide.
        fps: frame rate that they were read at.
        timestamps: of the source's frames in seconds, where known.
        source_fps: nominal frame rate of the source.
        start: number of the first frame.
    """
    findings = []
    known = np.zeros(len(thumbnails), bool)
    if timestamps is not None and len(timestamps) > 1:
        known = repeated_by_resampling(timestamps, fps, start, len(thumbnails))
    rate = find_conversion(change(thumbnails), fps, known[1:])
    duplicates = duplicate_frames(thumbnails) & ~known
    if rate is not None:
        text = (
            f"The video was converted from {float(rate):.5g} to {fps:.5g} frames per second by repeating frames, which "
            f"stay in the portrait as jerks. Process it at its true rate: --fps {float(rate):.5g}."
        )
        findings.append(Finding("duplicate-frames", text))
    elif duplicates.sum() > 0.02 * len(duplicates):
        text = (
            f"{int(duplicates.sum())} of {len(duplicates)} frames repeat the one before: the video was converted to a "
            "higher frame rate, or stands still. Process it at its true rate (--fps)."
        )
        findings.append(Finding("duplicate-frames", text))
    if timestamps is not None and len(timestamps) > 2:
        steps = np.diff(timestamps) * source_fps
        uneven = int((np.abs(steps - 1.0) > 0.25).sum())
        if uneven > 0.01 * len(steps):
            text = f"Variable frame rate: {uneven} of {len(steps)} steps are off; frames were taken at even times."
            findings.append(Finding("variable-frame-rate", text))
    return findings


def body_findings(seen: Bool[np.ndarray, " frames"], most: float = 0.1) -> list[Finding]:
    """Warn about a body that was lost in more than `most` of the frames."""
    lost = int((~seen).sum())
    if lost <= most * len(seen):
        return []
    text = f"The body was lost in {lost} of {len(seen)} frames; its motion is interpolated, and shoulders may blur."
    if lost == len(seen):
        text = "The body's motion was not found (no visible clothes?): it counts as at rest, and shoulders may blur."
    return [Finding("body-lost", text)]


def audio_findings(audio_seconds: float | None, video_seconds: float) -> list[Finding]:
    """Warn about audio that ends well before the video. None means that there is no audio; see `require_audio`."""
    if audio_seconds is None or audio_seconds >= video_seconds - max(0.2, 0.02 * video_seconds):
        return []
    text = f"The audio lasts {audio_seconds:.1f} s, the video {video_seconds:.1f} s; the rest is taken as silence."
    return [Finding("short-audio", text)]


def require_voice(source: object, level: float) -> list[Finding]:
    """Refuse audio that is silent, and warn about audio that is very quiet.

    Args:
        source: name of the video.
        level: of the loud parts, in dB of full scale.

    Raises:
        TalkingError: the audio is silent.
    """
    if level <= SILENT_DB:
        found = "digital silence" if level == -np.inf else f"silence ({level:.0f} dB of full scale)"
        hint = "Was the microphone off, or another --frames meant? A portrait learns its lips from the voice."
        raise TalkingError(source, expected="a voice", found=found, hint=hint)
    if level > QUIET_DB:
        return []
    text = f"The audio is very quiet ({level:.0f} dB of full scale at its loudest): is there a voice in it?"
    return [Finding("quiet-audio", text)]


def no_offset_text(null_size: int, num_frames: int, fps: float) -> str:
    """Why `--audio-offset auto` moved nothing.

    Args:
        null_size: number of curves that the estimate was compared with.
        num_frames: frames of the clip.
        fps: frames per second.
    """
    why = "lips and audio agree no better at any offset than by chance"
    if null_size < SYNC_NULL_LEAST:
        why = f"{num_frames / fps:.1f} s are too short for an estimate, which takes about 9 s"
    return f"--audio-offset auto left the audio where it is: {why}."


def require_audio(source: object, has_audio: bool) -> None:
    """Refuse a video without audio.

    Raises:
        TalkingError: the video has no audio.
    """
    if not has_audio:
        raise TalkingError(
            source,
            expected="a video with audio",
            found="no audio stream",
            hint="Mux the voice into it, or use another copy: a portrait learns its lips from the voice.",
        )


def _pixel_change(thumbnails: UInt8[np.ndarray, "frames height width 3"]) -> Float[np.ndarray, " steps"]:
    """Mean absolute change of each frame against the one before, grey levels."""
    steps = itertools.pairwise(thumbnails)
    return np.array([np.abs(b.astype(np.int16) - a).mean() for a, b in steps])


def _colour_change(thumbnails: UInt8[np.ndarray, "frames height width 3"]) -> Float[np.ndarray, " steps"]:
    """Half the L1 distance of 8x8x8 colour histograms of neighbours, in [0, 1]."""
    cells = (thumbnails >> 5).astype(np.int32) @ np.array([64, 8, 1], dtype=np.int32)
    cells = cells.reshape(len(cells), -1)
    shares = np.stack([np.bincount(frame, minlength=512) for frame in cells]) / cells.shape[1]
    return 0.5 * np.abs(np.diff(shares, axis=0)).sum(axis=1)


def _peak_ratio(series: Float[np.ndarray, " steps"]) -> Float[np.ndarray, " steps"]:
    """Each step over the largest of the two steps before and the two after it."""
    padded = np.pad(series, 2, constant_values=0.0)
    around = np.stack([padded[:-4], padded[1:-3], padded[3:-1], padded[4:]]).max(axis=0)
    return series / np.maximum(around, 1e-9)
