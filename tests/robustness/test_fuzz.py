"""Some hundred damaged files of every kind: read, or refused in one message. scripts/robustness/fuzz.py runs more."""

from __future__ import annotations

import random
from pathlib import Path

import fuzz
import pytest

CASES = {"talking-data": 30, "ad-nerf-data": 30, "media": 40, "config": 40, "camera-path": 40, "features": 60}
CASES |= {"motion": 40, "rendered": 30}


@pytest.mark.parametrize("name", CASES)
def test_damaged_files_are_read_or_refused(name: str, tmp_path: Path, unchecked_shapes: None) -> None:
    """Cases that the script has not seen with its usual seed."""
    target = fuzz.TARGETS[name]
    good, work = fuzz.prepare(target, tmp_path)
    results = [fuzz.run_case(target, good, work, 1, number) for number in range(CASES[name])]
    odd = [result for result in results if result.outcome not in ("read", "refused")]
    assert not odd, f"{odd[0].outcome}: --targets {name} --seed 1 --only {odd[0].number}\n{odd[0].detail}"
    assert sum(result.outcome == "refused" for result in results) > len(results) // 10


def test_a_case_depends_on_its_number_alone(tmp_path: Path) -> None:
    target = fuzz.TARGETS["features"]
    good = tmp_path / "good"
    good.mkdir()
    target.make(good)
    contents = []
    for _ in range(2):
        fuzz.damage(target, good, tmp_path / "work", random.Random("7"))
        contents.append({path.name: path.read_bytes() for path in (tmp_path / "work").iterdir()})
    assert contents[0] == contents[1]
    assert any((good / name).read_bytes() != data for name, data in contents[0].items() if name != "chosen")


@pytest.mark.parametrize("fault", ["exception", "memory", "hang"])
def test_faults_are_found(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_: Path) -> None:
        if fault == "exception":
            raise KeyError("x")
        if fault == "memory":
            bytearray(2 * fuzz.MEMORY)
        while True:
            pass

    monkeypatch.setattr(fuzz, "SECONDS", 0.2)
    target = fuzz.Target("odd", lambda folder: (folder / "a.json").write_text("{}"), read)
    (tmp_path / "good").mkdir()
    target.make(tmp_path / "good")
    result = fuzz.run_case(target, tmp_path / "good", tmp_path / "work", 0, 0)
    expected = {"exception": "KeyError", "memory": "MemoryError", "hang": "TooLong"}[fault]
    assert result.outcome.startswith(expected)
