"""Reading frames and audio from any container, in presentation order and constant memory, without an ffmpeg program.

Time zero is the presentation time of the first frame; audio is read against the same clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av.container
import av.error
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.decoding.audio_streams import audio_chunks
from nerfstudio_talking.media.decoding.display import DecodedFrame
from nerfstudio_talking.media.decoding.interlacing import deinterlace
from nerfstudio_talking.media.decoding.opening import CONVERT, open_media, unreadable, video_stream
from nerfstudio_talking.media.decoding.timing import FrameClock, is_variable, read_clock
from nerfstudio_talking.media.decoding.tone_mapping import CURVE, name_of_transfer
from nerfstudio_talking.media.writing import exact_rate


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video file."""

    width: int
    """Pixels as shown: upright, and square."""
    height: int
    """Pixels as shown: upright, and square."""
    fps: float
    """Nominal frames per second: dropped frames and odd declarations of the container do not count."""
    num_frames: int | None
    """Number of frames in the stream; None where the container has no presentation times."""
    duration: float
    """Seconds from the first frame to the end of the last."""
    has_audio: bool
    """Whether there is an audio stream."""
    audio_duration: float | None
    """Seconds of audio according to the container; None where unknown or without audio."""
    variable_frame_rate: bool
    """Whether the frame rate varies, by `is_variable`."""
    codec: str
    """Name of the video codec."""
    timestamps: Float64[np.ndarray, " frames"] | None = field(default=None, repr=False, compare=False)
    """Presentation times of the frames in seconds, from 0, where known."""
    notes: tuple[str, ...] = ()
    """What `read_frames` does to the frames besides decoding, one sentence each."""


def probe_video(path: Path | str) -> VideoInfo:
    """Read the properties of a video file without decoding more than its first frame.

    Raises:
        TalkingError: no such file, an empty file, not a video, or an unreadable one.
    """
    with open_media(path) as container:
        stream = video_stream(container, path)
        try:
            clock = read_clock(container, stream)
        except av.error.FFmpegError as error:
            raise unreadable(path, error) from error
        audio = container.streams.audio[0] if container.streams.audio else None
        audio_duration = None
        if audio is not None:
            if audio.duration and audio.time_base:
                audio_duration = float(audio.duration * audio.time_base)
            elif container.duration:
                audio_duration = container.duration / 1e6
        codec = stream.codec_context.name
    with _decoded(path) as frames:
        first = next(frames, None)
    if first is None:
        raise TalkingError(path, expected="a video", found="a video stream without a single frame", hint=CONVERT)
    width, height = first.size
    timestamps = clock.timestamps
    return VideoInfo(
        width=width,
        height=height,
        fps=float(clock.rate),
        num_frames=None if timestamps is None else len(timestamps),
        duration=clock.duration,
        has_audio=audio is not None,
        audio_duration=audio_duration,
        variable_frame_rate=timestamps is not None and is_variable(timestamps),
        codec=codec,
        timestamps=timestamps,
        notes=tuple(_notes(first)),
    )


def _notes(first: DecodedFrame) -> Iterator[str]:
    """What is done to frames like this one."""
    transfer = name_of_transfer(int(first.frame.color_trc))
    if transfer is not None:
        yield f"The video is HDR ({transfer}): it is tone-mapped to BT.709 by {CURVE}."
    if first.frame.interlaced_frame:
        yield "The video is flagged as interlaced: frames that show combing are deinterlaced (bwdif)."
    if not first.has_square_pixels:
        width, height = first.size
        yield f"Its pixels are not square ({first.aspect}): frames are resized to {width}x{height}."


