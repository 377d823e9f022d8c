"""Training and rendering of a small portrait of the sample clip, in this process and against nerfstudio's nerfacto."""

from __future__ import annotations

import copy
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from bench_kernels import Row, alternating, best_time
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.models.nerfacto import NerfactoModelConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipeline

from nerfstudio_talking.data.cached_datamanager import CachedDataManager
from nerfstudio_talking.dataparsers.portrait import sequence_outputs
from nerfstudio_talking.dataset_io.track import load_track, save_track
from nerfstudio_talking.models.volume_portrait import VolumePortraitModel
from nerfstudio_talking.process.config import ProcessConfig
from nerfstudio_talking.process.run import process_video

_SAMPLE = Path(__file__).resolve().parents[2] / "tests" / "data" / "sample" / "sample.mp4"
_MINUTES, _SIDE = 5, 512


def repeat_sample(folder: Path, frames: int, side: int, distinct: int = 24) -> Path:
    """A dataset of so many frames: some with a voice from the sample clip, over and over, whose files it links to."""
    if (folder / "track.json").is_file():
        return folder
    base = folder.with_name(f"sample{side}x{distinct}")
    process_video(ProcessConfig(_SAMPLE, base, size=side, frames=f"50:{50 + distinct}", report=False))
    shutil.copytree(base, folder, copy_function=os.link)
    (folder / "track.json").unlink()
    track = load_track(base)
    again = np.arange(frames) % track.num_frames
    for kind in ("images", "parsing"):
        for path in (base / kind).iterdir():
            for frame in range(int(path.stem) + track.num_frames, frames, track.num_frames):
                os.link(path, folder / kind / f"{frame:06d}{path.suffix}")
    arrays = {entry.name: getattr(track, entry.name) for entry in fields(track)}
    repeated = {name: array[again] for name, array in arrays.items() if isinstance(array, np.ndarray)}
    save_track(track.replace(**{**repeated, "frame_ids": np.arange(frames)}), folder)
    return folder


def make_pipeline(data: Path) -> VanillaPipeline:
    """The pipeline of `talking-portrait-small`."""
    from nerfstudio_talking.method_configs.talking_portrait import talking_portrait_small

    config = copy.deepcopy(talking_portrait_small.config.pipeline)
    config.datamanager.data = data
    pipeline = config.setup(device="cpu", test_mode="val")
    assert isinstance(pipeline, VanillaPipeline)
    return pipeline


def portrait_of(pipeline: VanillaPipeline) -> VolumePortraitModel:
    """Its model."""
    model = pipeline.model
    assert isinstance(model, VolumePortraitModel)
    return model


def stepper(pipeline: VanillaPipeline) -> Callable[[], None]:
    """One training step with Adam, as `ns-train` makes it without its logging."""
    optimiser = torch.optim.Adam([p for p in pipeline.model.parameters() if p.requires_grad], 2e-3, eps=1e-8)
    pipeline.train()
    step = 0

    def call() -> None:
        nonlocal step
        optimiser.zero_grad()
        _, losses, _ = pipeline.get_train_loss_dict(step)
        torch.stack(list(losses.values())).sum().backward()
        optimiser.step()
        step += 1

    return call


