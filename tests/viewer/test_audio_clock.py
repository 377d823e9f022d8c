"""The audio's clock as the browser reports it."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import soundfile

from nerfstudio_talking.viewer.audio_clock import AudioClock, ClockReport, audio_element, parse_report


def test_the_element_contains_the_audio():
    samples = np.sin(np.arange(1000) / 7).astype(np.float32)
    text = audio_element(samples, 16000, "an-id", "v1")
    found = re.search(r'src="data:audio/flac;base64,([^"]+)"', text)
    assert found is not None
    read, rate = soundfile.read(io.BytesIO(base64.b64decode(found[1])))
    assert rate == 16000
    np.testing.assert_allclose(read, samples, atol=2**-15)
    assert "autoPlay" not in text
    assert "autoPlay" in audio_element(samples, 16000, "an-id", "v1", autoplay=True)


@pytest.mark.parametrize(
    "text",
    ["", "v1 playing", "v1 playing x 1 2", "v1 playing -1 1 2", "v1 playing nan 1 2", "v1 playing 1 0 2", "a b c d e"],
)
def test_other_text_is_no_report(text):
    assert parse_report(text) is None


def test_a_report():
    assert parse_report("v3 playing 1.2500 1.5 7001") == ClockReport("v3", True, 1.25, 1.5, 7001.0)
    halted = parse_report("v3 halted 0.0000 1 9")
    assert halted is not None and not halted.playing


def test_the_clock_goes_on_between_reports():
    clock = AudioClock(10.0)
    assert (clock.position(5.0), clock.is_playing(5.0)) == (0.0, False)
    clock.report(ClockReport("v1", True, 2.0, 1.0, 100.0), 50.0)
    assert clock.position(50.25) == pytest.approx(2.25)
    assert clock.is_playing(50.25)
    clock.report(ClockReport("v1", True, 2.2, 2.0, 300.0), 50.3)  # played at double speed
    assert clock.position(50.5) == pytest.approx(2.6)
    clock.report(ClockReport("v1", False, 3.0, 1.0, 400.0), 51.0)
    assert (clock.position(60.0), clock.is_playing(51.1)) == (3.0, False)


def test_an_overtaken_report_is_left_out():
    clock = AudioClock(10.0)
    clock.report(ClockReport("v1", False, 3.0, 1.0, 400.0), 51.0)
    clock.report(ClockReport("v1", True, 2.9, 1.0, 399.0), 51.01)
    assert not clock.is_playing(51.02)


def test_the_clock_halts_where_the_browser_falls_silent():
    clock = AudioClock(10.0)
    clock.report(ClockReport("v1", True, 2.0, 1.0, 1.0), 50.0)
    assert clock.position(55.0) == pytest.approx(3.0)
    assert not clock.is_playing(55.0)


def test_the_clock_ends_with_the_audio():
    clock = AudioClock(2.1)
    clock.report(ClockReport("v1", True, 2.0, 1.0, 1.0), 50.0)
    assert clock.position(50.5) == 2.1
