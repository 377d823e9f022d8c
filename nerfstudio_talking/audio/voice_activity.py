"""Voice activity: when a person speaks, as opposed to silence, breath and noise; and what the mouth shows of it.

A row (10 ms) is voiced where it is periodic at a speaker's pitch, louder than the noise and not much quieter than the
speech so far. Rows that are loud but not periodic (fricatives, bursts) are speech next to voiced ones only: breath and
noise stand alone. So whispering, which has no voiced row, is taken for breath.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Float32

from nerfstudio_talking.audio.features.spectral import MEL_CHANNELS, STREAM_RATE, row_level
from nerfstudio_talking.audio.features.streams import RATE, MelStream
from nerfstudio_talking.audio.normalization import ActiveLevel

HOP = RATE // STREAM_RATE
_PERIODS = (40, 267)
"""Shortest and longest period of a voice, samples: 400 to 60 Hz."""
_PART = 480
"""Samples that are compared with those a period later."""
_PERIODICITY = 0.5
_VOICED_DB, _LOUD_DB = 30.0, 40.0
"""How far below the active level voiced rows, and other rows of speech, may be."""
_MEDIAN = 5
"""Rows over which the majority says whether they are voiced."""
_BEFORE, _AFTER = 8, 15
"""Rows before and after a voiced one that are speech if they are loud."""
_BRIDGED = 13
"""Rows of a gap that are speech all the same: stops are silent for less than this."""
OPENING, CLOSING = 0.1, 0.08
"""Seconds before speech in which the mouth opens, and after it in which it closes."""
LOOK_AHEAD = (_BRIDGED + _BEFORE + _MEDIAN // 2 + 2) / STREAM_RATE + (_PART + _PERIODS[1]) / 2 / RATE
"""Seconds of audio after a time that the activity then depends on, at most."""
_SPEECH_BANDS = slice(6, MEL_CHANNELS)
"""The bands that levels are of: above 280 Hz, since hum and rumble lie below and no voice does with all that it has."""
_DIGITAL_DB = -60.0
"""Rows of at most this level are gaps of the file (muted, cut or not yet begun): they say nothing of a room's noise."""
_GAP, _GATED_DB = 10, 40.0
"""Rows of a gap; from the second gap after speech on they are the pauses (of a gate, of synthetic speech), and count as
noise this far below the active level."""
_SETTLE = 30
"""Rows after which something of the noise is known."""
_NOISE_KNOWN = 300
"""Rows after which the noise is known: before, a voice that is heard from the start on may be taken for it."""
_LOUD_START_DB = 15.0
"""How far below the active level a voice may be that is no noise from the start on."""
_START_DB = 8.0
"""Active level of speech recorded at a usual level, as of `ActiveLevel`."""


def voice_activity(
    samples: Float[np.ndarray, " samples"], fps: float, num_frames: int
) -> Float32[np.ndarray, " frames"]:
    """How much of the mouth's motion belongs to each frame of a recording: 1 in speech, 0 in silence; see
    `VoiceActivityStream`.

    Args:
        samples: mono audio at 16 kHz that starts with frame 0; silence follows it.
        fps: frames per second.
        num_frames: frames of the video.
    """
    stream = VoiceActivityStream(fps)
    head = stream.push(samples)
    return np.concatenate([head, stream.finish(num_frames)])[:num_frames]


class VoiceActivityStream:
    """Voice activity of each video frame, from audio that arrives piece by piece: how it is cut makes no difference.

    The activity is that of the frame's middle: 1 in speech, and falling to 0 within `CLOSING` after it, rising to 1
    within `OPENING` before it.

    Args:
        fps: video frames per second.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._rows = _SpeechRows()
        self._speech: list[bool] = []
        self._first = 0  # number of the first row in memory
        self._last: int | None = None  # number of the last row of speech before those in memory
        self.num_frames = 0
        """Frames whose activity is known."""

    look_ahead = LOOK_AHEAD
    """Seconds of audio after a frame's middle that its activity waits for, at most."""

    def push(self, samples: Float[np.ndarray, " samples"]) -> Float32[np.ndarray, " frames"]:
        """Take the next samples at 16 kHz; the activity of the frames that they complete."""
        self._speech.extend(self._rows.push(np.asarray(samples, dtype=np.float32)))
        known = self._first + len(self._speech) - _BRIDGED
        return self._activity(max(math.floor(known / STREAM_RATE * self._fps - 0.5) + 1 - self.num_frames, 0))

    def finish(self, num_frames: int) -> Float32[np.ndarray, " frames"]:
        """The activity of the frames up to `num_frames` altogether; silence follows the audio."""
        missing = max(num_frames - self.num_frames, 0)
        silence = round((missing / self._fps + 2 * self.look_ahead) * RATE)
        self._speech.extend(self._rows.push(np.zeros(silence, dtype=np.float32)))
        return self._activity(missing)

    def _activity(self, count: int) -> Float32[np.ndarray, " frames"]:
        """The activity of the next frames; rows that no later frame needs are dropped."""
        middles = (self.num_frames + np.arange(count) + 0.5) / self._fps * STREAM_RATE
        speech = self._first + np.flatnonzero(self._speech)
        if self._last is not None:
            speech = np.concatenate([[self._last], speech])
        activity = np.zeros(count, dtype=np.float32)
        for index, middle in enumerate(middles):
            place = int(np.searchsorted(speech, middle, side="right"))
            since = middle - speech[place - 1] if place > 0 else np.inf
            until = speech[place] - middle if place < len(speech) else np.inf
            bridged = since + until <= _BRIDGED
            share = max(1 - since / STREAM_RATE / CLOSING, 1 - until / STREAM_RATE / OPENING)
            activity[index] = 1.0 if bridged else 0.5 - 0.5 * np.cos(np.pi * np.clip(share, 0, 1))
        self.num_frames += count
        needed = min(
            max(int((self.num_frames + 0.5) / self._fps * STREAM_RATE) - 1 - self._first, 0), len(self._speech)
        )
        gone = np.flatnonzero(self._speech[:needed])
        self._last = self._last if len(gone) == 0 else self._first + int(gone[-1])
        del self._speech[:needed]
        self._first += needed
        return activity


