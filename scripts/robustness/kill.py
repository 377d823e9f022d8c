"""Kill commands at random moments, run them again, and compare what they wrote with an undisturbed run.

    python scripts/robustness/kill.py [--commands process train] [--moments 20] [--seed 0] [--json kills.json]

Each moment is a trial of its own: the command starts in a clean folder, is killed (SIGKILL) at a moment that is drawn
uniformly over the length of the undisturbed run, and is run again in the same way until it ends. Right after the kill
nothing may be there that looks whole and is not; in the end everything must be as after the undisturbed run: files,
weights and frames to the bit. Exit code 1 where a trial differs.

The commands run on the sample clip, 70 frames of 128x128, in processes that are forked from one that has done the
imports: a kill hits the work, not the start of the interpreter.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import tyro

from nerfstudio_talking.io.console import CONSOLE

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "data" / "sample"
IMPORTS = ("nerfstudio.scripts.train", "numba", "nerfstudio_talking.cli.main", "nerfstudio_talking.inference.driver")
STEPS, STEPS_PER_SAVE = 40, 5


@dataclass
class Command:
    """A command that is killed."""

    name: str
    """As on this script's command line."""
    arguments: Callable[[Path], list[str]]
    """Console script and arguments, for the folder that it writes to."""
    digests: Callable[[Path], dict[str, str]]
    """Digest of each finished thing in the folder. Whatever a killed command leaves must not be among these, or be
    equal."""


def run(arguments: list[str], folder: Path, kill_after: float | None = None) -> tuple[int, float]:
    """Run a console script in a forked process.

    Args:
        arguments: its name and arguments.
        folder: for its output, `log.txt`.
        kill_after: seconds after which it is killed; None lets it end.

    Returns:
        The exit code, negative where it was killed, and the seconds that it ran.
    """
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setsid()  # its own children die with it
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.argv = arguments
        code = 1
        try:
            (script,) = entry_points(group="console_scripts", name=arguments[0])
            script.load()()
            code = 0
        except SystemExit as end:
            code = 0 if end.code is None else end.code if isinstance(end.code, int) else 1
        except BaseException:  # noqa: BLE001 - a child must not go on as its parent
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    if kill_after is not None:
        while (
            time.monotonic() - start < kill_after
            and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        ):
            time.sleep(0.002)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), time.monotonic() - start


def in_child(function: Callable[[], Any]) -> Any:
    """What a function returns, computed in a forked process: it may start threads, and this process may not have any,
    since what they hold would be held for ever in a child."""
    begin, end = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(end, json.dumps(function()).encode())
        os._exit(0)
    os.close(end)
    with os.fdopen(begin) as result:
        text = result.read()
    os.waitpid(child, 0)
    return json.loads(text)


