"""Audio decoded piece by piece, with silence in front and in gaps as the presentation times demand."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av.container
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.decoding.opening import open_media, unreadable
from nerfstudio_talking.media.writing import has_video, video_stream_of

_AUDIO_GAP = 0.1
"""Gaps in the audio longer than this many seconds are filled with silence; shorter ones are clock jitter."""


def audio_chunks(path: Path | str, rate: int, limit: float | None) -> Iterator[np.ndarray]:
    """Mono float32 pieces of a file's audio. Second 0 is the first frame of a video, else the first sample.

    Args:
        path: any container.
        rate: samples per second of the result.
        limit: seconds after which to stop; some samples more may come.

    Raises:
        TalkingError: the file is missing, empty or damaged, or has no audio.
    """
    with open_media(path) as container:
        if not container.streams.audio:
            raise TalkingError(path, expected="audio", found="no audio stream", hint="Give a file with speech in it.")
        zero = _first_frame_time(container)
        stream = container.streams.audio[0]
        try:
            yield from _resample_audio(stream, container, rate, zero, limit)
        except av.error.FFmpegError as error:
            raise unreadable(path, error) from error


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
