"""What an ablation study runs: its configuration file, and one record per finished run."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import write_json

RESULT = "result.json"


@dataclass(frozen=True)
class Variant:
    """A method with options, under a name."""

    method: str
    """A name of `ns-train`."""
    options: tuple[str, ...] = ()
    """As `ns-train` takes them."""


@dataclass
class Study:
    """Clips, seeds and variants; every variant gets the same steps and rays."""

    clips: dict[str, Path]
    """Data folders by the clip's name."""
    seeds: tuple[int, ...]
    steps: int
    rays: int
    """Per step."""
    variants: dict[str, Variant]
    groups: dict[str, tuple[str, ...]]
    """Tables: names of variants by title."""
    ours: str
    baseline: str
    output: Path
    report: Path
    options: tuple[str, ...] = ()
    """Of every run."""


def load_study(path: Path) -> Study:
    """Read a configuration file.

    Raises:
        TalkingError: it is missing, is no YAML, lacks a key or has one too many, or names a variant that it lacks.
    """

    def fault(expected: str, found: object) -> TalkingError:
        return TalkingError(
            path, expected=expected, found=str(found), hint="See scripts/benchmarks/ablation.yaml for a whole one."
        )

    if not path.is_file():
        raise fault("a configuration file", "no such file")
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise fault("YAML", error) from error
    wanted = set(Study.__dataclass_fields__)
    keys = set(record) if isinstance(record, dict) else set()
    if not wanted - {"options"} <= keys <= wanted:
        raise fault(f"the keys {', '.join(sorted(wanted))}", ", ".join(sorted(map(str, keys))) or "none")
    variants = {}
    for name, value in record["variants"].items():
        if not isinstance(value, dict) or "method" not in value or not value.keys() <= {"method", "options"}:
            raise fault(f"a method, and perhaps options, of the variant '{name}'", value)
        variants[name] = Variant(value["method"], tuple(map(str, value.get("options", ()))))
    groups = {title: tuple(names) for title, names in record["groups"].items()}
    for name in [record["ours"], record["baseline"], *(name for names in groups.values() for name in names)]:
        if name not in variants:
            raise fault(f"one of the variants {', '.join(variants)}", name)
    slugs = [slug(name) for name in variants]
    if len(set(slugs)) < len(slugs):
        raise fault("names of variants that differ in letters and digits", ", ".join(variants))
    return Study(
        clips={name: Path(folder).expanduser() for name, folder in record["clips"].items()},
        seeds=tuple(int(seed) for seed in record["seeds"]),
        steps=int(record["steps"]),
        rays=int(record["rays"]),
        variants=variants,
        groups=groups,
        ours=record["ours"],
        baseline=record["baseline"],
        output=Path(record["output"]).expanduser(),
        report=Path(record["report"]).expanduser(),
        options=tuple(map(str, record.get("options", ()))),
    )


def slug(name: str) -> str:
    """A name as a folder's."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


@dataclass(frozen=True)
class Run:
    """One training and its evaluation."""

    sequence: str
    data: Path
    variant_name: str
    variant: Variant
    seed: int
    steps: int
    rays: int
    options: tuple[str, ...]
    output: Path

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.sequence}, {self.variant_name}, seed {self.seed}"

    @property
    def stamp(self) -> str:
        """What nerfstudio calls the timestamp."""
        return f"{slug(self.variant_name)}-seed{self.seed}"

    @property
    def folder(self) -> Path:
        """Where nerfstudio puts the run."""
        return self.output / self.sequence / self.variant.method / self.stamp

    def settings(self) -> dict[str, Any]:
        """What decides about the outcome. A record with other settings is of another run.

        Raises:
            TalkingError: the data folder holds no dataset.
        """
        track = self.data / "track.json"
        if not track.is_file():
            raise TalkingError(
                self.data,
                expected=f"the dataset of the clip '{self.sequence}'",
                found="no track.json",
                hint="Process the clip with ns-talking process, or name its folder: --clips NAME FOLDER.",
            )
        record = json.loads(track.read_text(encoding="utf-8"))
        return {
            "sequence": record["digest"],
            "size": [record["width"], record["height"]],
            "method": self.variant.method,
            "options": [*self.options, *self.variant.options],
            "seed": self.seed,
            "steps": self.steps,
            "rays": self.rays,
        }

    def train_command(self, program: Path) -> list[str]:
        """`ns-train` with the settings; no time is spent on evaluation in between."""
        never = str(self.steps + 1)
        return [
            str(program),
            *(self.variant.method, "--data", str(self.data)),
            *("--output-dir", str(self.output), "--experiment-name", self.sequence, "--timestamp", self.stamp),
            *("--max-num-iterations", str(self.steps), "--steps-per-save", str(self.steps), "--vis", "tensorboard"),
            *("--steps-per-eval-batch", never, "--steps-per-eval-image", never),
            *("--machine.seed", str(self.seed), "--pipeline.datamanager.pixel-sampler.seed", str(self.seed)),
            *("--pipeline.datamanager.train-num-rays-per-batch", str(self.rays)),
            *self.options,
            *self.variant.options,
        ]

    def load(self, name: str) -> dict[str, Any] | None:
        """A record of this run, or None where there is none with its settings."""
        path = self.folder / name
        if not path.is_file():
            return None
        record = json.loads(path.read_text(encoding="utf-8"))
        return record if record.get("settings") == self.settings() else None

    def save(self, name: str, record: dict[str, Any]) -> None:
        """Write a record of this run, atomically."""
        write_json({"settings": self.settings(), **record}, self.folder / name)


@dataclass
class Results:
    """Records of the finished runs, by variant, clip and seed."""

    records: dict[tuple[str, str, int], dict[str, Any]] = field(default_factory=dict)

    def values(self, variant: str, sequence: str, score: str) -> list[float]:
        """A score, or `train_seconds` and the like, in the order of the seeds; runs that lack it are left out."""
        found = []
        for (name, at, _), record in sorted(self.records.items()):
            if (name, at) == (variant, sequence):
                value = record["scores"].get(score, record.get(score))
                found += [] if value is None else [float(value)]
        return found

    def differences(self, variant: str, reference: str, sequence: str, score: str) -> list[float]:
        """A score less the reference's of the same seed, where both have it: what both owe to a seed falls out."""
        found = []
        for (name, at, seed), record in sorted(self.records.items()):
            other = self.records.get((reference, sequence, seed))
            if (name, at) == (variant, sequence) and other is not None:
                pair = record["scores"].get(score), other["scores"].get(score)
                found += [] if None in pair else [float(pair[0]) - float(pair[1])]
        return found


def runs_of(study: Study) -> list[Run]:
    """All runs, seed by seed: the first round over all variants is done before the second begins."""
    return [
        Run(sequence, data, name, variant, seed, study.steps, study.rays, study.options, study.output)
        for seed in study.seeds
        for sequence, data in study.clips.items()
        for name, variant in study.variants.items()
    ]


def finished(runs: list[Run]) -> Results:
    """What has been recorded of these runs."""
    results = Results()
    for run in runs:
        record = run.load(RESULT)
        if record is not None:
            results.records[run.variant_name, run.sequence, run.seed] = record
    return results