def tensor_digest(value: Any) -> str:
    """Digest of nested dictionaries and lists of tensors, arrays and plain values."""
    import torch

    digest = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, torch.Tensor):
            digest.update(str((part.dtype, tuple(part.shape))).encode())
            digest.update(part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(part, dict):
            for key in part:
                digest.update(repr(key).encode())
                add(part[key])
        elif isinstance(part, list | tuple):
            for item in part:
                add(item)
        else:
            digest.update(repr(part).encode())

    add(value)
    return digest.hexdigest()[:16]


def checkpoint_digest(path: Path) -> str:
    """Digest of the tensors of a file of torch.save."""
    import torch

    return tensor_digest(torch.load(path, weights_only=True))


def file_digest(path: Path) -> str:
    """Digest of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def dataset_digests(folder: Path) -> dict[str, str]:
    """A dataset's files, once track.json says that it is one."""
    data = folder / "data"
    if not (data / "track.json").is_file():
        return {}
    return {
        str(path.relative_to(data)): file_digest(path)
        for path in sorted(data.rglob("*"))
        if path.is_file() and ".work" not in path.parts
    }


def training_digests(folder: Path) -> dict[str, str]:
    """Weights, optimizers and schedules of every checkpoint of a run."""
    return {path.name: checkpoint_digest(path) for path in sorted(folder.rglob("step-*.ckpt"))}


def model_digests(folder: Path) -> dict[str, str]:
    """Motion models and bakes, by their tensors."""
    found = {path.name: checkpoint_digest(path) for path in sorted(folder.glob("*.pt"))}
    return found | {path.name: file_digest(path) for path in sorted(folder.glob("*.yml"))}


def video_digests(folder: Path) -> dict[str, str]:
    """Frames and audio of the videos of a folder."""
    from nerfstudio_talking.media.reading import read_audio, read_frames

    found = {}
    for path in sorted(folder.glob("*.mp4")):
        digest = hashlib.sha256()
        for frame in read_frames(path):
            digest.update(frame.tobytes())
        digest.update(read_audio(path).tobytes())
        found[path.name] = digest.hexdigest()[:16]
    return found


def train(method: str, data: Path, folder: Path, steps: int, *more: str) -> list[str]:
    """The command that trains a method for some steps."""
    return [
        "ns-train", method, "--data", str(data), "--output-dir", str(folder), "--experiment-name", "x", "--timestamp",
        "t", "--max-num-iterations", str(steps), "--steps-per-save", str(STEPS_PER_SAVE), "--machine.device-type",
        "cpu", "--vis", "tensorboard", *more,
    ]  # fmt: skip


def commands(inputs: Path) -> list[Command]:
    """The commands; `inputs` holds what the script has made for them."""
    data, voice = inputs / "data", inputs / "voice.wav"
    splats = inputs / "x" / "splat-portrait-small" / "t" / "config.yml"
    volume = inputs / "x" / "talking-portrait-small" / "t" / "config.yml"
    return [
        Command("process", lambda folder: process(folder / "data"), dataset_digests),
        Command(
            "train", lambda folder: train("splat-portrait-small", data, folder, STEPS, *_EVERY), training_digests
        ),
        Command(
            "drive",
            lambda folder: [
                "ns-talking", "drive", "--load-config", str(splats), "--audio", str(voice),
                "--output", str(folder / "spoken.mp4"),
            ],
            video_digests,
        ),
        Command(
            "motion",
            lambda folder: [
                "ns-talking", "motion", "train", "--data", str(data), "--output", str(folder / "motion.pt"),
                "--epochs", "30",
            ],
            model_digests,
        ),
        Command(
            "bake",
            lambda folder: [
                "ns-talking", "bake", "--load-config", str(volume), "--output", str(folder / "baked.pt"), "--max-loss",
                "10", "--cell", "4", "--views", "16", "--conditions", "64", "--rays-per-view", "2048",
            ],
            model_digests,
        ),
    ]  # fmt: skip


_EVERY = ("--save-only-latest-checkpoint", "False")


def process(output: Path) -> list[str]:
    """The command that makes the dataset."""
    video = str(SAMPLE / "sample.mp4")
    return ["ns-talking", "process", video, "--output", str(output), "--size", "128", "--frames", "0:70"]


def make_inputs(folder: Path, wanted: list[str]) -> None:
    """What the wanted commands read: a dataset, a voice, a splat portrait, a volume portrait."""
    folder.mkdir(parents=True, exist_ok=True)
    in_child(partial(write_voice, folder))
    jobs = [process(folder / "data")]
    if "drive" in wanted:
        jobs.append(train("splat-portrait-small", folder / "data", folder, STEPS))
    if "bake" in wanted:
        rays = ("--pipeline.datamanager.train-num-rays-per-batch", "512", "--pipeline.model.num-samples", "16")
        jobs.append(train("talking-portrait-small", folder / "data", folder, 30, *rays))
    for job in jobs:
        code, seconds = run(job, folder)
        assert code == 0, (job, (folder / "log.txt").read_text(encoding="utf-8")[-3000:])
        CONSOLE.print(f"made by {' '.join(job[:2])}: {seconds:.0f} s", markup=False, soft_wrap=True)


def write_voice(folder: Path) -> None:
    """Three seconds of another voice."""
    import numpy as np

    from nerfstudio_talking.media.reading import read_audio
    from nerfstudio_talking.media.writing import write_wav

    voice = read_audio(SAMPLE / "other_voice.flac")[: 3 * 16000]
    write_wav(folder / "voice.wav", np.ascontiguousarray(voice), 16000)


@dataclass
class Kill:
    """Kill commands at random moments and compare what they wrote."""

    commands: tuple[str, ...] = ("process", "train", "drive", "motion", "bake")
    """Which commands."""
    moments: int = 20
    """Number of kills of each command, each in a trial of its own."""
    seed: int = 0
    """Seed of the moments."""
    work: Path | None = None
    """The folder for all that is written; a temporary one where not given."""
    json: Path | None = None
    """The file for the figures."""

    def main(self) -> int:
        """Run all trials; returns the exit code."""
        for name in IMPORTS:
            import_module(name)
        with tempfile.TemporaryDirectory() as temporary:
            folder = (self.work or Path(temporary)).absolute()
            inputs = folder / "inputs"
            make_inputs(inputs, list(self.commands))
            results = {c.name: self._try(c, folder) for c in commands(inputs) if c.name in self.commands}
        if self.json is not None:
            self.json.write_text(json.dumps({"seed": self.seed, "results": results}, indent=1), encoding="utf-8")
        return 1 if any(result["different"] for result in results.values()) else 0

    def _try(self, command: Command, folder: Path) -> dict[str, Any]:
        reference = _clean(folder / "reference")
        code, _ = run(command.arguments(reference), reference)  # compiles kernels and fills the disk's cache
        reference = _clean(reference)
        code, seconds = run(command.arguments(reference), reference)
        assert code == 0, (reference / "log.txt").read_text(encoding="utf-8")[-3000:]
        wanted = in_child(partial(command.digests, reference))
        assert wanted, f"{command.name} has no result"
        draw = random.Random(f"{command.name} {self.seed}")
        hits, different = 0, []
        for number in range(self.moments):
            trial, moment = _clean(folder / "trial"), draw.uniform(0, seconds)
            arguments = command.arguments(trial)
            code, lasted = run(arguments, trial, moment)
            hits += code == -signal.SIGKILL
            left = in_child(partial(command.digests, trial))
            early = {name for name, digest in left.items() if wanted.get(name) != digest}
            code, _ = run(arguments, trial)
            found = in_child(partial(command.digests, trial))
            if early or code != 0 or found != wanted:
                names = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
                different.append({"moment": moment, "code": code, "early": sorted(early), "names": names[:10]})
                shutil.copytree(trial, folder / f"different-{command.name}-{number}", dirs_exist_ok=True)
            CONSOLE.print(
                f"{command.name} {number}: killed after {lasted:.1f} s of {seconds:.1f}, then {code}",
                markup=False,
                soft_wrap=True,
            )
        CONSOLE.print(
            f"{command.name}: {self.moments} trials, {hits} killed, {len(different)} different: {different}",
            markup=False,
            soft_wrap=True,
        )
        return {
            "seconds": seconds,
            "trials": self.moments,
            "killed": hits,
            "compared": len(wanted),
            "different": different,
        }


def _clean(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    sys.exit(tyro.cli(Kill, description=__doc__).main())
