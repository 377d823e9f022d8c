"""Voices of the sample clip, synthesised by espeak-ng (Debian: apt-get install espeak-ng), with phoneme times."""

from __future__ import annotations

import ctypes
import functools
import json
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import soundfile

from nerfstudio_talking.io.errors import TalkingError

RATE = 16000
DURATION = 10.0
_LIBRARY = "libespeak-ng.so.1"
# Rich in m, b, p and in open vowels, so that lips close often and open wide.
SENTENCES = (
    "My mother bought a big map of Panama, and Papa may bring it home.",
    "Bob, above the harbour, put a warm lamp by the open barn.",
)
OTHER_SENTENCES = ("People who hope for a calm summer often pack a small umbrella, and a book about palm trees.",)
VOICE = {"name": "en-us+f2", "speed": 158, "pitch": 52}
OTHER_VOICE = {"name": "en-gb-x-rp+m3", "speed": 160, "pitch": 42}
LEAD, PAUSE = 0.55, 0.65

Phonemes = list[tuple[float, str]]
"""Start in seconds and espeak's mnemonic; '_' is silence."""


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("string", ctypes.c_char * 8),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@functools.cache
def _espeak() -> tuple[ctypes.CDLL, int]:
    """The library, started once in its synchronous mode, and its sample rate."""
    try:
        espeak = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        hint = "Install espeak-ng (Debian: apt-get install espeak-ng), or use the committed voices."
        raise TalkingError(_LIBRARY, expected="the speech synthesiser", found=str(error), hint=hint) from error
    synchronous, phoneme_events = 2, 1
    espeak.espeak_SetSynthCallback.argtypes = [_CALLBACK]
    espeak.espeak_Synth.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int]
    espeak.espeak_Synth.argtypes += [ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p]
    rate = espeak.espeak_Initialize(synchronous, 0, None, phoneme_events)
    if rate <= 0:
        raise TalkingError(_LIBRARY, expected="a sample rate", found=str(rate), hint="Install espeak-ng-data.")
    return espeak, rate


