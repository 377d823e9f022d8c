"""nerfstudio's trainer with atomic checkpoints."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from nerfstudio.engine.trainer import Trainer

from nerfstudio_talking.io.errors import TalkingError


class TalkingTrainer(Trainer):
    """Writes checkpoints atomically: into a temporary folder, then renamed, so that a full disk or a kill leaves no
    half-written one."""

    def save_checkpoint(self, step: int) -> None:
        """Save the pipeline, the optimizers and their schedules.

        Raises:
            TalkingError: the checkpoint could not be written.
        """
        folder = self.checkpoint_dir
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".checkpoint-", dir=folder.parent) as part:
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
