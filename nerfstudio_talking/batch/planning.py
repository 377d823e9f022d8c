"""From a job file to stages and the order between them. Knows nothing of machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nerfstudio_talking.batch.job_file import Jobs, Options, Recipe, Source, Value
from nerfstudio_talking.batch.stages import FileOption, InputFile, Kind, OptionValue, Scalar, Stage
from nerfstudio_talking.io.version import __version__


@dataclass(frozen=True)
class Plan:
    """All stages of a job file."""

    stages: Mapping[str, Stage]
    """By address; a stage stands behind those that it needs."""
    names: Mapping[tuple[Kind, str], str]
    """The address of each kind and name. Several names may share one: equal work is done once."""

    def __len__(self) -> int:
        return len(self.stages)


def make_plan(jobs: Jobs, inputs: Mapping[str, InputFile], package_version: str = __version__) -> Plan:
    """The stages of a job file.

    Args:
        jobs: the job file.
        inputs: its input files by URL.
        package_version: version of this package, part of every address.
    """
    return _Planner(jobs, inputs, package_version).plan()


class _Planner:
    def __init__(self, jobs: Jobs, inputs: Mapping[str, InputFile], package_version: str) -> None:
        self.jobs, self.inputs, self.version = jobs, inputs, package_version
        self.stages: dict[str, Stage] = {}
        self.names: dict[tuple[Kind, str], str] = {}

    def plan(self) -> Plan:
        for video in self.jobs.videos.values():
            self.add("process", video.name, video.options, {"video": self.inputs[video.source.url]})
        recipes = {f"{video}/{recipe.name}": recipe for recipe in self.jobs.recipes.values() for video in recipe.videos}
        for name, recipe in recipes.items():
            self.add_portrait(name, recipe)
        for speech in self.jobs.speeches:
            needs = {"portrait": self.names["train", speech.portrait], "dataset": self.dataset(speech.portrait)}
            if recipes[speech.portrait].bake is not None:
                needs["bake"] = self.names["bake", speech.portrait]
            files = {"voice": self.inputs[self.jobs.voices[speech.voice].url]}
            self.add("drive", speech.name, speech.options, files, needs)
        for comparison in self.jobs.comparisons:
            needs = {"rendered": self.names["drive", comparison.speech]}
            files = {"gt": self.inputs[comparison.gt.url]}
            self.add("score", comparison.speech, comparison.options, files, needs)
        return Plan(self.stages, self.names)

    def add_portrait(self, name: str, recipe: Recipe) -> None:
        dataset = {"dataset": self.dataset(name)}
        self.add("train", name, recipe.options, needs=dataset, method=recipe.method)
        if recipe.bake is not None:
            self.add("bake", name, recipe.bake, needs={"portrait": self.names["train", name], **dataset})

    def dataset(self, portrait: str) -> str:
        return self.names["process", portrait.split("/")[0]]

    def add(
        self,
        kind: Kind,
        name: str,
        options: Options,
        files: Mapping[str, InputFile] | None = None,
        needs: Mapping[str, str] | None = None,
        method: str = "",
    ) -> None:
        values, option_files = self.resolve(options)
        stage = Stage(
            kind,
            name,
            {**(files or {}), **option_files},
            needs or {},
            values,
            method,
            self.jobs.resources[kind],
            self.version,
        )
        self.stages.setdefault(stage.address, stage)
        self.names[kind, name] = stage.address

    def resolve(self, options: Options) -> tuple[dict[str, OptionValue], dict[str, InputFile]]:
        """Options whose files are inputs of the stage."""
        files: dict[str, InputFile] = {}

        def one(name: str, number: int, value: Scalar | Source) -> Scalar | FileOption:
            if not isinstance(value, Source):
                return value
            role = f"option {name} {number}"
            files[role] = self.inputs[value.url]
            return FileOption(role)

        def resolved(name: str, value: Value) -> OptionValue:
            if isinstance(value, tuple):
                return tuple(one(name, i, item) for i, item in enumerate(value))
            return one(name, 0, value)

        return {name: resolved(name, value) for name, value in options.items()}, files


def dependents(plan: Plan) -> dict[str, list[str]]:
    """Addresses of the stages that read each stage's output."""
    found: dict[str, list[str]] = {address: [] for address in plan.stages}
    for address, stage in plan.stages.items():
        for need in set(stage.needs.values()):
            found[need].append(address)
    return found
