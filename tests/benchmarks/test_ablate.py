"""The ablation study: its configuration, which runs it starts, and its tables against values by hand."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from ablate import Ablate
from ablation_runs import Programs, count_parameters, train_and_score
from ablation_study import RESULT, Results, finished, load_study, runs_of
from ablation_tables import (
    Spread,
    difference_table,
    gain,
    gains_table,
    group_table,
    replace_section,
    spread,
    update_page,
    write_gain,
    write_section,
)
from helpers.builders import write_talking_dataset
from helpers.paths import ROOT

from nerfstudio_talking.io.errors import TalkingError

SCRIPTS = ROOT / "scripts" / "benchmarks"

STUDY = """
output: {folder}/runs
report: {folder}/benchmarks.md
clips: {{one: {folder}/data}}
seeds: [1, 2]
steps: 4
rays: 64
options: [--machine.device-type, cpu]
ours: a
baseline: "b, changed"
variants:
  a: {{method: talking-portrait-small}}
  "b, changed": {{method: er-nerf-small, options: [--pipeline.model.num-samples, 8]}}
groups:
  Both: [a, "b, changed"]
"""


@pytest.fixture
def study(tmp_path):
    write_talking_dataset(tmp_path / "data")
    path = tmp_path / "study.yaml"
    path.write_text(STUDY.format(folder=tmp_path))
    return load_study(path)


def test_the_configuration_that_is_delivered():
    study = load_study(SCRIPTS / "ablation.yaml")
    runs = runs_of(study)
    assert len(runs) == len(study.variants) * len(study.clips) * len(study.seeds)
    assert len({run.folder for run in runs}) == len(runs)
    assert {(run.steps, run.rays) for run in runs} == {(study.steps, study.rays)}
    assert {name for names in study.groups.values() for name in names} == set(study.variants)


def test_its_options_are_read_by_ns_train():
    import tyro
    from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion

    study = load_study(SCRIPTS / "ablation.yaml")
    found = {}
    for run in runs_of(study)[: len(study.variants)]:
        config: Any = tyro.cli(AnnotatedBaseConfigUnion, args=run.train_command(Path("ns-train"))[1:])
        assert (config.machine.seed, config.pipeline.datamanager.pixel_sampler.seed) == (run.seed, run.seed)
        assert config.get_base_dir() == run.folder
        assert config.max_num_iterations == study.steps
        found[run.variant_name] = config.pipeline
    assert found["region module, network (ER-NeRF's)"].model.region_module == "mlp"
    assert found["region module, none (concatenation)"].model.region_module == "concat"
    assert found["torso, deformable grid (ER-NeRF's)"].model.torso == "deformable_grid"
    assert found["audio, a free code (ER-NeRF's)"].model.audio_condition == "code"
    assert found["uniform sampling"].datamanager.pixel_sampler.uniform
    assert not found["no deformation"].model.deformation
    parsing = [name for name, pipeline in found.items() if pipeline.model.parsing_branch]
    assert parsing == ["head with parsing branch", "ssp-nerf", "uniform sampling", "no deformation"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (("steps: 4", "stepz: 4"), "stepz"),
        (("ours: a", "ours: c"), "found c"),
        (("Both: [a,", "Both: [z,"), "found z"),
        (("method: er-nerf-small,", "methods: er-nerf-small,"), "b, changed"),
        (("seeds: [1, 2]", "seeds: [1, 2"), "YAML"),
        (("variants:", "variants:\n  A: {{method: er-nerf}}"), "letters and digits"),
    ],
)
def test_a_wrong_configuration_is_reported(tmp_path, change, word):
    path = tmp_path / "study.yaml"
    path.write_text(STUDY.replace(*change).format(folder=tmp_path))
    with pytest.raises(TalkingError, match=word):
        load_study(path)


def test_missing_data_and_unknown_names_are_reported(study, tmp_path):
    study.clips["one"] = tmp_path / "nowhere"
    with pytest.raises(TalkingError, match="nowhere"):
        runs_of(study)[0].settings()
    with pytest.raises(TalkingError, match="Bot"):
        Ablate(only=("Bot",)).chosen(study)
    assert Ablate(only=("Both",)).chosen(study) == {"a", "b, changed"}
    assert Ablate(only=("a",)).chosen(study) == {"a"}


def _record(**scores: float) -> dict:
    return {
        "train_seconds": 90.0,
        "train_cpu_seconds": 120.0,
        "parameters": 1_500_000,
        "scores": scores,
        "left_out": {"lpips": "no weights"},
        "machine": "a machine",
        "versions": "1",
    }


def _save(run, record: dict) -> None:
    run.folder.mkdir(parents=True, exist_ok=True)
    run.save(RESULT, record)


def test_only_a_record_with_the_same_settings_counts(study):
    runs = runs_of(study)
    assert [run.load(RESULT) for run in runs] == [None] * 4
    _save(runs[0], _record(psnr=30.0))
    assert [run.variant_name for run in runs if run.load(RESULT) is None] == ["b, changed", "a", "b, changed"]
    assert finished(runs).values("a", "one", "psnr") == [30.0]
    study.steps = 5
    assert runs_of(study)[0].load(RESULT) is None
    study.steps = 4
    assert runs_of(study)[0].load(RESULT) is not None
    # another recording under the same name
    record = json.loads((study.clips["one"] / "track.json").read_text())
    (study.clips["one"] / "track.json").write_text(json.dumps({**record, "digest": "other"}))
    assert runs_of(study)[0].load(RESULT) is None


_EVALUATED = {
    "psnr": 31.0,
    "psnr_std": 0.5,
    "fps": 2.0,
    "video_lmd": 0.4,
    "video_gt_torso_jitter": 1.0,
    "frames/000020/psnr": 30.0,
}
"""What ns-eval writes."""


def _fake_runs(monkeypatch, fail_at: str | None = None) -> list[str]:
    """Programs that write what ns-train and ns-eval would; the names of those that were started."""
    started = []

    def run(self, command, log, on_line):
        name, options = Path(command[0]).name, dict(pairwise(command))
        started.append(name)
        if name == fail_at:
            raise TalkingError(name, expected="exit status 0", found="1", hint="Try again.")
        if name == "ns-train":
            models = log.parent / "nerfstudio_models"
            models.mkdir()
            torch.save({"optimizers": {}}, models / "step-000000003.ckpt")
            on_line("3 (75.00%)   1 ms")
            return 60.0, 90.0
        Path(options["--output-path"]).write_text(json.dumps({"results": _EVALUATED}))
        on_line("Without lpips: no weights\n")
        return 5.0, 6.0

    monkeypatch.setattr(Programs, "run", run)
    return started


def test_what_was_killed_runs_again_and_what_was_trained_is_only_scored(study, monkeypatch):
    run = runs_of(study)[0]
    run.folder.mkdir(parents=True)
    (run.folder / "half").touch()
    steps: list[int] = []
    started = _fake_runs(monkeypatch, fail_at="ns-eval")
    with pytest.raises(TalkingError):
        train_and_score(run, Programs(), steps.append)
    assert started == ["ns-train", "ns-eval"]
    assert not (run.folder / "half").exists()
    assert run.load(RESULT) is None
    started = _fake_runs(monkeypatch)
    train_and_score(run, Programs(), steps.append)
    assert started == ["ns-eval"]
    record = run.load(RESULT)
    assert record is not None
    assert record["scores"] == {"psnr": 31.0, "lmd": 0.4, "gt_torso_jitter": 1.0}
    assert record["left_out"] == {"lpips": "no weights"}
    assert (record["train_seconds"], record["train_cpu_seconds"], record["evaluate_seconds"]) == (60.0, 90.0, 5.0)
    assert steps == [3, 4, 4]


def test_the_study_runs_what_is_left_and_fails_if_one_does(study, tmp_path, monkeypatch):
    _save(runs_of(study)[0], _record(psnr=30.0))
    started = _fake_runs(monkeypatch, fail_at="ns-eval")
    program = Ablate(tmp_path / "study.yaml")
    with pytest.raises(TalkingError, match="3 of 3 runs"):
        program.main()
    assert started == ["ns-train", "ns-eval"] * 3
    started = _fake_runs(monkeypatch)
    program.main()
    assert started == ["ns-eval"] * 3
    started.clear()
    program.main()
    assert started == []
    assert "4 of 4 runs" in (tmp_path / "benchmarks.md").read_text()


def test_runs_at_a_time_share_the_CPUs(study, tmp_path, monkeypatch):
    together = threading.Barrier(2, timeout=60)  # broken, and the runs with it, unless two of them meet
    _fake_runs(monkeypatch)
    alone = Programs.run
    seen = []

    def run(self, command, log, on_line):
        seen.append(self.threads)
        together.wait()
        return alone(self, command, log, on_line)

    monkeypatch.setattr(Programs, "run", run)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    Ablate(tmp_path / "study.yaml", jobs=2).main()
    assert seen == [3] * 8
    assert "3 threads per run" in (tmp_path / "benchmarks.md").read_text()


def test_a_program_is_given_its_threads_and_can_be_stopped(tmp_path):
    lines: list[str] = []
    programs = Programs(threads=3)
    show = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['NUMBA_NUM_THREADS'], flush=True)"
    programs.run([sys.executable, "-c", show], tmp_path / "log", lines.append)
    assert lines == ["3 3\n"]
    sleep = [sys.executable, "-c", "import time; print('on', flush=True); time.sleep(600)"]
    with pytest.raises(TalkingError, match="found -15"):
        programs.run(sleep, tmp_path / "log", lambda _: programs.stop())


def test_a_program_that_fails_is_reported(tmp_path):
    lines: list[str] = []
    command = [sys.executable, "-c", "print('10 (5.00%)'); raise SystemExit(3)"]
    with pytest.raises(TalkingError, match="found 3"):
        Programs().run(command, tmp_path / "log", lines.append)
    assert lines == ["10 (5.00%)\n"]
    assert "10 (5.00%)" in (tmp_path / "log").read_text()
    wall, cpu = Programs().run([sys.executable, "-c", "sum(range(3_000_000))"], tmp_path / "log", lines.append)
    assert wall > 0
    assert cpu > 0.01


def test_parameters_are_those_that_learned(tmp_path):
    layer, frozen = torch.nn.Linear(3, 2), torch.nn.Linear(5, 5)
    optimiser = torch.optim.Adam([*layer.parameters(), *frozen.parameters()])
    layer(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    torch.save({"optimizers": {"networks": optimiser.state_dict()}}, tmp_path / "x.ckpt")
    assert count_parameters(tmp_path / "x.ckpt") == 3 * 2 + 2


def test_spread_by_hand():
    assert spread([30.0, 31.0, 32.0]) == Spread(31.0, 1.0, 3)
    alone = spread([30.0])
    assert (alone.mean, alone.count) == (30.0, 1)
    assert math.isnan(alone.std)


def test_gain_by_hand():
    # 2.7, 3 and 3.3 over 30: a tenth, and 0.3 is a hundredth
    better = gain([2.7, 3.0, 3.3], Spread(30.0, 5.0, 3), True)
    assert better.percent == pytest.approx(10.0)
    assert better.spread == pytest.approx(1.0)
    assert better.real
    assert gain([-2.0, -2.0], Spread(4.0, 0.0, 2), False).percent == pytest.approx(50.0)
    assert gain([1.0, 1.0], Spread(4.0, 0.1, 2), False).percent == pytest.approx(-25.0)
    assert write_gain(better) == "+10.00 % (spread 1.00 %)"
    assert "no gain" in write_gain(gain([-0.3, 0.5], Spread(30.0, 0.4, 2), True))
    assert "one seed" in write_gain(gain([0.1], Spread(30.0, math.nan, 1), True))


@pytest.fixture
def results(study) -> Results:
    table = {
        ("a", 1): _record(psnr=33.0, lmd=2.0, torso_jitter=1.1, gt_torso_jitter=1.0),
        ("a", 2): _record(psnr=35.0, lmd=2.2, torso_jitter=0.7, gt_torso_jitter=1.0),
        ("b, changed", 1): _record(psnr=32.0, lmd=2.1, torso_jitter=0.5, gt_torso_jitter=1.0),
        ("b, changed", 2): _record(psnr=32.0, lmd=2.1, torso_jitter=0.5, gt_torso_jitter=1.0),
    }
    for run in runs_of(study):
        _save(run, table[run.variant_name, run.seed])
    return finished(runs_of(study))


def test_table_by_hand(results):
    header, _, gt, ours, baseline = group_table(results, "one", ("a", "b, changed"))
    assert "PSNR (dB)" in header
    assert "LPIPS" not in header
    assert gt == "| *ground truth* |  |  | 1.00 |  |  |  |"
    # 33 and 35: 34, and the root of 2
    assert ours == "| a | 34.00 ± 1.41 | 2.100 ± 0.141 | 0.90 ± 0.28 | 1.50 | 1.5 ± 0.0 / 2.0 ± 0.0 | 2 |"
    assert baseline.startswith("| b, changed | 32.00 ± 0.00 | 2.100 ± 0.000 | 0.50 ± 0.00 |")


def test_differences_by_hand(results):
    header, _, other = difference_table(results, "one", ("a", "b, changed"))
    assert header.startswith("| difference to a (paired by seed) | PSNR (dB)")
    # 32 - 33 and 32 - 35; 2.1 - 2.0 and 2.1 - 2.2
    assert other == "| b, changed | -2.00 ± 1.41 | +0.000 ± 0.141 (n.s.) | -0.40 ± 0.28 |"
    assert difference_table(results, "one", ("a",)) == []


def test_gains_by_hand(results, study):
    lines = {line.split("|")[1].strip(): line for line in gains_table(results, study)}
    assert "+10.15 %" in lines["PSNR (dB)"]
    # 1 and 3 over 32: a sixteenth, and the root of 2 of 32
    assert "+6.25 % (spread 4.42 %)" in lines["PSNR (dB)"]
    assert "+1.09 %" in lines["LMD (px)"]
    assert "no gain: within the spread" in lines["LMD (px)"]
    assert "+12.12 %" in lines["LPIPS"]
    assert "not measured" in lines["LPIPS"]
    assert "torso jitter" not in lines  # neither more nor less of it is better


def test_the_page_keeps_its_other_sections(results, study, tmp_path):
    path = tmp_path / "page.md"
    path.write_text("# Benchmarks\n\n<!-- speed: begin -->\nfast\n<!-- speed: end -->\n")
    text = write_section(results, study)
    for _ in range(2):
        update_page(path, "ablation", text)
    page = path.read_text()
    assert page.count("<!-- ablation: begin -->") == 1
    assert "fast" in page
    assert "4 of 4 runs" in page
    assert "lpips: no weights" in page
    after = replace_section(page + "\nlast words\n", "ablation", "new")
    assert "4 of 4 runs" not in after
    assert after.endswith("<!-- ablation: end -->\n\nlast words\n")
    assert replace_section("", "x", "y") == "# Benchmarks\n\n<!-- x: begin -->\ny\n<!-- x: end -->\n"


def test_a_group_is_left_out_that_shows_nothing_new(results, study):
    study.groups = {"First": ["a"], "Again": ["a", "not run"], "Both": ["a", "b, changed"]}
    text = write_section(results, study)
    assert "### First: one" in text
    assert "### Again: one" not in text
    assert "### Both: one" in text


def test_bad_input_ends_with_one_message(tmp_path):
    result = subprocess.run(
        [sys.executable, str(SCRIPTS / "ablate.py"), str(tmp_path / "none.yaml")],
        capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert result.returncode == 1
    assert "none.yaml" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
