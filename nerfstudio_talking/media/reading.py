"""Reading frames and audio from any container, in presentation order and constant memory, without an ffmpeg program.

Time zero is the presentation time of the first frame; audio is read against the same clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import Float32, Float64, UInt8

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.writing import exact_rate, has_video, video_stream_of

_CONVERT = "Convert it, for instance to mp4 with H.264 and AAC, or export it again."
_ACCURATE = 0x40000 | 0x2000 | 4
"""Flags of swscale: accurate rounding, full colour resolution, bicubic. Its fast path is 1 to 1.3 levels too dark."""
_AUDIO_GAP = 0.1
"""Gaps in the audio longer than this many seconds are filled with silence; shorter ones are clock jitter."""


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video file."""

    width: int
    """Pixels, after the display rotation."""
    height: int
    """Pixels, after the display rotation."""
    fps: float
    """Average frames per second."""
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


def probe_video(path: Path | str) -> VideoInfo:
    """Read the properties of a video file without decoding more than its first frame.

    Raises:
        TalkingError: no such file, an empty file, not a video, or an unreadable one.
    """
    with _open(path) as container:
        stream = _video_stream(container, path)
        try:
            packets = [
                (packet.pts, packet.duration or 0)
                for packet in container.demux(stream)
                if packet.pts is not None and not packet.is_discard
            ]
        except av.error.FFmpegError as error:
            raise _unreadable(path, error) from error
        time_base = stream.time_base or Fraction(1, 1000)
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        timestamps = None
        if packets:
            packets.sort()
            timestamps = np.array([float((pts - packets[0][0]) * time_base) for pts, _ in packets])
        if timestamps is not None and len(timestamps) > 1 and rate <= 0:
            rate = (len(timestamps) - 1) / float(timestamps[-1])
        rate = rate or 25.0
        if timestamps is not None:
            last = float(packets[-1][1] * time_base) or 1.0 / rate
            duration = float(timestamps[-1]) + last
        else:
            duration = float((stream.duration or 0) * time_base) or float(container.duration or 0) / 1e6
        audio = container.streams.audio[0] if container.streams.audio else None
        audio_duration = None
        if audio is not None:
            if audio.duration and audio.time_base:
                audio_duration = float(audio.duration * audio.time_base)
            elif container.duration:
                audio_duration = container.duration / 1e6
        codec = stream.codec_context.name
    first = next(_decoded(path), None)
    if first is None:
        raise TalkingError(path, expected="a video", found="a video stream without a single frame", hint=_CONVERT)
    sideways = _quarter_turns(first) % 2 == 1
    return VideoInfo(
        width=first.height if sideways else first.width,
        height=first.width if sideways else first.height,
        fps=rate,
        num_frames=None if timestamps is None else len(timestamps),
        duration=duration,
        has_audio=audio is not None,
        audio_duration=audio_duration,
        variable_frame_rate=timestamps is not None and is_variable(timestamps),
        codec=codec,
        timestamps=timestamps,
    )


def is_variable(timestamps: Float64[np.ndarray, " frames"]) -> bool:
    """Whether over 1 % of the steps between frames differ from the median step by over a quarter of it."""
    steps = np.diff(timestamps)
    if len(steps) < 2:
        return False
    return bool((np.abs(steps - np.median(steps)) > 0.25 * np.median(steps)).mean() > 0.01)


