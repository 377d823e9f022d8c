"""The command line of each stage, and what it leaves."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from nerfstudio_talking.batch.stages import FileOption, Kind, OptionValue, Stage

CommandBuilder = Callable[[Stage, Mapping[str, Path], Path], list[str]]
"""From a stage, the local paths of its inputs by role, and the folder for its output, to the arguments of a program.
It must be importable on the machines of a cluster."""

VIDEO_NAME, BAKE_NAME, SCORES_NAME = "speaking.mp4", "baked.pt", "scores.json"

_SET_BY_BATCH: Mapping[Kind, frozenset[str]] = {
    "process": frozenset({"video", "output", "overwrite"}),
    "train": frozenset(
        {"data", "output-dir", "experiment-name", "timestamp", "vis", "load-dir", "load-checkpoint", "load-config"}
        | {"method-name", "machine.device-type", "project-name", "relative-model-dir"}
    ),
    "bake": frozenset({"load-config", "output", "data"}),
    "drive": frozenset({"load-config", "audio", "output", "data", "device", "baked"}),
    "score": frozenset({"rendered", "gt", "json", "report"}),
}
_NOT_IN_A_BATCH: Mapping[Kind, frozenset[str]] = {
    "process": frozenset({"parsing"}),
    "train": frozenset(),
    "bake": frozenset(),
    "drive": frozenset({"refine"}),
    "score": frozenset(),
}
_FILES: Mapping[Kind, frozenset[str]] = {
    "process": frozenset({"face-landmarker"}),
    "train": frozenset(),
    "bake": frozenset(),
    "drive": frozenset({"audio-features", "motion"}),
    "score": frozenset({"audio", "face-landmarker", "openface", "syncnet", "lpips-weights", "fid-weights"}),
}


def check_option(kind: Kind, name: str, value: object) -> tuple[str, str] | None:
    """What is wrong with an option in a job file: what is expected and a hint; None if nothing is.

    Args:
        kind: the kind of stage.
        name: the option without the dashes in front.
        value: its value; text and numbers are themselves, files are other objects.
    """
    if name.startswith("-"):
        return "an option without dashes in front", "Write size: 256 for --size 256."
    if name in _SET_BY_BATCH[kind]:
        return "an option that the batch does not set itself", "Leave it out."
    if name in _NOT_IN_A_BATCH[kind]:
        return "an option that a batch has", "It takes a folder or another portrait; use the command alone."
    if name in _FILES[kind] and isinstance(value, str):
        return f"{name}: {{file: PATH}}", "Only so is the file brought to the machine that needs it."
    return None


def build_command(stage: Stage, inputs: Mapping[str, Path], output: Path) -> list[str]:
    """The command of a stage: our own and nerfstudio's, in the interpreter of this process.

    Args:
        stage: the stage.
        inputs: local paths of its inputs: files as they are, outputs of stages as folders.
        output: the folder to write the output into; it exists and is empty.
    """
    options = option_arguments(stage.options, inputs)
    device = "cuda" if stage.resources.gpus > 0 else "cpu"
    talking = [sys.executable, "-m", "nerfstudio_talking.cli.main"]
    if stage.kind == "process":
        return [*talking, "process", str(inputs["video"]), "--output", str(output), *options]
    if stage.kind == "train":
        # fmt: off
        return [
            sys.executable, "-m", "nerfstudio.scripts.train", stage.method, "--data", str(inputs["dataset"]),
            "--output-dir", str(output), "--experiment-name", "portrait", "--timestamp", "run", "--vis", "tensorboard",
            "--machine.device-type", device, *options,
        ]
        # fmt: on
    if stage.kind == "score":
        scores = str(output / SCORES_NAME)
        return [*talking, "score", str(inputs["rendered"] / VIDEO_NAME), str(inputs["gt"]), "--json", scores, *options]
    portrait = ["--load-config", str(find_config(inputs["portrait"])), "--data", str(inputs["dataset"])]
    if stage.kind == "bake":
        return [*talking, "bake", *portrait, "--output", str(output / BAKE_NAME), *options]
    baked = str(inputs["bake"] / BAKE_NAME) if "bake" in inputs else "none"
    # fmt: off
    return [
        *talking, "drive", *portrait, "--audio", str(inputs["voice"]), "--output", str(output / VIDEO_NAME),
        "--device", device, "--baked", baked, *options,
    ]
    # fmt: on


def find_config(folder: Path) -> Path:
    """The config.yml of the one training run in a folder.

    Raises:
        FileNotFoundError: there is none, or more than one.
    """
    configs = sorted(folder.glob("*/*/*/config.yml"))
    if len(configs) != 1:
        raise FileNotFoundError(f"{folder}: {len(configs)} training runs where one is expected")
    return configs[0]


def option_arguments(options: Mapping[str, OptionValue], inputs: Mapping[str, Path]) -> list[str]:
    """Options as arguments, in the order of their names: `size: 256` becomes `--size 256`."""
    arguments: list[str] = []
    for name, value in sorted(options.items()):
        arguments.append(f"--{name}")
        for item in value if isinstance(value, tuple) else (value,):
            arguments.append(str(inputs[item.role]) if isinstance(item, FileOption) else str(item))
    return arguments


EXPECTED: Mapping[Kind, str] = {
    "process": "track.json",
    "train": "*/*/*/config.yml",
    "bake": BAKE_NAME,
    "drive": VIDEO_NAME,
    "score": SCORES_NAME,
}
"""A pattern of a file that a finished output holds; a command that ends well without it has failed all the same."""
