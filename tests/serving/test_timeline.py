"""The audio of a session: committed in time, cut off at once, and what the mouth shows of that."""

from __future__ import annotations

import numpy as np
import pytest

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.serving.timeline import BLOCK, RATE, SpeechEvent, Timeline


def ramp(count: int, first: int = 1) -> np.ndarray:
    return np.arange(first, first + count).astype(np.int16)


def loud(seconds: float) -> np.ndarray:
    return np.tile([8000, -8000], round(seconds * RATE / 2)).astype(np.int16)


def test_audio_is_played_once_in_order_with_silence_around():
    timeline = Timeline()
    timeline.commit(2)
    timeline.push(ramp(500))
    timeline.push(ramp(100, 501), is_last=True)
    timeline.commit(5)
    expected = np.concatenate([np.zeros(2 * BLOCK), np.arange(1, 601), np.zeros(3 * BLOCK - 600)])
    np.testing.assert_array_equal(timeline.samples(0, 5), expected)


def test_a_block_that_nobody_committed_is_not_waited_for():
    timeline = Timeline()
    timeline.push(ramp(3 * BLOCK), is_last=True)
    np.testing.assert_array_equal(timeline.block(1), ramp(BLOCK, BLOCK + 1))
    assert timeline.num_committed == 2


def test_samples_that_are_forgotten_or_to_come_are_silence():
    timeline = Timeline()
    timeline.push(ramp(BLOCK))
    timeline.commit(400)
    assert not timeline.samples(0, 1).any()
    assert timeline.samples(399, 402).shape == (3 * BLOCK,)


def test_the_queue_is_bounded_and_refuses_as_a_whole():
    timeline = Timeline(capacity=1.0)
    timeline.push(np.ones(15000, np.int16))
    with pytest.raises(TalkingError, match=r"at most 1 s"):
        timeline.push(np.ones(1001, np.int16))
    assert timeline.queued_seconds == 15000 / RATE
    timeline.push(np.ones(1000, np.int16))
    timeline.commit(50)
    assert timeline.queued_seconds == 0


def test_a_microphone_never_lags_by_more_than_its_capacity():
    timeline = Timeline(live_capacity=0.04)
    timeline.push_live(ramp(5 * BLOCK))
    timeline.commit(3)
    expected = np.concatenate([ramp(2 * BLOCK, 3 * BLOCK + 1), np.zeros(BLOCK)])
    np.testing.assert_array_equal(timeline.samples(0, 3), expected)


def test_a_segment_goes_before_the_microphone():
    timeline = Timeline()
    timeline.push(np.full(BLOCK, 5, np.int16), is_last=True)
    timeline.push_live(np.full(BLOCK, 7, np.int16))
    timeline.commit(2)
    assert [timeline.block(0)[0], timeline.block(1)[0]] == [5, 7]


def test_events_come_when_they_are_heard():
    timeline = Timeline()
    timeline.commit(3)
    segment = timeline.push(np.ones(2 * BLOCK, np.int16), is_last=True)
    other = timeline.push(np.ones(BLOCK, np.int16), is_last=True)
    assert timeline.is_speaking
    timeline.commit(10)
    assert timeline.due_events(2) == []
    assert timeline.due_events(3) == [SpeechEvent("start", segment, 3)]
    assert timeline.due_events(5) == [SpeechEvent("end", segment, 5), SpeechEvent("start", other, 5)]
    assert timeline.is_speaking
    assert timeline.due_events(9) == [SpeechEvent("end", other, 6)]
    assert not timeline.is_speaking


def test_an_open_segment_without_audio_ends_after_a_second():
    timeline = Timeline()
    timeline.push(np.ones(BLOCK, np.int16))
    timeline.commit(40)
    assert [event.kind for event in timeline.due_events(39)] == ["start"]
    timeline.commit(60)
    assert [event.kind for event in timeline.due_events(60)] == ["end"]
    assert timeline.push(np.ones(BLOCK, np.int16)) == 2


def test_an_interruption_silences_what_is_committed_and_what_waits():
    timeline = Timeline()
    timeline.push(np.full(20 * BLOCK, 1000, np.int16), is_last=True)
    waiting = timeline.push(np.full(BLOCK, 1000, np.int16))
    timeline.commit(10)
    timeline.due_events(2)
    timeline.interrupt(3)
    assert timeline.queued_seconds == 0
    fade = timeline.block(4)
    assert fade[0] == 1000 and fade[-1] == 0 and (np.diff(fade.astype(int)) <= 0).all()
    assert not timeline.samples(5, 30).any()
    assert timeline.due_events(3) == [SpeechEvent("interrupted", 1, 3), SpeechEvent("interrupted", waiting, 3)]
    assert not timeline.is_speaking
    timeline.push(np.full(BLOCK, 9, np.int16), is_last=True)
    timeline.commit(40)
    assert [event.kind for event in timeline.due_events(40)] == ["start", "end"]


def test_audio_can_be_heard_for_a_moment_after_it():
    timeline = Timeline()
    timeline.commit(20)
    timeline.push(loud(0.1), is_last=True)
    timeline.commit(60)
    assert [timeline.is_audible(index) for index in (5, 19, 20, 38, 39)] == [False, False, True, True, False]


def test_an_interruption_closes_the_mouth_until_the_audio_that_was_cut_off_is_over():
    timeline = Timeline()
    timeline.push(loud(2.0))
    timeline.commit(60)
    assert timeline.mouth_limit(1.0) == 1
    timeline.interrupt(50)
    times = (0.98, 1.0, 1.04, 1.08, 1.2, 1.32, 1.36, 1.4, 3.0)
    limits = [timeline.mouth_limit(time) for time in times]
    np.testing.assert_allclose(limits, [1, 1, 0.5, 0, 0, 0, 0.5, 1, 1], atol=1e-9)
    timeline.interrupt(52)  # a second one does not open it
    assert timeline.mouth_limit(1.06) == pytest.approx(0.25)
    assert timeline.mouth_limit(1.1) == 0