class _SpeechRows:
    """Whether each row (10 ms) holds speech, from audio that arrives piece by piece."""

    def __init__(self) -> None:
        self._mel, self._level = MelStream(), ActiveLevel(_START_DB, settle=_SETTLE)
        self._samples = np.zeros((_PART + _PERIODS[1]) // 2, dtype=np.float32)
        self._loudness: list[float] = []  # of rows whose periodicity is not known yet
        self._periodicity: list[float] = []
        self._voiced: list[bool] = [False] * (_MEDIAN // 2)  # rows before the majority is taken
        self._loud: list[bool] = []
        self._since = self._pending = 0
        self._majority: list[bool] = []
        self._last_voiced = -(10**9)
        self._row = 0
        self._taken = self._gap = self._gaps = 0
        self._heard = False

    def push(self, samples: Float32[np.ndarray, " samples"]) -> list[bool]:
        """Take the next samples; whether the rows that they complete hold speech."""
        self._loudness.extend(row_level(row[None, _SPEECH_BANDS])[0] for row in self._mel.push(samples))
        self._samples = np.concatenate([self._samples, samples])
        count = (len(self._samples) - _PART - _PERIODS[1]) // HOP + 1
        if count > 0:
            self._periodicity.extend(periodicity(self._samples[start * HOP :]) for start in range(count))
            self._samples = self._samples[count * HOP :]
        for _ in range(min(len(self._loudness), len(self._periodicity))):
            self._take(self._loudness.pop(0), self._periodicity.pop(0))
        return self._decided()

    def _take(self, loudness: float, periodic: float) -> None:
        """Add the next row."""
        audible = loudness > _DIGITAL_DB
        self._gap = 0 if audible else self._gap + 1
        self._gaps += self._gap == _GAP and self._heard
        if not audible and self._gaps > 1:
            self._level.add_noise(self._level.level_db - _GATED_DB)
        above_noise = audible and self._level.update(loudness)
        below = self._level.level_db - loudness
        self._taken += audible
        not_noise = above_noise or (self._taken < _NOISE_KNOWN and below < _LOUD_START_DB)
        self._voiced.append(not_noise and below < _VOICED_DB and periodic > _PERIODICITY)
        self._heard = self._heard or bool(self._voiced[-1])
        self._loud.append(above_noise and below < _LOUD_DB)
        if len(self._voiced) >= _MEDIAN:
            self._majority.append(sum(self._voiced[-_MEDIAN:]) > _MEDIAN // 2)
            del self._voiced[: -_MEDIAN + 1]

    def _decided(self) -> list[bool]:
        """The rows whose neighbours are there."""
        decided = []
        while len(self._majority) > _BEFORE:
            if self._majority[0]:
                self._last_voiced = self._row
            near = any(self._majority[: _BEFORE + 1]) or self._row - self._last_voiced <= _AFTER
            decided.append(self._majority[0] or (near and self._loud[0]))
            del self._majority[0], self._loud[0]
            self._row += 1
        return decided


def periodicity(samples: Float32[np.ndarray, " samples"]) -> float:
    """Highest normalised correlation of 30 ms of audio with the audio a period later, for the periods of a voice.

    Args:
        samples: at 16 kHz, of which the first 747 are looked at.
    """
    part = samples[: _PART + _PERIODS[1]].astype(np.float64)
    part = part - part.mean()
    size = 2048
    spectrum = np.fft.rfft(part, size)
    product = np.fft.irfft(np.conj(np.fft.rfft(part[:_PART], size)) * spectrum, size)
    energy = np.concatenate([[0.0], np.cumsum(part**2)])
    lags = np.arange(_PERIODS[1])
    scale = np.sqrt(energy[_PART] * (energy[_PART + lags] - energy[lags]))
    likeness = product[lags] / np.maximum(scale, 1e-9)
    # a period is a peak behind a dip: thumps and steps are like themselves at every short lag
    dips = np.flatnonzero(likeness < _PERIODICITY / 2)
    return float(np.max(likeness[max(dips[0], _PERIODS[0]) :])) if len(dips) else 0.0
