"""A trainer configuration whose schedules follow the length of the run, and which resumes a run by its own command."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from nerfstudio.engine.trainer import TrainerConfig
from rich.markup import escape

from nerfstudio_talking.engine.schedulers import DecaySchedulerConfig
from nerfstudio_talking.engine.trainer import TalkingTrainer
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.files import make_folder, new_file


@dataclass
class TalkingTrainerConfig(TrainerConfig):
    """nerfstudio's trainer configuration; `--max-num-iterations` scales the schedules and phases with the run."""

    _target: type = field(default_factory=lambda: TalkingTrainer)
    """Target class to instantiate."""
    lips_phase_fraction: float = 0.7
    """Share of the run after which every second step trains on patches of the mouth."""
    found_at: Path | None = field(default=None, init=False)
    """The run's folder, where its configuration was found in another one than it was trained in."""

    def setup(self, **kwargs: Any) -> Any:
        """Fill in what depends on the run's length: the end of the decays and the start of the lips phase."""
        for group in self.optimizers.values():
            scheduler = group["scheduler"]
            if isinstance(scheduler, DecaySchedulerConfig) and scheduler.max_steps is None:
                scheduler.max_steps = self.max_num_iterations
        datamanager = self.pipeline.datamanager
        if getattr(datamanager, "lips_phase_start", 0) is None:
            datamanager.lips_phase_start = int(self.lips_phase_fraction * self.max_num_iterations)  # type: ignore[attr-defined]
        return super().setup(**kwargs)

    def get_base_dir(self) -> Path:
        """The run's folder: where its configuration was found, if it was moved or copied there."""
        return self.found_at or super().get_base_dir()

    def save_config(self) -> None:
        """Write config.yml. Where the run's folder holds checkpoints of the same configuration, as after the same
        command with the same `--timestamp` was broken off, the run resumes. The dataset's options are settled first."""
        manager: Any = self.pipeline.datamanager
        if hasattr(manager.dataparser, "settle"):
            manager.dataparser.data = manager.data or manager.dataparser.data
            manager.dataparser.settle()
        path, folder = self.get_base_dir() / "config.yml", self.get_checkpoint_dir()
        fresh = self.load_dir is None and self.load_checkpoint is None
        begun = path.is_file() and any(folder.glob("step-*.ckpt"))
        if fresh and begun and path.read_text(encoding="utf-8") == yaml.dump(self):
            CONSOLE.print(f"The run in {escape(str(path.parent))} was broken off: it resumes.", soft_wrap=True)
            self.load_dir = folder
            return
        make_folder(path.parent)
        with new_file(path) as file:
            file.write(yaml.dump(self).encode("utf-8"))