def read_frames(
    path: Path | str, fps: float | Fraction | None = None, start: int = 0, stop: int | None = None
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """The frames of a video at a constant frame rate, RGB: upright, with square pixels, deinterlaced, in BT.709.

    Output frame i is the source frame whose presentation time is nearest to i/fps seconds after the first one's (the
    earlier of two equally near).

    Args:
        path: any container.
        fps: frames per second of the output; the source's nominal rate where None.
        start: first output frame.
        stop: the output frame after the last one; None goes on to the end.

    Raises:
        TalkingError: the file is missing, empty, no video, or damaged.
    """
    if start < 0 or (stop is not None and stop < start):
        raise ValueError(f"frames {start}:{stop} are not a range")
    return _resample(path, fps, start, stop)


def _resample(path: Path | str, fps: float | Fraction | None, start: int, stop: int | None) -> Iterator[np.ndarray]:
    index = 0
    held: DecodedFrame | None = None
    clock = _clock(path)
    rate = exact_rate(fps) if fps is not None else clock.rate
    zero = held_time = end = Fraction(0)
    with _decoded(path) as frames:

        def emit(frame: DecodedFrame, until: Fraction) -> Iterator[np.ndarray]:
            """`frame` for every output index whose time is at most `until`."""
            nonlocal index
            image = None
            while index / rate <= until and (stop is None or index < stop):
                if index >= start:
                    image = frame.image() if image is None else image
                    yield image
                index += 1

        for position, decoded in enumerate(frames):
            frame = decoded.frame
            # without presentation times, frames are evenly spaced
            time = position / clock.rate if frame.time is None else (frame.pts or 0) * Fraction(frame.time_base or 0)
            if held is None:
                zero = time
            time = Fraction(time - zero)
            if held is not None:
                if time <= held_time:
                    continue
                yield from emit(held, (held_time + time) / 2)
            if stop is not None and index >= stop:
                return
            end = time + clock.frame_duration(frame.duration * frame.time_base if frame.time_base else 0)
            held, held_time = decoded, time
        if held is not None:  # as many frames as fit the duration, rounded: none whose middle is past the end
            yield from emit(held, max(end - Fraction(1, 2) / rate, held_time if index == 0 else Fraction(0)))


def read_audio(
    path: Path | str, rate: int = 16000, *, start: float = 0.0, duration: float | None = None
) -> Float32[np.ndarray, " samples"]:
    """The audio of any file, mono (mean of the channels), in [-1, 1].

    In a video, second 0 is the first frame: audio that starts later is preceded by silence, audio that starts earlier
    is cut there. Otherwise second 0 is the first sample.

    Args:
        path: mp4, ogg, flac, wav ...
        rate: samples per second of the result.
        start: seconds to leave out at the front.
        duration: seconds to return at most; all where None. The audio is not padded and may end sooner.

    Raises:
        TalkingError: the file is missing, empty or damaged, has no audio, or none in the range.
    """
    limit = None if duration is None else start + duration
    chunks = list(audio_chunks(path, rate, limit))
    samples = np.concatenate(chunks) if chunks else np.zeros(0, dtype=np.float32)
    cut = samples[round(start * rate) : None if limit is None else round(limit * rate)]
    if len(cut) == 0:
        found = f"{len(samples) / rate:.2f} s of it" + (f", wanted from second {start:g}" if len(samples) else "")
        raise TalkingError(path, expected="audio", found=found, hint="Give longer audio, or an earlier start.")
    return np.ascontiguousarray(cut, dtype=np.float32)


def read_audio_blocks(path: Path | str, rate: int = 16000) -> Iterator[Float32[np.ndarray, " samples"]]:
    """The audio of any file as of `read_audio`, piece by piece in constant memory; pieces are never empty.

    Raises:
        TalkingError: as `read_audio`, when the first piece is asked for, or where the file is damaged.
    """
    found = False
    for chunk in audio_chunks(path, rate, None):
        if len(chunk):
            found = True
            yield np.ascontiguousarray(chunk, dtype=np.float32)
    if not found:
        hint = "Give a recording that is longer than that."
        raise TalkingError(path, expected="audio", found="0.00 s of it", hint=hint)


def _clock(path: Path | str) -> FrameClock:
    with open_media(path) as container:
        try:
            return read_clock(container, video_stream(container, path))
        except av.error.FFmpegError as error:
            raise unreadable(path, error) from error


@contextmanager
def _decoded(path: Path | str) -> Iterator[Iterator[DecodedFrame]]:
    """The frames of a file, which is closed after the block."""
    with open_media(path) as container:
        stream = video_stream(container, path)
        stream.thread_type = "AUTO"

        def frames() -> Iterator[DecodedFrame]:
            try:
                for frame, shown in deinterlace(container.decode(stream)):
                    yield DecodedFrame(frame, shown, stream.sample_aspect_ratio)
            except av.error.FFmpegError as error:
                raise unreadable(path, error) from error

        yield frames()