def synthesise(text: str, name: str, speed: int, pitch: int) -> tuple[np.ndarray, Phonemes]:
    """Synthesise a text: samples at `RATE` in [-1, 1] without silence at the ends, and the phonemes.

    Raises:
        TalkingError: espeak-ng is not installed, or has no such voice.
    """
    espeak, native = _espeak()
    phoneme, characters, utf8 = 7, 1, 1
    chunks: list[np.ndarray] = []
    phonemes: Phonemes = []

    def collect(samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != 0:
            if events[index].type == phoneme:
                phonemes.append((events[index].sample / native, events[index].string.decode("utf-8", "replace")))
            index += 1
        return 0

    callback = _CALLBACK(collect)
    espeak.espeak_SetSynthCallback(callback)
    if espeak.espeak_SetVoiceByName(name.encode()) != 0:
        raise TalkingError(name, expected="a voice of espeak-ng", found="none of that name", hint="See --voices=en.")
    for parameter, value in ((1, speed), (3, pitch)):
        espeak.espeak_SetParameter(parameter, value, 0)
    data = text.encode()
    espeak.espeak_Synth(data, len(data) + 1, 0, characters, 0, utf8, None, None)
    espeak.espeak_SetSynthCallback(_CALLBACK(0))
    audio = np.concatenate(chunks).astype(np.float32) / 32768.0
    loud = np.flatnonzero(np.abs(audio) > 0.01)
    first, last = loud[0], loud[-1] + 1
    audio = librosa.resample(audio[first:last], orig_sr=native, target_sr=RATE)
    start = first / native
    end = len(audio) / RATE
    phonemes = [(max(time - start, 0.0), symbol) for time, symbol in phonemes if time - start < end]
    return 0.8 * audio / np.abs(audio).max(), phonemes


def make_voices(folder: Path) -> None:
    """Write voice.flac (`DURATION` long, silent between sentences and at the ends), voice.json, other_voice.flac."""
    parts, phonemes, time = [np.zeros(round(LEAD * RATE), np.float32)], [(0.0, "_")], LEAD
    for text in SENTENCES:
        audio, spoken = synthesise(text, **VOICE)
        phonemes += [(round(time + start, 4), symbol) for start, symbol in spoken]
        time += len(audio) / RATE
        phonemes.append((round(time, 4), "_"))
        parts += [audio, np.zeros(round(PAUSE * RATE), np.float32)]
        time += PAUSE
    voice = np.concatenate(parts)
    spare = DURATION - (time - PAUSE)
    if spare < 0.5:
        raise TalkingError(
            "the sentences", expected="silence at the end", found=f"{spare:.2f} s left", hint="Speak faster."
        )
    voice = np.pad(voice, (0, max(0, round(DURATION * RATE) - len(voice))))[: round(DURATION * RATE)]
    soundfile.write(folder / "voice.flac", voice, RATE, subtype="PCM_16")
    record = {"sentences": SENTENCES, "voice": VOICE, "phonemes": phonemes}
    (folder / "voice.json").write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    quiet = np.zeros(round(0.3 * RATE), np.float32)
    other = [quiet]
    for text in OTHER_SENTENCES:
        other += [synthesise(text, **OTHER_VOICE)[0], quiet]
    soundfile.write(folder / "other_voice.flac", np.concatenate(other), RATE, subtype="PCM_16")


# Opening in outer eye corner distances, and rounding of the lips in [0, 1], by the first match of the mnemonic.
_CLOSED = ("m", "b", "p")
_TARGETS: tuple[tuple[tuple[str, ...], float, float], ...] = (
    (("_", "|", ";", "'", ",", "%"), 0.0, 0.0),
    (("aI", "aU", "A", "a", "0", "O:", "A@"), 0.22, 0.1),
    (("V", "E", "e"), 0.16, 0.0),
    (("oU", "@U", "o", "O"), 0.15, 0.7),
    (("3", "@", "I2", "I#"), 0.11, 0.1),
    (("u", "U"), 0.08, 1.0),
    (("i", "I"), 0.09, 0.0),
    (("w",), 0.04, 1.0),
    (("f", "v"), 0.03, 0.0),
    (("l", "r", "h", "k", "g", "N", "j"), 0.09, 0.1),
    (("t", "d", "n", "s", "z", "T", "D", "S", "Z"), 0.06, 0.0),
)


def mouth_curves(voice: np.ndarray, phonemes: Phonemes, fps: float, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Lip opening (outer eye corner distances) and lip rounding (0 to 1) of each frame, from the phonemes and loudness.

    Frame i is the mean over its own interval [i/fps, (i+1)/fps). Lips meet on m, b, p and in silence.
    """
    rate = 400
    ticks = np.arange(round(frames / fps * rate)) / rate
    starts = np.array([start for start, _ in phonemes])
    values = np.array([_target(symbol) for _, symbol in phonemes])
    current = np.clip(np.searchsorted(starts, ticks, side="right") - 1, 0, None)
    opening, rounding = values[current].T
    power = np.array([np.mean(voice[int(t * RATE) : int(t * RATE) + RATE // 40] ** 2) for t in ticks])
    loudness = np.clip(np.sqrt(power) / np.quantile(np.sqrt(power), 0.9), 0.0, 1.0)
    opening = _smooth(opening * (0.75 + 0.35 * loudness), 0.030 * rate)
    closed = np.isin(np.array([symbol.strip("'%,") for _, symbol in phonemes]), _CLOSED)[current]
    seal = np.clip(1.6 * _smooth(closed.astype(float), 0.018 * rate), 0.0, 1.0)
    silent = np.array([symbol.startswith("_") for _, symbol in phonemes])[current]
    opening *= (1.0 - seal) * (1.0 - _smooth(silent.astype(float), 0.020 * rate))
    rounding = _smooth(rounding, 0.050 * rate)
    owner = np.minimum((ticks * fps + 1e-9).astype(int), frames - 1)
    count = np.bincount(owner, minlength=frames)
    return np.bincount(owner, opening, frames) / count, np.bincount(owner, rounding, frames) / count


def _target(symbol: str) -> tuple[float, float]:
    bare = symbol.strip("'%,")
    if bare in _CLOSED:
        return 0.0, 0.0
    for names, opening, rounding in _TARGETS:
        if any(bare.startswith(name) for name in names):
            return opening, rounding
    return 0.05, 0.0


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    reach = int(4 * sigma) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(values, reach, mode="edge"), kernel / kernel.sum(), mode="valid")
