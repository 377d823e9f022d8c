"""The clock of an audio element in the browser, which frames follow, and the element itself.

viser 0.2.7 has no element for audio. Its markdown is compiled as MDX in the browser: `<audio>` plays, and its events
can call functions. These write the element's state into a text input of the panel, as if it was typed, and viser sends
it to the server.
"""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_EVENTS = ("onPlaying", "onPause", "onSeeking", "onSeeked", "onTimeUpdate", "onWaiting", "onEnded", "onRateChange")
_LONGEST_GAP = 1.0
"""Seconds without a report after which the audio counts as halted: the browser reports four times a second."""


def audio_element(
    samples: Float[np.ndarray, " samples"], rate: int, input_id: str, token: str, autoplay: bool = False
) -> str:
    """Markdown of an audio element that reports its clock.

    Args:
        samples: mono, in [-1, 1]; sent to the browser as FLAC.
        rate: samples per second.
        input_id: viser's id of the text input that takes the reports; the element hides it.
        token: of this voice; reports begin with it. Letters and digits.
        autoplay: whether it plays at once. Browsers refuse until the user has clicked somewhere on the page.
    """
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1.0, 1.0), rate, format="FLAC")
    address = "data:audio/flac;base64," + base64.b64encode(file.getvalue()).decode()
    # the input is found by its label, the row that is hidden by the first ancestor that holds both
    row = (
        f"let row = document.querySelector('label[for=\"{input_id}\"]');"
        "while (row && !row.querySelector('input')) row = row.parentElement;"
    )
    report = (
        f"{{(event) => {{ {row} if (!row) return; const audio = event.currentTarget;"
        "const halted = audio.paused || audio.ended || audio.seeking || audio.readyState < 3;"
        f"const text = ['{token}', halted ? 'halted' : 'playing', audio.currentTime.toFixed(4), audio.playbackRate,"
        "performance.now().toFixed(0)].join(' ');"
        "const input = row.querySelector('input');"
        "Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(input, text);"
        "input.dispatchEvent(new Event('input', { bubbles: true })); }}"
    )
    hide = f"{{(audio) => {{ {row} if (audio && row) row.style.display = 'none'; }}}}"
    events = " ".join(f"{name}={report}" for name in _EVENTS)
    start = "autoPlay" if autoplay else ""
    return f'<audio controls {start} src="{address}" style={{{{ width: "100%" }}}} ref={hide} {events}></audio>'


@dataclass(frozen=True)
class ClockReport:
    """State of the audio element."""

    token: str
    """Of the voice that it plays."""
    playing: bool
    """Whether its time goes on."""
    position: float
    """Seconds of the audio."""
    rate: float
    """Seconds of the audio per second."""
    stamp: float
    """Milliseconds of the browser's own clock."""


def parse_report(text: str) -> ClockReport | None:
    """What an audio element has reported; None for any other text."""
    words = text.split()
    if len(words) != 5 or words[1] not in ("playing", "halted"):
        return None
    try:
        position, rate, stamp = map(float, words[2:])
    except ValueError:
        return None
    if not (math.isfinite(position) and position >= 0 and 0 < rate <= 16 and stamp >= 0):
        return None
    return ClockReport(words[0], words[1] == "playing", position, rate, stamp)


class AudioClock:
    """Second of the audio that is heard now, from reports that come a few times a second.

    Args:
        duration: of the audio, seconds.
    """

    def __init__(self, duration: float) -> None:
        self._duration = duration
        self._state: tuple[ClockReport, float] | None = None

    def report(self, report: ClockReport, now: float) -> None:
        """Take a report that arrived at `now`, seconds of a monotonic clock; one that was overtaken is left out."""
        if self._state is None or report.stamp >= self._state[0].stamp:
            self._state = report, now

    def is_playing(self, now: float) -> bool:
        """Whether the audio's time goes on."""
        state = self._state
        return state is not None and state[0].playing and now - state[1] < _LONGEST_GAP

    def position(self, now: float) -> float:
        """Second of the audio at `now`."""
        state = self._state
        if state is None:
            return 0.0
        report, then = state
        passed = min(now - then, _LONGEST_GAP) * report.rate if report.playing else 0.0
        return min(report.position + passed, self._duration)
