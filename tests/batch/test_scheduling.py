"""The state machine of a run, on random graphs with random failures."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from nerfstudio_talking.batch import Plan, RetryPolicy, Stage
from nerfstudio_talking.batch.scheduling import STATES, Schedule
from nerfstudio_talking.batch.stages import KINDS


def plan_of(needs: list[list[int]]) -> Plan:
    """Stages that need the ones of the given numbers, all lower than their own."""
    stages: list[Stage] = []
    for number, below in enumerate(needs):
        kind = KINDS[number % len(KINDS)]
        stages.append(Stage(kind, str(number), needs={str(i): stages[i].address for i in below}))
    return Plan(
        {stage.address: stage for stage in stages}, {(stage.kind, stage.name): stage.address for stage in stages}
    )


def chain() -> tuple[Plan, list[str]]:
    plan = plan_of([[], [0], [1]])
    return plan, list(plan.stages)


def states(schedule: Schedule) -> list[str]:
    return [progress.state for progress in schedule.progress.values()]


def test_a_chain_runs_in_order():
    plan, (a, b, c) = chain()
    schedule = Schedule(plan)
    assert schedule.start("train", 0) is None and schedule.start("process", 0) == a
    assert schedule.start("process", 0) is None and states(schedule) == ["running", "waiting", "waiting"]
    schedule.succeed(a)
    assert schedule.start("train", 0) == b
    schedule.succeed(b)
    assert not schedule.over and schedule.start("bake", 0) == c
    schedule.succeed(c)
    assert schedule.over and states(schedule) == ["done"] * 3


def test_a_failure_is_tried_again_later_and_then_set_aside():
    plan, (a, _, _) = chain()
    schedule = Schedule(plan, policy=RetryPolicy(retries=2, delay=10))
    assert schedule.start("process", 0) == a and not schedule.fail(a, "first", now=0)
    assert schedule.start("process", 9) is None and schedule.start("process", 10) == a
    assert not schedule.fail(a, "second", now=11)
    assert schedule.start("process", 30) is None and schedule.start("process", 31) == a
    assert schedule.fail(a, "third", now=32)
    assert states(schedule) == ["failed", "skipped", "skipped"] and schedule.over
    messages = [progress.message for progress in schedule.progress.values()]
    assert messages == ["third", "process 0 failed", "process 0 failed"]


def test_a_final_failure_is_not_tried_again():
    plan, (a, _, _) = chain()
    schedule = Schedule(plan)
    schedule.start("process", 0)
    assert schedule.fail(a, "wrong option", 0, final=True) and schedule.over


def test_lost_workers_are_counted_apart():
    plan, (a, _, _) = chain()
    schedule = Schedule(plan, policy=RetryPolicy(retries=0, worker_deaths=3))
    for _ in range(3):
        assert schedule.start("process", 5) == a and not schedule.lose(a, "lost", 5)
    assert schedule.start("process", 5) == a and schedule.lose(a, "lost", 5)
    assert states(schedule)[0] == "failed" and schedule.progress[a].deaths == 4


def test_what_exists_is_not_run_and_what_was_set_aside_is_left():
    plan, (a, b, c) = chain()
    schedule = Schedule(plan, finished={a})
    assert states(schedule) == ["cached", "waiting", "waiting"] and schedule.start("train", 0) == b
    assert Schedule(plan, finished={a, b, c}).over
    schedule = Schedule(plan, finished={a}, set_aside={b: "before"})
    assert states(schedule) == ["cached", "failed", "skipped"] and schedule.progress[b].message == "before"
    # an output below may be gone that nothing needs any more
    assert Schedule(plan, finished={b, c}).start("process", 0) == a


graphs = st.integers(1, 14).flatmap(
    lambda count: st.tuples(
        *(st.lists(st.integers(0, i - 1), unique=True, max_size=3) if i else st.just([]) for i in range(count))
    )
)


@settings(max_examples=150, deadline=None)
@given(graph=graphs, finished=st.sets(st.integers(0, 13)), data=st.data())
def test_any_run_ends_and_respects_the_order(graph, finished, data):
    plan = plan_of(list(graph))
    addresses = list(plan.stages)
    policy = RetryPolicy(retries=data.draw(st.integers(0, 2)), worker_deaths=2, delay=1)
    there = {addresses[i] for i in finished if i < len(addresses)}
    schedule = Schedule(plan, there, policy)
    tries, now, running = dict.fromkeys(addresses, 0), 0.0, []
    for _ in range(1000):
        if schedule.over:
            break
        now += 1
        for kind in KINDS:
            while (address := schedule.start(kind, now)) is not None:
                assert address not in there and address not in running
                for need in plan.stages[address].needs.values():
                    assert schedule.progress[need].state in ("done", "cached")
                tries[address] += 1
                running.append(address)
        if not running:
            continue
        address = running.pop(data.draw(st.integers(0, len(running) - 1)))
        outcome = data.draw(st.sampled_from(["done", "done", "failed", "lost"]))
        if outcome == "done":
            schedule.succeed(address)
        elif outcome == "failed":
            schedule.fail(address, "failed", now)
        else:
            schedule.lose(address, "lost", now)
    assert schedule.over and not running
    for address, stage in plan.stages.items():
        progress = schedule.progress[address]
        below = {schedule.progress[need].state for need in stage.needs.values()}
        assert tries[address] == (progress.failures + progress.deaths + (progress.state == "done"))
        assert progress.failures <= policy.retries + 1 and progress.deaths <= policy.worker_deaths + 1
        if progress.state == "skipped":
            assert below & {"failed", "skipped"}
        elif progress.state == "cached":
            assert address in there
        else:
            assert not below & {"failed", "skipped"}
    for kind in KINDS:
        for state in STATES:
            found = [a for a, s in plan.stages.items() if s.kind == kind and schedule.progress[a].state == state]
            assert schedule.count(kind, state) == len(found)