def read_frames(
    path: Path | str, fps: float | Fraction | None = None, start: int = 0, stop: int | None = None
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """The frames of a video at a constant frame rate, RGB, upright.

    Output frame i is the source frame whose presentation time is nearest to i/fps seconds after the first one's (the
    earlier of two equally near).

    Args:
        path: any container.
        fps: frames per second of the output; the source's average where None.
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
    held: VideoFrame | None = None
    rate = exact_rate(fps) if fps is not None else _average_rate(path)
    zero = held_time = end = Fraction(0)

    def emit(frame: VideoFrame, until: Fraction) -> Iterator[np.ndarray]:
        """`frame` for every output index whose time is at most `until`."""
        nonlocal index
        image = None
        while index / rate <= until and (stop is None or index < stop):
            if index >= start:
                image = _upright(frame) if image is None else image
                yield image
            index += 1

    for position, frame in enumerate(_decoded(path)):
        # without presentation times, frames are evenly spaced
        time = position / rate if frame.time is None else (frame.pts or 0) * Fraction(frame.time_base or 0)
        if held is None:
            zero = time
        time = Fraction(time - zero)
        if held is not None:
            if time <= held_time:
                continue
            yield from emit(held, (held_time + time) / 2)
        if stop is not None and index >= stop:
            return
        end = time + (frame.duration * frame.time_base if frame.duration and frame.time_base else 1 / rate)
        held, held_time = frame, time
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
    chunks = list(_audio_chunks(path, rate, limit))
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
    for chunk in _audio_chunks(path, rate, None):
        if len(chunk):
            found = True
            yield np.ascontiguousarray(chunk, dtype=np.float32)
    if not found:
        hint = "Give a recording that is longer than that."
        raise TalkingError(path, expected="audio", found="0.00 s of it", hint=hint)


def _audio_chunks(path: Path | str, rate: int, limit: float | None) -> Iterator[np.ndarray]:
    with _open(path) as container:
        if not container.streams.audio:
            raise TalkingError(path, expected="audio", found="no audio stream", hint="Give a file with speech in it.")
        zero = _first_frame_time(container)
        stream = container.streams.audio[0]
        try:
            yield from _resample_audio(stream, container, rate, zero, limit)
        except av.error.FFmpegError as error:
            raise _unreadable(path, error) from error


def _resample_audio(
    stream: AudioStream, container: av.container.InputContainer, rate: int, zero: Fraction | None, limit: float | None
) -> Iterator[np.ndarray]:
    """Mono float chunks at `rate`, with silence in front and in gaps as the presentation times demand."""
    resampler: AudioResampler | None = None
    source_rate, expected, produced, to_drop = 0, None, 0, 0
    for frame in container.decode(stream):
        frame_time = frame.pts * frame.time_base if frame.pts is not None and frame.time_base else None
        mono = _mono(frame)
        if resampler is None or frame.sample_rate != source_rate:
            if resampler is not None:
                yield from _pull(resampler, None)
            resampler, source_rate = AudioResampler(format="flt", layout="mono", rate=rate), frame.sample_rate
        if expected is None and frame_time is not None:
            lead = 0 if zero is None else round((frame_time - zero) * source_rate)
            to_drop = max(-lead, 0)
            mono = np.concatenate([np.zeros(max(lead, 0), dtype=np.float32), mono])
        elif expected is not None and frame_time is not None and frame_time - expected > _AUDIO_GAP:
            gap = round((frame_time - expected) * source_rate)
            mono = np.concatenate([np.zeros(gap, dtype=np.float32), mono])
        if frame_time is not None:
            expected = frame_time + Fraction(frame.samples, source_rate)
        dropped = min(to_drop, len(mono))
        to_drop -= dropped
        if len(mono) == dropped:
            continue
        for chunk in _pull(resampler, _mono_frame(mono[dropped:], source_rate)):
            produced += len(chunk)
            yield chunk
        if limit is not None and produced >= limit * rate + 1:
            return
    if resampler is not None:
        yield from _pull(resampler, None)


def _pull(resampler: AudioResampler, frame: AudioFrame | None) -> Iterator[np.ndarray]:
    for out in resampler.resample(frame):
        yield out.to_ndarray().reshape(-1)


def _mono_frame(samples: np.ndarray, rate: int) -> AudioFrame:
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="flt", layout="mono")
    frame.sample_rate = rate
    return frame


def _mono(frame: AudioFrame) -> np.ndarray:
    """Mean of the channels as float32 (the resampler's own mix to mono is louder than the mean)."""
    values: np.ndarray = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    if values.dtype == np.uint8:
        values = values.astype(np.float32) / 128.0 - 1.0
    elif np.issubdtype(values.dtype, np.integer):
        values = values.astype(np.float64) / 2.0 ** (8 * values.dtype.itemsize - 1)
    return values.mean(axis=0).astype(np.float32)


def _first_frame_time(container: av.container.InputContainer) -> Fraction | None:
    if not has_video(container):
        return None
    stream = video_stream_of(container)
    if stream.start_time is None or stream.time_base is None:
        return None
    return stream.start_time * stream.time_base


def _average_rate(path: Path | str) -> Fraction:
    with _open(path) as container:
        stream = _video_stream(container, path)
        return exact_rate(stream.average_rate or stream.guessed_rate or 25)


def _decoded(path: Path | str) -> Iterator[VideoFrame]:
    with _open(path) as container:
        stream = _video_stream(container, path)
        stream.thread_type = "AUTO"
        try:
            yield from container.decode(stream)
        except av.error.FFmpegError as error:
            raise _unreadable(path, error) from error


def _quarter_turns(frame: VideoFrame) -> int:
    """Number of counter-clockwise rotations by 90 degrees that put the frame upright."""
    return round(frame.rotation / 90) % 4


def _upright(frame: VideoFrame) -> np.ndarray:
    image = frame.to_ndarray(format="rgb24", interpolation=_ACCURATE)
    return np.ascontiguousarray(np.rot90(image, _quarter_turns(frame)))


def _open(path: Path | str) -> av.container.InputContainer:
    path = Path(path)
    if not path.exists():
        raise TalkingError(path, expected="a video or audio file", found="no such file", hint="Check the path.")
    if not path.is_file():
        raise TalkingError(path, expected="a video or audio file", found="a folder", hint="Name the file in it.")
    if path.stat().st_size == 0:
        raise TalkingError(path, expected="a video or audio file", found="an empty file", hint="Copy it again.")
    try:
        return av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise _unreadable(path, error) from error


def _video_stream(container: av.container.InputContainer, path: Path | str) -> VideoStream:
    if not has_video(container):
        raise TalkingError(path, expected="a video", found="no video stream", hint="Give a video of one person.")
    return video_stream_of(container)


def _unreadable(path: Path | str, error: Exception) -> TalkingError:
    reason = getattr(error, "strerror", None) or str(error)
    return TalkingError(path, expected="a readable video or audio file", found=reason, hint=_CONVERT)
