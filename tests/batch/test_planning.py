"""Stages and their addresses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nerfstudio_talking.batch import load_jobs
from nerfstudio_talking.batch.input_files import sources_of
from nerfstudio_talking.batch.planning import dependents, make_plan
from nerfstudio_talking.batch.stages import FileOption, InputFile, Resources, Stage

TEXT = """\
videos: {anna: anna.mp4, ben: ben.mp4}
voices: {hello: hello.wav, again: again.wav}
portraits:
  splat: {method: splat-portrait-small}
  volume: {method: talking-portrait-small, videos: anna, bake: true}
drives: [{}]
scores: [{drives: "*/hello", options: {openface: [{file: a.csv}, {file: b.csv}]}}]
"""


def jobs_of(folder: Path, text: str = TEXT):
    path = folder / "jobs.yaml"
    path.write_text(text, encoding="utf-8")
    return load_jobs(path)


def fake_inputs(jobs, **changed: str) -> dict[str, InputFile]:
    """Files whose digests are their names."""
    return {
        source.url: InputFile(source.url, changed.get(Path(source.url).stem, Path(source.url).stem))
        for source in sources_of(jobs)
    }


def plan_of(folder: Path, text: str = TEXT, version: str = "1", **changed: str):
    jobs = jobs_of(folder, text)
    return make_plan(jobs, fake_inputs(jobs, **changed), version)


def test_all_stages_are_there_behind_what_they_need(tmp_path):
    plan = plan_of(tmp_path)
    kinds = [stage.kind for stage in plan.stages.values()]
    assert {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)} == {
        "process": 2, "train": 3, "bake": 1, "drive": 6, "score": 3,
    }  # fmt: skip
    seen: set[str] = set()
    for address, stage in plan.stages.items():
        assert address == stage.address and set(stage.needs.values()) <= seen
        seen.add(address)


def test_what_each_stage_reads(tmp_path):
    plan = plan_of(tmp_path)
    names = plan.names
    stage = {key: plan.stages[address] for key, address in names.items()}
    assert {role: file.url for role, file in stage["process", "ben"].files.items()} == {
        "video": str(tmp_path / "ben.mp4")
    }
    assert stage["train", "ben/splat"].needs == {"dataset": names["process", "ben"]}
    assert stage["train", "ben/splat"].method == "splat-portrait-small"
    assert stage["bake", "anna/volume"].needs == {
        "portrait": names["train", "anna/volume"],
        "dataset": names["process", "anna"],
    }
    baked, plain = stage["drive", "anna/volume/hello"], stage["drive", "ben/splat/again"]
    assert baked.needs["bake"] == names["bake", "anna/volume"] and "bake" not in plain.needs
    assert plain.needs == {"portrait": names["train", "ben/splat"], "dataset": names["process", "ben"]}
    assert plain.files["voice"].digest == "again"
    score = stage["score", "ben/splat/hello"]
    assert score.needs == {"rendered": names["drive", "ben/splat/hello"]} and score.files["gt"].digest == "ben"
    assert score.options["openface"] == (FileOption("option openface 0"), FileOption("option openface 1"))
    assert score.files["option openface 1"].digest == "b"


def changed_names(one, other) -> set[tuple[str, str]]:
    assert one.names.keys() == other.names.keys()
    return {key for key in one.names if one.names[key] != other.names[key]}


def test_an_input_changes_what_depends_on_it_and_nothing_else(tmp_path):
    plan = plan_of(tmp_path)
    assert changed_names(plan, plan_of(tmp_path, ben="other")) == {
        ("process", "ben"),
        ("train", "ben/splat"),
        ("drive", "ben/splat/hello"),
        ("drive", "ben/splat/again"),
        ("score", "ben/splat/hello"),
    }
    assert changed_names(plan, plan_of(tmp_path, again="other")) == {
        ("drive", f"{portrait}/again") for portrait in ("anna/splat", "ben/splat", "anna/volume")
    }
    assert {kind for kind, _ in changed_names(plan, plan_of(tmp_path, b="other"))} == {"score"}


def test_options_method_and_version_are_part_of_the_address(tmp_path):
    plan = plan_of(tmp_path)
    other = plan_of(tmp_path, TEXT + "options: {train: {seed: 1}}\n")
    assert {kind for kind, _ in changed_names(plan, other)} == {"train", "bake", "drive", "score"}
    other = plan_of(tmp_path, TEXT.replace("splat-portrait-small", "splat-portrait"))
    assert ("train", "anna/splat") in changed_names(plan, other)
    assert len(changed_names(plan, plan_of(tmp_path, version="2"))) == len(plan.names)


def test_resources_and_names_are_not(tmp_path):
    plan = plan_of(tmp_path)
    assert not changed_names(plan, plan_of(tmp_path, TEXT + "resources: {train: {gpus: 1}}\n"))
    renamed = plan_of(tmp_path, TEXT.replace("ben: ben", "clara: ben"))
    assert set(renamed.stages) == set(plan.stages)


def test_equal_work_is_done_once(tmp_path):
    plan = plan_of(tmp_path, "videos: {anna: anna.mp4, copy: copy.mp4}\n", copy="anna")
    assert len(plan) == 1 and plan.names["process", "anna"] == plan.names["process", "copy"]


def test_dependents(tmp_path):
    plan = plan_of(tmp_path)
    found = dependents(plan)
    drives = {plan.names["drive", f"ben/splat/{voice}"] for voice in ("hello", "again")}
    assert set(found[plan.names["train", "ben/splat"]]) == drives
    assert found[plan.names["score", "ben/splat/hello"]] == []


values = st.one_of(
    st.text(max_size=5), st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False)
)
stages = st.builds(
    Stage,
    kind=st.sampled_from(["process", "train"]),
    name=st.text(max_size=3),
    files=st.dictionaries(st.text(max_size=3), st.builds(InputFile, st.sampled_from(["a.mp4", "b.mov"]), st.text())),
    needs=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    options=st.dictionaries(st.text(max_size=3), values, max_size=3),
    method=st.text(max_size=3),
    package_version=st.text(max_size=3),
)


def essence(stage: Stage) -> tuple:
    """What determines the output, compared by Python itself; True, 1 and 1.0 are different options."""
    files = {role: (file.digest, file.suffix) for role, file in stage.files.items()}
    options = {name: repr(value) for name, value in stage.options.items()}
    return stage.kind, files, dict(stage.needs), options, stage.method, stage.package_version


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=100, deadline=None)
@given(stages, stages)
def test_addresses_are_equal_where_the_work_is(one, other):
    assert (one.address == other.address) == (essence(one) == essence(other))
    same = dataclasses.replace(one, name="other", resources=Resources(7), options=dict(reversed(one.options.items())))
    assert same.address == one.address
