"""The pipeline of portraits: what connects model, data, viewer and bake, and scores of the evaluation as a video."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig

from nerfstudio_talking.data.pixel_samplers import SemanticPixelSampler
from nerfstudio_talking.io.console import CONSOLE, get_progress
from nerfstudio_talking.models.evaluation import Rendering
from nerfstudio_talking.models.portrait_model import PortraitModel
from nerfstudio_talking.models.ssp_nerf import SSPNeRFModel
from nerfstudio_talking.viewer.opening_view import OpeningView

if TYPE_CHECKING:
    from torch.cuda.amp.grad_scaler import GradScaler


@dataclass
class PortraitPipelineConfig(VanillaPipelineConfig):
    """Options of the pipeline."""

    _target: type = field(default_factory=lambda: PortraitPipeline)
    """Target class to instantiate."""
    baked: Path | None = None
    """File of `ns-talking bake` from which evaluation, rendering and the viewer take the views that it serves; training
    does not read it."""
    video_scores: bool = True
    """Whether `ns-eval` scores lips, eyes, sync, steadiness and parsing over the whole video too."""
    lpips_weights: Path | None = None
    """Torchvision's AlexNet for LPIPS; the torch cache is searched where not given."""
    fid_weights: Path | None = None
    """FID's Inception; the torch cache is searched where not given."""


class PortraitPipeline(VanillaPipeline):
    """Connects a portrait with what it does not know: viewer, sampler, bake; and scores its evaluation as a video.

    Args:
        config: options of the pipeline.
        device: device of model and data.
        test_mode: 'val' trains; 'test' and 'inference' load a trained portrait.
        world_size: number of processes.
        local_rank: number of this process on its machine.
        grad_scaler: gradient scaler of the trainer.
    """

    config: PortraitPipelineConfig

    def __init__(
        self,
        config: PortraitPipelineConfig,
        device: str,
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        grad_scaler: GradScaler | None = None,
    ) -> None:
        super().__init__(config, device, test_mode, world_size, local_rank, grad_scaler)
        model = self.model
        if not isinstance(model, PortraitModel):
            return
        # nerfstudio's viewer finds it among the pipeline's attributes
        self.opening_view = OpeningView(model.sequence.track.camera_to_worlds, model.sequence.track.camera)
        if test_mode == "val":
            model.fit_audio()
        elif config.baked is not None:
            # only here, since its kernels take a second to import
            from nerfstudio_talking.baking.fit import bakeable
            from nerfstudio_talking.baking.renderer import DeferredBakeRenderer

            model.frame_renderer = DeferredBakeRenderer(bakeable(model), config.baked)
        sampler = getattr(self.datamanager, "sampler", None)
        if isinstance(model, SSPNeRFModel) and isinstance(sampler, SemanticPixelSampler):
            sampler.follow(model.class_loss)

    def get_average_image_metrics(
        self,
        data_loader: Any,
        image_prefix: str,
        step: int | None = None,
        output_path: Path | None = None,
        get_std: bool = False,
    ) -> dict[str, float]:
        """nerfstudio's means; outside training also the video's scores and each frame's, flat, in frame order."""
        model = self.model
        if not self.config.video_scores or step is not None or not isinstance(model, PortraitModel):
            return super().get_average_image_metrics(data_loader, image_prefix, step, output_path, get_std)
        with model.keep_renderings() as kept:
            metrics = super().get_average_image_metrics(data_loader, image_prefix, step, output_path, get_std)
        return metrics | self._score(model, kept)

    def _score(self, model: PortraitModel, kept: list[Rendering]) -> dict[str, float]:
        from nerfstudio_talking.media.reading import read_audio
        from nerfstudio_talking.metrics.parsing import ParsingAgreement, ids_of_colours
        from nerfstudio_talking.metrics.suite import PortraitScores

        sequence, dataset = model.sequence, self.datamanager.eval_dataset
        assert dataset is not None
        kept = sorted(kept, key=lambda rendering: rendering.index)
        frames = [int(sequence.eval_frames[rendering.index]) for rendering in kept]
        audio = None
        if sequence.track.audio_path is not None and frames == list(range(frames[0], frames[0] + len(frames))):
            fps = sequence.track.fps
            samples = read_audio(sequence.track.audio_path)
            audio = (samples[round(frames[0] / fps * 16000) : round((frames[-1] + 1) / fps * 16000)], 16000)
        scores = PortraitScores(sequence.track.fps, audio, self.config.lpips_weights, self.config.fid_weights)
        agreement = ParsingAgreement()
        with get_progress("Scoring the video") as progress:
            for rendering, frame in progress.track(list(zip(kept, frames))):
                gt = dataset.get_image_float32(rendering.index)[..., :3]
                ids = dataset.parsing(rendering.index)  # type: ignore[attr-defined]
                scores.update(rendering.rgb.float() / 255, gt, parsing=ids, frame=frame)
                if ids is not None and rendering.parsing is not None:
                    agreement.update(
                        ids_of_colours(rendering.parsing.float() / 255), torch.from_numpy(ids.astype("int64"))
                    )
        video = scores.compute()
        scores.close()
        if agreement.update_called:
            video |= agreement.compute()
        for name, reason in scores.left_out.items():
            CONSOLE.print(f"[yellow]Without {name}:[/] {reason}")
        rows = {
            f"frames/{frame:06d}/{name}": float(value)
            for frame, row in zip(frames, scores.rows)
            for name, value in row.items()
        }
        return {f"video_{name}": float(value) for name, value in video.items()} | rows
