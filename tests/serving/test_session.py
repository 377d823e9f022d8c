"""Sessions under a simulated clock: what is heard and seen when, whoever else speaks, however slow the machine."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.serving.click_portrait import DARK, ClickPortrait
from nerfstudio_talking.serving.registry import ServerFull, SessionRegistry
from nerfstudio_talking.serving.session import RENDER_AHEAD, Session, frame_audio_span
from nerfstudio_talking.serving.timeline import BLOCK, BLOCKS_PER_SECOND, RATE, SpeechEvent
from nerfstudio_talking.serving.worker import RenderWorker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Machine:
    """A worker whose frames take `cost` seconds each, and whose sessions are heard and seen as an output would."""

    def __init__(self, clock: Clock, cost: float = 0.0, pause: float = 0.005) -> None:
        self.clock, self.cost, self.pause, self.worker = clock, cost, pause, RenderWorker()
        self.sessions: list[Session] = []
        self.slots: dict[str, int] = {}
        self.seen: dict[str, list[tuple[int, float, int]]] = {}

    def add(self, session: Session) -> Session:
        render = session.speaker.render

        def slow_render() -> tuple[float, np.ndarray]:
            found = render()
            self.elapse(self.cost)
            return found

        session.speaker.render = slow_render  # type: ignore[method-assign]
        self.worker.add(session)
        self.sessions.append(session)
        self.slots[session.id], self.seen[session.id] = 0, []
        return session

    def run(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self.clock.now < end:
            if not self.worker.step() or not self.cost:
                self.elapse(self.pause)

    def elapse(self, seconds: float) -> None:
        """Let time pass; what is due meanwhile is shown, whatever the worker does."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now = min(self.clock.now + 0.01, end)
            for session in self.sessions:
                while self.slots[session.id] / session.fps <= session.position:
                    slot = self.slots[session.id]
                    time, frame = session.frame_at(slot / session.fps)
                    self.seen[session.id].append((slot, time, int(frame.max())))
                    session.note_video(slot, time)
                    self.slots[session.id] += 1


def click(seconds: float, at: float) -> np.ndarray:
    samples = np.zeros(round(seconds * RATE), np.int16)
    samples[round(at * RATE) : round(at * RATE) + 640] = 16000
    return samples


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_click_is_seen_in_the_frame_in_which_it_is_heard(clock):
    machine, session = Machine(clock), Session(ClickPortrait(), clock)
    machine.add(session)
    machine.run(1.0)
    session.speak(click(1.0, 0.2))
    pushed = session.position
    machine.run(2.0)
    bright = [slot for slot, _, value in machine.seen[session.id] if value > 200]
    heard = np.flatnonzero(session.timeline.samples(0, 150)) / RATE
    assert len(bright) in (1, 2)  # of 40 ms, aligned to blocks of 20
    assert bright[0] / 25 <= heard[0] < (bright[0] + 1) / 25
    assert heard[0] - 0.2 - pushed < 0.316 + RENDER_AHEAD + 0.05


def test_no_frame_appears_with_other_audio_whatever_stalls(clock):
    rng = np.random.default_rng(0)
    machine, session = Machine(clock, cost=0.02), Session(ClickPortrait(size=(2, 2)), clock)
    machine.add(session)
    for second in range(90):
        machine.cost = 0.02
        machine.run(second + 0.5 * rng.random() - session.position)
        machine.cost = rng.uniform(0.05, 0.6)  # one frame takes so long
        machine.run(0.03)
        machine.cost = 0.02
        machine.run(second + 1 - session.position)
    assert session.stats().skipped > 90
    first_shown: dict[float, int] = {}
    for slot, time, _ in machine.seen[session.id]:
        first_shown.setdefault(time, slot)
    late = np.array([slot / 25 - time for time, slot in first_shown.items() if time > 0])
    assert late.min() + 1e-6 >= 0.0 and late.max() < 0.04 + 1e-6
    assert len(late) > 90 * 15


@pytest.mark.parametrize(("cost", "fps"), [(0.07, 14), (0.3, 3)])
def test_a_machine_that_is_too_slow_loses_frames_and_no_audio(clock, cost, fps):
    machine, session = Machine(clock, cost=cost), Session(ClickPortrait(), clock)
    machine.add(session)
    machine.run(2.0)
    session.speak(np.full(RATE, 16000, np.int16))
    machine.run(2.0)
    stats = session.stats()
    assert stats.skipped > 3 * (25 - fps) and stats.repeated > 3 * (25 - fps)
    assert abs(stats.render_fps - fps) < 1.5
    heard = 2 + np.flatnonzero(session.timeline.samples(100, 190))[[0, -1]] / RATE
    assert heard[1] - heard[0] == pytest.approx(1.0, abs=1e-3)
    assert heard[0] - 2.0 < 0.316 + max(cost + 0.04, RENDER_AHEAD) + 0.05  # a slow machine listens further ahead
    bright = [slot / 25 for slot, _, value in machine.seen[session.id] if value > 200]
    assert -0.04 - 1e-6 <= bright[0] - heard[0] < cost + 0.05  # what is seen is heard; what is heard is seen soon
    assert -0.04 - 1e-6 <= bright[-1] - heard[1] < cost + 0.05


