"""Frame rates from presentation times: what a container declares is often an average, or the unit of its clock."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av.container
import numpy as np
from av.video.stream import VideoStream
from jaxtyping import Float64

from nerfstudio_talking.media.writing import exact_rate

_DEFAULT_RATE = Fraction(25)
_NOMINAL = (5, 6, 8, 10, 12, Fraction(25, 2), 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120, 144, 240)
_NOMINAL_RATES = sorted(
    [Fraction(n) for n in _NOMINAL] + [Fraction(n) * 1000 / 1001 for n in (24, 30, 48, 60, 120, 240)]
)


@dataclass(frozen=True)
class FrameClock:
    """When the frames of a video stream are shown."""

    rate: Fraction
    """Nominal frames per second: one over the step between frames, not counting frames that were dropped."""
    timestamps: Float64[np.ndarray, " frames"] | None
    """Presentation times in seconds from 0, where known."""
    duration: float
    """Seconds from the first frame to the end of the last."""

    def frame_duration(self, seconds: Fraction | float) -> Fraction:
        """Length of a frame, given what the container says of it: some say 1 ms, or nothing."""
        return Fraction(seconds) if seconds >= Fraction(1, 2) / self.rate else 1 / self.rate


def read_clock(container: av.container.InputContainer, stream: VideoStream) -> FrameClock:
    """Read the presentation times of a stream, without decoding."""
    packets = [
        (packet.pts, packet.duration or 0)
        for packet in container.demux(stream)
        if packet.pts is not None and not packet.is_discard
    ]
    unit = stream.time_base or Fraction(1, 1000)
    declared = stream.average_rate or stream.guessed_rate
    if not packets:
        duration = float((stream.duration or 0) * unit) or float(container.duration or 0) / 1e6
        return FrameClock(exact_rate(declared or _DEFAULT_RATE), None, duration)
    packets.sort()
    timestamps = np.array([float((pts - packets[0][0]) * unit) for pts, _ in packets])
    clock = FrameClock(nominal_rate(timestamps, declared, float(unit)), timestamps, 0.0)
    last = clock.frame_duration(packets[-1][1] * unit)
    return FrameClock(clock.rate, timestamps, float(timestamps[-1]) + float(last))


def nominal_rate(
    timestamps: Float64[np.ndarray, " frames"], declared: Fraction | None = None, unit: float = 1e-3
) -> Fraction:
    """Frames per second from presentation times.

    The declared rate is taken where the times bear it out. Where frames were dropped, the step that all steps are
    multiples of counts.

    Args:
        timestamps: presentation times in seconds, ascending.
        declared: what the container says, which may be wrong.
        unit: seconds of a tick of the container's clock.
    """
    steps = np.diff(timestamps)
    steps = steps[steps > 0]
    if len(steps) == 0:
        return exact_rate(declared) if declared and declared <= _NOMINAL_RATES[-1] else _DEFAULT_RATE
    median, mean = float(np.median(steps)), float(steps.mean())
    if declared:
        expected = float(1 / declared)
        near = abs(median - expected) <= 0.05 * expected + unit
        if near and (abs(mean - expected) <= 0.02 * expected or len(steps) < 5):
            return exact_rate(declared)
    step = _common_step(steps, unit)
    rate = 1.0 / (median if step is None else step)
    nominal = min(_NOMINAL_RATES, key=lambda value: abs(float(value) / rate - 1))
    return nominal if abs(float(nominal) / rate - 1) < 0.005 else exact_rate(rate)


def _common_step(steps: np.ndarray, unit: float) -> float | None:
    """The step that four in five steps are multiples of; None where there is none."""
    step = float(np.quantile(steps, 0.1, method="lower"))
    for _ in range(3):
        multiple = np.maximum(np.round(steps / step), 1)
        fits = np.abs(steps - multiple * step) <= 0.25 * step + unit
        if fits.mean() < 0.8:
            return None
        step = float(steps[fits].sum() / multiple[fits].sum())
    return step


def is_variable(timestamps: Float64[np.ndarray, " frames"]) -> bool:
    """Whether over 1 % of the steps between frames differ from the median step by over a quarter of it."""
    steps = np.diff(timestamps)
    if len(steps) < 2:
        return False
    return bool((np.abs(steps - np.median(steps)) > 0.25 * np.median(steps)).mean() > 0.01)
