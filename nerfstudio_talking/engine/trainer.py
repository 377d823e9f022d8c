"""nerfstudio's trainer with atomic checkpoints, whose resumed runs end where they say and as they would have."""

from __future__ import annotations

import errno
import pickle
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from nerfstudio.engine.trainer import Trainer
from nerfstudio.utils import comms

from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import cannot_write, make_folder, writing

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Errors of a disk that takes no more."""


class TalkingTrainer(Trainer):
    """Writes checkpoints atomically: into a temporary folder, then renamed, so that a full disk or a kill leaves no
    half-written one.

    `max_num_iterations` is the length of the run, whatever step it is resumed from. Every step's random numbers depend
    on seed, step and process alone, so that a run that was broken off and resumed has the losses of one that was not.
    """

    def train(self) -> None:
        """Train up to `max_num_iterations` steps in all; nothing is done where a resumed run has them already."""
        total = self.config.max_num_iterations
        left = total - self._start_step
        if left <= 0:
            CONSOLE.print(
                f"[yellow]The run has its {total} steps already (step {self._start_step - 1} is loaded): nothing is "
                "trained. A larger --max-num-iterations goes on.",
                soft_wrap=True,
            )
            return
        # nerfstudio takes the number for that of steps still to come
        self.config.max_num_iterations = left
        try:
            super().train()
        except OSError as error:  # of TensorBoard's files, say
            if error.errno not in _FULL:
                raise
            raise cannot_write(self.base_dir, error) from error
        finally:
            self.config.max_num_iterations = total

    def train_iteration(self, step: int) -> Any:
        """A training step, under random numbers of its own."""
        words = np.random.SeedSequence((self.config.machine.seed, step, comms.get_rank())).generate_state(3)
        random.seed(int(words[0]))
        np.random.seed(int(words[1]))
        torch.manual_seed(int(words[2]))
        return super().train_iteration(step)

    def _load_checkpoint(self) -> None:
        """Load the checkpoint that the options name; `load_dir` may be the run's folder too.

        Raises:
            TalkingError: there is no such checkpoint, or it is damaged.
        """
        config = self.config
        if config.load_dir is not None:
            config.load_dir = folder_of_checkpoints(config.load_dir, config.load_step)
        elif config.load_checkpoint is not None and not config.load_checkpoint.is_file():
            hint = "Give a file step-*.ckpt, or --load-dir with the folder of them."
            raise TalkingError(config.load_checkpoint, expected="a checkpoint", found="no such file", hint=hint)
        try:
            super()._load_checkpoint()
        except (pickle.UnpicklingError, EOFError, OSError, KeyError) as error:
            raise TalkingError(
                config.load_dir or config.load_checkpoint,
                expected="a readable checkpoint",
                found=(str(error).strip() or type(error).__name__).splitlines()[0],
                hint="Resume from another one: --load-step N.",
            ) from error

    def save_checkpoint(self, step: int) -> None:
        """Save the pipeline, the optimizers and their schedules.

        Raises:
            TalkingError: the checkpoint could not be written.
        """
        folder = self.checkpoint_dir
        make_folder(folder)
        with writing(folder), TemporaryDirectory(prefix=".checkpoint-", dir=folder.parent) as part:
            self.checkpoint_dir = Path(part)
            try:
                super().save_checkpoint(step)
            except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as a RuntimeError
                raise TalkingError(
                    folder,
                    expected="room for a checkpoint",
                    found=str(error).split("\n")[0],
                    hint="Free some space, then resume from the last one with `--load-dir`.",
                ) from error
            finally:
                self.checkpoint_dir = folder
            saved = [path.name for path in Path(part).glob("*.ckpt")]
            for name in saved:
                (Path(part) / name).replace(folder / name)
        # only the main process of several saves
        if saved and self.config.save_only_latest_checkpoint:
            for old in folder.glob("*.ckpt"):
                if old.name not in saved:
                    old.unlink()


def folder_of_checkpoints(folder: Path, step: int | None = None) -> Path:
    """The folder that holds `step-*.ckpt`: this one, or `nerfstudio_models` in it where a run's folder is given.

    Args:
        folder: as of `--load-dir`.
        step: the step that is wanted; any where None.

    Raises:
        TalkingError: there is none.
    """
    name = "step-*.ckpt" if step is None else f"step-{step:09d}.ckpt"
    for candidate in (folder, folder / "nerfstudio_models"):
        if any(candidate.glob(name)):
            return candidate
    found = "no such folder" if not folder.is_dir() else f"no {name} in it"
    raise TalkingError(
        folder,
        expected="a folder of checkpoints",
        found=found,
        hint="Give a run's folder, or the nerfstudio_models in it, to --load-dir.",
    )