def test_an_interruption_is_heard_and_seen_within_200_ms(clock):
    machine, session = Machine(clock), Session(ClickPortrait(), clock)
    machine.add(session)
    session.speak(np.full(5 * RATE, 16000, np.int16))
    events: list[SpeechEvent] = []
    session.listen(events.append)
    machine.run(2.0)
    session.interrupt()
    cut = session.position
    machine.run(1.0)
    assert not session.timeline.samples(int(cut * BLOCKS_PER_SECOND) + 2, session.current_block).any()
    assert not session.is_speaking
    assert [event.kind for event in events] == ["start", "interrupted"]
    # frames that were rendered ahead are dropped; this portrait has no gate and hears the committed rest
    shown = [time for slot, time, _ in machine.seen[session.id] if cut < slot / 25 < cut + RENDER_AHEAD]
    assert all(time <= cut for time in shown)


def test_sessions_are_rendered_in_time_and_share_nothing(clock):
    portraits = [ClickPortrait(str(i), color) for i, color in enumerate([(255, 0, 0), (0, 255, 0)])]
    machine = Machine(clock, cost=0.008)
    sessions = [machine.add(Session(portraits[i % 2], clock)) for i in range(4)]
    for index, session in enumerate(sessions):
        session.speak(click(2.0, 0.2 * (index + 1)))
    machine.run(2.5)
    for index, session in enumerate(sessions):
        assert (session.frame_at(session.position)[1].reshape(-1, 3).argmax(axis=1) == index % 2).all()
        bright = [slot for slot, _, value in machine.seen[session.id] if value > 200]
        assert bright == [5 * (index + 1)]
        assert session.stats().skipped <= 2
    assert len({session.id for session in sessions}) == 4


def test_a_machine_that_is_too_slow_treats_sessions_alike(clock):
    machine = Machine(clock, cost=0.05)
    sessions = []
    for _ in range(3):
        sessions.append(machine.add(Session(ClickPortrait(), clock)))
        clock.now += 0.001
    machine.run(6.0)
    rendered = [session.stats().rendered for session in sessions]
    assert sum(rendered) > 110 and max(rendered) - min(rendered) <= 2


def test_the_poster_is_shown_before_the_first_frame(clock):
    session = Session(ClickPortrait(), clock)
    time, frame = session.frame_at(0.0)
    assert time < 0 and (frame == DARK).all()
    assert session.stats().first_frame_ms is None


def test_audio_of_a_frame_at_an_odd_rate():
    spans = [frame_audio_span(slot, 30000 / 1001) for slot in range(1000)]
    assert all(first[1] == second[0] for first, second in pairwise(spans))
    assert spans[999][1] == round(1000 * 1001 / 30000 * RATE)


def test_float_samples_are_converted_and_broken_ones_refused(clock):
    session = Session(ClickPortrait(), clock)
    session.speak(np.array([0.5, -2.0], np.float32))
    session.timeline.commit(1)
    np.testing.assert_array_equal(session.timeline.block(0)[:2], [16384, -32767])
    with pytest.raises(TalkingError, match="finite"):
        session.speak(np.full(4, np.nan, np.float32))


def test_a_session_that_fails_ends_alone(clock):
    machine = Machine(clock)
    broken, sound = (machine.add(Session(ClickPortrait(), clock)) for _ in range(2))

    def fail() -> None:
        raise RuntimeError("a broken portrait")

    broken.speaker.render = fail  # type: ignore[assignment]
    machine.run(0.5)
    assert broken.is_closed and broken.error == "a broken portrait"
    assert not sound.is_closed and sound.stats().rendered > 10


def test_the_registry_refuses_beyond_its_size_and_frees_what_is_closed(clock):
    registry = SessionRegistry([ClickPortrait("a"), ClickPortrait("b")], max_sessions=2, clock=clock)
    first, second = registry.open(), registry.open("b")
    assert (first.portrait.name, second.portrait.name) == ("a", "b")
    with pytest.raises(ServerFull, match="at most 2 sessions"):
        registry.open()
    with pytest.raises(TalkingError, match="a or b"):
        registry.open("c")
    closed = []
    registry.on_close(first, lambda: closed.append(first.id))
    registry.close(first)
    registry.close(first)
    assert closed == [first.id] and registry.find(first.id) is None
    assert registry.find(second.id) is second and registry.find(["x"]) is None
    assert registry.open().portrait.name == "a"
    assert (registry.num_opened, registry.num_refused) == (3, 1)


def test_a_session_that_failed_is_swept_away(clock):
    registry = SessionRegistry([ClickPortrait()], max_sessions=1, clock=clock)
    registry.open().is_closed = True
    registry.sweep()
    registry.open()


def test_head_motion_is_one_of_the_portraits(clock):
    session = Session(ClickPortrait(), clock)
    assert session.set_motion("still") and session.speaker.mode == "still"  # type: ignore[attr-defined]
    assert not session.set_motion("generated")


def test_capacity_is_that_of_the_registry(clock):
    session = SessionRegistry([ClickPortrait()], 1, capacity=0.5, clock=clock).open()
    with pytest.raises(TalkingError, match=r"at most 0\.5 s"):
        session.speak(np.zeros(RATE, np.int16))
    assert session.speak(np.zeros(25 * BLOCK, np.int16)) == 1
