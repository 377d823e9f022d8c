"""Methods at full size on this machine, each trained for the same time, as one table.

    python scripts/benchmarks/bench_methods.py DATA... [--methods splat-portrait talking-portrait] [--seconds 60]

A first short run measures the time of a step, from which the number of steps follows; then the method is trained from
the start with its schedules ending there. Held-out frames are scored, and timed as `ns-eval` renders them.
"""

from __future__ import annotations

import copy
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from machine import machine, versions
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation
from nerfstudio.engine.trainer import Trainer, TrainerConfig
from nerfstudio.plugins.registry import discover_methods
from nerfstudio.scripts.train import _set_random_seed
from nerfstudio.utils import writer
from rich.markdown import Markdown

from nerfstudio_talking.dataparsers.portrait import sequence_outputs
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.models.portrait_model import PortraitModel

_PACKAGES = ("nerfstudio", "gsplat", "torch", "numpy")
_COLUMNS = ("psnr", "video_psnr_mouth", "ssim")


@dataclass
class BenchMethods:
    """Train methods, score them and time their frames."""

    data: tyro.conf.Positional[tuple[Path, ...]]
    """Dataset folders."""
    methods: tuple[str, ...] = ("splat-portrait", "talking-portrait", "ssp-nerf", "er-nerf")
    """Names of the methods."""
    seconds: float = 60.0
    """Training time of each method and dataset, seconds."""
    device: Literal["cpu", "cuda"] = "cuda" if torch.cuda.is_available() else "cpu"
    """Device to train and render on."""
    probe: int = 60
    """Number of steps of the first run, whose second half is timed."""
    seed: int = 42
    """Seed of everything random."""
    output: Path | None = None
    """Markdown file to write; the table is shown either way."""

    def main(self) -> None:
        """Run and write the table."""
        known = discover_methods()[0]
        lines = [
            "| dataset | method | steps | ms per step | PSNR | mouth | SSIM | frames/s | GPU memory, GB |",
            "|---|---|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for data in self.data:
            for name in self.methods:
                lines.append(self._row(known[name], data))
                text = "\n".join([self._conditions(), "", *lines, ""])
                if self.output is not None:  # after every row: a run may be cut short
                    self.output.write_text(text, encoding="utf-8")
        CONSOLE.print(Markdown(text))

    def _conditions(self) -> str:
        return (
            f"Machine: {machine()}; {self.device}. Versions: {versions(*_PACKAGES)}. Seed {self.seed}; "
            f"{self.seconds:.0f} s of training each."
        )

    def _row(self, method: TrainerConfig, data: Path) -> str:
        with tempfile.TemporaryDirectory() as folder:
            times = self._train(method, data, self.probe, Path(folder))[1]
            step = (times[-1] - times[len(times) // 2]) / (len(times) - 1 - len(times) // 2)
            steps = max(min(int(self.seconds / step), method.max_num_iterations), self.probe)
            if self.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            trainer, times = self._train(method, data, steps, Path(folder))
            memory = torch.cuda.max_memory_allocated() / 1e9 if self.device == "cuda" else 0.0
            pipeline = trainer.pipeline
            pipeline.eval()
            loader = pipeline.datamanager.fixed_indices_eval_dataloader
            scores = pipeline.get_average_image_metrics(loader, "scores")
            pipeline.eval()  # scoring leaves it in training mode
            model = pipeline.model
            assert isinstance(model, PortraitModel)
            values = " | ".join(
                f"{float(scores[name]):.{4 if name == 'ssim' else 2}f}" if name in scores else "" for name in _COLUMNS
            )
            track = model.track
            return (
                f"| {data.name} {track.width}x{track.height} | {method.method_name} | {steps} "
                f"| {1000 * (times[-1] - times[0]) / (len(times) - 1):.1f} | {values} | {_rendering_rate(model):.1f} "
                f"| {memory:.1f} |"
            )

    def _train(self, method: TrainerConfig, data: Path, steps: int, folder: Path) -> tuple[Trainer, list[float]]:
        """Train from the start.

        Returns:
            The trainer and the time after each step, seconds.
        """
        config = copy.deepcopy(method)
        config.data = config.pipeline.datamanager.data = data
        config.output_dir, config.vis, config.experiment_name = folder, "tensorboard", data.name
        config.machine.device_type, config.machine.seed = self.device, self.seed
        config.max_num_iterations = config.steps_per_save = steps
        config.steps_per_eval_batch = config.steps_per_eval_image = config.steps_per_eval_all_images = 10**9
        config.set_timestamp()
        writer.EVENT_WRITERS.clear()  # those of the last training
        _set_random_seed(self.seed)
        trainer = config.setup(local_rank=0, world_size=1)
        trainer.setup()
        times: list[float] = []

        def record(step: int) -> None:
            if self.device == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter())

        trainer.callbacks.append(TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN_ITERATION], record))
        trainer.train()
        return trainer, times


@torch.no_grad()
def _rendering_rate(model: PortraitModel, frames: int = 60) -> float:
    """Frames per second on the held-out frames, images on the CPU as uint8."""
    cameras = sequence_outputs(model.sequence, "val", model.scene_box).cameras.to(model.device)

    def render(index: int) -> torch.Tensor:
        rgb = model.get_outputs_for_camera(cameras[index % len(cameras) : index % len(cameras) + 1])["rgb"]
        return (rgb * 255).round().to(torch.uint8).cpu()

    for index in range(5):
        render(index)
    start = time.perf_counter()
    for index in range(frames):
        render(index)
    return frames / (time.perf_counter() - start)


if __name__ == "__main__":
    tyro.cli(BenchMethods, description=__doc__).main()