def warm_up(pipeline: VanillaPipeline, step: Callable[[], None], steps: int) -> None:
    """Train until the occupancy grid has closed what is empty."""
    for done in range(1, steps + 1):
        step()
        if done % max(steps // 6, 1) == 0:
            portrait_of(pipeline).occupancy.refresh()


def nerfacto_stepper(rays: int, seed: int) -> tuple[Callable[[], None], int]:
    """One training step of nerfstudio's own nerfacto (torch), and its samples per ray: proposals and field."""
    torch.manual_seed(seed)
    config = NerfactoModelConfig(implementation="torch")
    box = SceneBox(aabb=torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
    # its constructor downloads a network that training does not use
    with patch("torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity", lambda **_: torch.nn.Identity()):
        model = config.setup(scene_box=box, num_train_data=100)
    model.train()
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2, eps=1e-15)
    directions = torch.nn.functional.normalize(torch.randn(rays, 3), dim=-1)
    cameras = torch.randint(100, (rays, 1))
    batch = {"image": torch.rand(rays, 3)}

    def call() -> None:
        optimiser.zero_grad()
        # its camera optimiser writes into the bundle
        area = torch.full((rays, 1), 1e-6)
        outputs = model(RayBundle(torch.zeros(rays, 3), directions, area, camera_indices=cameras))
        metrics = model.get_metrics_dict(outputs, batch)
        torch.stack(list(model.get_loss_dict(outputs, batch, metrics).values())).sum().backward()
        optimiser.step()

    return call, sum(config.num_proposal_samples_per_ray) + config.num_nerf_samples_per_ray


def samples_per_ray(pipeline: VanillaPipeline) -> float:
    """Points at which a training step evaluates the head's field, over its rays."""
    counts: list[int] = []
    planes = portrait_of(pipeline).field.planes
    hook = planes.register_forward_hook(lambda _, inputs, __: counts.append(len(inputs[0])))
    pipeline.get_train_loss_dict(0)
    hook.remove()
    return sum(counts) / pipeline.datamanager.get_train_rays_per_batch()


def training_rows(pipeline: VanillaPipeline, step: Callable[[], None], seed: int, repeats: int) -> list[Row]:
    """Rays per second against nerfacto, and per field sample."""
    rays = pipeline.datamanager.get_train_rays_per_batch()
    reference, theirs = nerfacto_stepper(rays, seed)
    ours = samples_per_ray(pipeline)
    fast, slow = alternating(step, reference, repeats)
    return [
        Row(
            f"Training talking-portrait-small, {rays} rays per step",
            f"{rays / fast:,.0f} rays/s",
            f"nerfacto (torch) {rays / slow:,.0f} rays/s",
            f"{slow / fast:.1f}x",
            "8x, then 15x",
        ),
        Row(
            "Training, per sample",
            f"{ours * rays / fast:,.0f} samples/s at {ours:.1f} per ray",
            f"{theirs * rays / slow:,.0f} samples/s at {theirs} per ray (256 and 96 proposal samples included)",
            f"{ours * slow / (theirs * fast):.2f}x",
        ),
    ]


def rendering_rows(pipeline: VanillaPipeline, quick: bool) -> list[Row]:
    """Frames per second with torso before and after the bake."""
    from nerfstudio_talking.baking.config import BakeConfig
    from nerfstudio_talking.baking.fit import bakeable, fit_bake
    from nerfstudio_talking.baking.renderer import BakeRenderer
    from nerfstudio_talking.baking.validation import validate_bake

    model = bakeable(pipeline.model)
    pipeline.eval()
    cameras = sequence_outputs(model.sequence, "val", model.scene_box).cameras
    full = best_time(lambda: model.get_outputs_for_camera(cameras[:1]), 2 if quick else 5)
    config = replace(BakeConfig(), conditions=48, cell=1.5, views=24) if quick else BakeConfig()
    renderer = BakeRenderer(model, fit_bake(model, config))
    frame = int(model.sequence.eval_frames[0])
    baked = best_time(lambda: renderer.render(frame, *model.track.camera.size), 12, 2)
    metrics = validate_bake(model, renderer, 3)
    size = f"{model.track.width}x{model.track.height}"
    return [
        Row(
            f"Rendering {size} with torso, baked",
            f"{1 / baked:.1f} frames/s",
            f"unbaked {1 / full:.2f} frames/s",
            f"{full / baked:.0f}x",
            "10 frames/s, then 25",
        ),
        Row(
            "PSNR loss of the bake on held-out frames",
            f"{metrics.full - metrics.baked:.2f} dB",
            f"mouth {metrics.mouth_full - metrics.mouth_baked:.2f} dB; "
            f"PSNR of baked against unbaked frames {metrics.agreement:.1f} dB",
            "",
            "at most 0.2 dB",
        ),
    ]


def scale_rows(folder: Path, sizes: list[tuple[int, int]], repeats: int) -> list[Row]:
    """Training step and full frame for clips of some seconds and images of some side."""
    rows = []
    for length, side in sizes:
        pipeline = make_pipeline(repeat_sample(folder / f"{length}s{side}", length * 25, side))
        step = stepper(pipeline)
        warm_up(pipeline, step, 18)
        time_step = best_time(step, repeats)
        pipeline.eval()
        model = portrait_of(pipeline)
        cameras = sequence_outputs(model.sequence, "val", model.scene_box).cameras
        frame = best_time(lambda m=model, c=cameras: m.get_outputs_for_camera(c[:1]), 2)
        rows.append(
            Row(
                f"Scale: {length} s at {side}x{side}",
                f"step {time_step * 1e3:.0f} ms",
                f"full frame {frame * 1e3:.0f} ms, {frame / side**2 * 1e9:.0f} ns/pixel",
                "",
                "constant in clip length; linear in pixels",
            )
        )
    return rows


def memory_row(folder: Path, minutes: int = _MINUTES, side: int = _SIDE) -> Row:
    """Largest resident size of a process that trains some steps on a long clip."""
    data = repeat_sample(folder / f"long{minutes}m{side}", minutes * 60 * 25, side)
    result = subprocess.run(
        [sys.executable, __file__, str(data)], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    what = f"Host memory, training on {minutes} minutes at {side}x{side}"
    if result.returncode != 0:
        reason = "killed" if result.returncode < 0 else (result.stderr.strip().splitlines() or ["?"])[-1]
        return Row(what, "not measured", f"the process ended with {result.returncode}: {reason}", "", "under 8 GB")
    record = json.loads(result.stdout.strip().splitlines()[-1])
    return Row(
        what, f"{record['peak'] / 2**30:.2f} GB", f"of which frames {record['cache'] / 2**30:.2f} GB", "", "under 8 GB"
    )


def _train_and_tell(data: Path) -> str:
    """Ten steps on a clip; the peak of this process as JSON."""
    pipeline = make_pipeline(data)
    step = stepper(pipeline)
    for _ in range(10):
        step()
    manager = pipeline.datamanager
    assert isinstance(manager, CachedDataManager)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return json.dumps({"peak": peak, "cache": manager.cache_bytes()})


if __name__ == "__main__":
    sys.stdout.write("\n" + _train_and_tell(Path(sys.argv[1])) + "\n")
