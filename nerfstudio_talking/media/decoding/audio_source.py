"""Which track and channels of a file hold the voice: the first track may be silent, and channels may cancel out.

Looked at is as much of each track as holds ten seconds of sound.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import av.error
import numpy as np
from av.audio.frame import AudioFrame
from jaxtyping import Float, Float32

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.decoding.opening import open_media, unreadable

SILENT_DB, QUIET_DB = -70.0, -50.0
"""Levels in dB of full scale below which audio counts as silent, and as too quiet to be a voice at all times."""
_ENOUGH = 10.0
_WINDOW = 0.05
_CANCELLED = 0.2
"""Energy of the mean of the channels, as a share of the loudest channel's, below which the loudest one is taken: a
voice in one of two channels has a quarter."""
_LOUD_SHARE, _LOUD_SECONDS = 0.05, 1.0
"""The loud parts are the loudest twentieth of the audio, of long audio the loudest second."""


@dataclass(frozen=True)
class AudioSource:
    """The track of a file that is read, and how it becomes mono."""

    track: int
    """Number among the file's audio tracks, from 0."""
    channel: int | None
    """The channel that is taken for mono; None takes the mean of all."""
    rate: int
    """Samples per second."""
    channels: int
    """Number of channels."""
    layout: str
    """FFmpeg's name of the channel layout."""
    level: float
    """Level of the loud parts of the mono audio, dB of full scale; -inf for digital silence."""
    notes: tuple[str, ...]
    """What is unusual about the choice, one sentence each."""

    def mono(self, values: Float32[np.ndarray, "channels samples"]) -> Float32[np.ndarray, "1 samples"]:
        """Channels as mono."""
        if self.channel is None or self.channel >= len(values):
            return values.mean(axis=0, keepdims=True)
        return values[self.channel : self.channel + 1]


def audio_source(path: Path | str) -> AudioSource:
    """The track and channels that hold the voice: the first track that is not quiet, else the loudest.

    Raises:
        TalkingError: the file is missing, empty or damaged, or has no audio.
    """
    path = Path(path)
    with open_media(path) as container:
        count = len(container.streams.audio)
    if count == 0:
        raise TalkingError(path, expected="audio", found="no audio stream", hint="Give a file with speech in it.")
    status = path.stat()
    return _choose(path.absolute(), count, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=32)
def _choose(path: Path, count: int, changed: int, size: int) -> AudioSource:
    """The choice among so many tracks; `changed` and `size` say which state of the file it was made for."""
    found: list[AudioSource] = []
    for track in range(count):
        source = _look_at(path, track)
        if source.level > QUIET_DB:
            found = [*found, source]
            break
        found.append(source)
    chosen = max(found, key=lambda source: (source.level > QUIET_DB, source.level, -source.track))
    if chosen.level <= SILENT_DB:
        return found[0]
    notes = chosen.notes
    if chosen.track > 0:
        notes = (f"Audio track 1 of {count} is silent or nearly so: track {chosen.track + 1} is taken.", *notes)
    return AudioSource(chosen.track, chosen.channel, chosen.rate, chosen.channels, chosen.layout, chosen.level, notes)


def _look_at(path: Path, track: int) -> AudioSource:
    """A track by itself."""
    energies: list[np.ndarray] = []
    rate, channels, layout, heard, left = 0, 0, "mono", 0.0, None
    with open_media(path) as container:
        stream = container.streams.audio[track]
        try:
            for frame in container.decode(stream):
                values = planes(frame)
                if channels == 0:
                    rate, channels, layout = frame.sample_rate, len(values), frame.layout.name
                if len(values) != channels:
                    continue
                values = values if left is None else np.concatenate([left, values], axis=1)
                size = max(round(_WINDOW * rate), 1)
                whole = values.shape[1] // size
                left = values[:, whole * size :]
                if whole == 0:
                    continue
                energy = window_energies(values[:, : whole * size], size)
                energies.append(energy)
                heard += _WINDOW * int((energy.max(axis=0) > 10 ** (QUIET_DB / 10)).sum())
                if heard >= _ENOUGH:
                    break
        except av.error.FFmpegError as error:
            raise unreadable(path, error) from error
    if not energies and left is not None and left.shape[1]:
        energies.append(window_energies(left, left.shape[1]))
    if not energies:
        return AudioSource(track, None, rate or 16000, max(channels, 1), layout, -np.inf, ())
    energy = np.concatenate(energies, axis=1)
    totals = energy.sum(axis=1)
    loudest = int(totals[:-1].argmax())
    if channels > 1 and totals[-1] < _CANCELLED * totals[loudest]:
        found = (
            "The channels cancel each other out" if channels == 2 else f"One of the {channels} channels has the voice"
        )
        note = f"{found}: channel {loudest + 1} ({layout}) is taken instead of their mean."
        return AudioSource(track, loudest, rate, channels, layout, _level(energy[loudest]), (note,))
    return AudioSource(track, None, rate, channels, layout, _level(energy[-1]), ())


def window_energies(
    values: Float32[np.ndarray, "channels samples"], size: int
) -> Float[np.ndarray, "channels_and_mean windows"]:
    """Mean square of each channel, and of the mean of all in the last row, in windows of `size` samples."""
    rows = np.concatenate([values, values.mean(axis=0, keepdims=True)]).astype(np.float64)
    return (rows.reshape(len(rows), -1, size) ** 2).mean(axis=2)


def loud_level(samples: Float[np.ndarray, " samples"], rate: int = 16000) -> float:
    """Level of the loud parts of mono audio, dB of full scale; -inf for digital silence."""
    size = max(min(round(_WINDOW * rate), len(samples)), 1)
    whole = len(samples) // size * size
    if whole == 0:
        return -np.inf
    return _level((np.asarray(samples[:whole], dtype=np.float64).reshape(-1, size) ** 2).mean(axis=1))


def _level(energies: Float[np.ndarray, " windows"]) -> float:
    count = min(max(round(_LOUD_SHARE * len(energies)), 1), round(_LOUD_SECONDS / _WINDOW))
    loud = float(np.sort(energies)[-count])
    return float(10 * np.log10(loud)) if loud > 0 else -np.inf


def planes(frame: AudioFrame) -> Float32[np.ndarray, "channels samples"]:
    """The channels of a decoded frame, full scale at 1."""
    values: np.ndarray = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    if values.dtype == np.uint8:
        return values.astype(np.float32) / 128.0 - 1.0
    if np.issubdtype(values.dtype, np.integer):
        return (values.astype(np.float64) / 2.0 ** (8 * values.dtype.itemsize - 1)).astype(np.float32)
    return values.astype(np.float32)
