"""Audio decoded piece by piece, with silence in front and in gaps as the presentation times demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av.container
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.decoding.audio_source import AudioSource, audio_source, planes
from nerfstudio_talking.media.decoding.opening import open_media, unreadable
from nerfstudio_talking.media.writing import LAYOUTS, has_video, video_stream_of

_AUDIO_GAP = 0.1
"""Gaps in the audio longer than this many seconds are filled with silence; shorter ones are clock jitter."""
Mix = Callable[[np.ndarray], np.ndarray]
"""Takes channels (source channels, samples), gives those wanted."""


def audio_chunks(path: Path | str, rate: int, limit: float | None) -> Iterator[np.ndarray]:
    """Mono float32 pieces of a file's audio. Second 0 is the first frame of a video, else the first sample.

    Args:
        path: any container.
        rate: samples per second of the result.
        limit: seconds after which to stop; some samples more may come.

    Raises:
        TalkingError: the file is missing, empty or damaged, or has no audio.
    """
    source = audio_source(path)
    for chunk in _chunks(path, source, rate, "mono", source.mono, limit):
        yield chunk[0]


def channel_chunks(path: Path | str, rate: int, channels: int) -> Iterator[np.ndarray]:
    """Float32 pieces (samples, channels) of a file's audio, from the track that `audio_chunks` takes.

    Args:
        path: any container.
        rate: samples per second of the result.
        channels: those of the file, as of `writing.LAYOUTS`; 1 gives what `audio_chunks` gives.

    Raises:
        TalkingError: as of `audio_chunks`.
    """
    source = audio_source(path)

    def keep(values: np.ndarray) -> np.ndarray:
        """The channels; a frame that has another number of them counts as mono."""
        return values if len(values) == channels else np.repeat(values.mean(axis=0, keepdims=True), channels, axis=0)

    mix = source.mono if channels == 1 else keep
    layout = LAYOUTS[channels]
    for chunk in _chunks(path, source, rate, layout, mix, None):
        yield chunk.T


def _chunks(
    path: Path | str, source: AudioSource, rate: int, layout: str, mix: Mix, limit: float | None
) -> Iterator[np.ndarray]:
    with open_media(path) as container:
        try:
            stream = container.streams.audio[source.track]
            for chunk in _resampled(stream, container, rate, layout, mix, _first_frame_time(container), limit):
                if not np.isfinite(chunk).all():
                    hint = "Write the audio again, as 16-bit PCM."
                    raise TalkingError(path, expected="finite samples", found="NaN or infinity", hint=hint)
                yield chunk
        except av.error.FFmpegError as error:
            raise unreadable(path, error) from error


def _resampled(
    stream: AudioStream,
    container: av.container.InputContainer,
    rate: int,
    layout: str,
    mix: Mix,
    zero: Fraction | None,
    limit: float | None,
) -> Iterator[np.ndarray]:
    """Float pieces (channels, samples) at `rate`."""
    resampler: AudioResampler | None = None
    source_rate, expected, produced, to_drop = 0, None, 0, 0
    for frame in container.decode(stream):
        frame_time = frame.pts * frame.time_base if frame.pts is not None and frame.time_base else None
        values = mix(planes(frame))
        if resampler is None or frame.sample_rate != source_rate:
            if resampler is not None:
                yield from _pull(resampler, None)
            resampler, source_rate = AudioResampler(format="fltp", layout=layout, rate=rate), frame.sample_rate
        if expected is None and frame_time is not None:
            lead = 0 if zero is None else round((frame_time - zero) * source_rate)
            to_drop = max(-lead, 0)
            values = _after_silence(max(lead, 0), values)
        elif expected is not None and frame_time is not None and frame_time - expected > _AUDIO_GAP:
            values = _after_silence(round((frame_time - expected) * source_rate), values)
        if frame_time is not None:
            expected = frame_time + Fraction(frame.samples, source_rate)
        dropped = min(to_drop, values.shape[1])
        to_drop -= dropped
        if values.shape[1] == dropped:
            continue
        for chunk in _pull(resampler, _frame(values[:, dropped:], layout, source_rate)):
            produced += chunk.shape[1]
            yield chunk
        if limit is not None and produced >= limit * rate + 1:
            return
    if resampler is not None:
        yield from _pull(resampler, None)


def _after_silence(count: int, values: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((len(values), count), dtype=np.float32), values], axis=1)


def _pull(resampler: AudioResampler, frame: AudioFrame | None) -> Iterator[np.ndarray]:
    for out in resampler.resample(frame):
        yield out.to_ndarray()


def _frame(values: np.ndarray, layout: str, rate: int) -> AudioFrame:
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(values, dtype=np.float32), format="fltp", layout=layout)
    frame.sample_rate = rate
    return frame


def _first_frame_time(container: av.container.InputContainer) -> Fraction | None:
    if not has_video(container):
        return None
    stream = video_stream_of(container)
    if stream.start_time is None or stream.time_base is None:
        return None
    return stream.start_time * stream.time_base
