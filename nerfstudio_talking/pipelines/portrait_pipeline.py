"""The pipeline of portraits: what connects model, data, viewer and bake, and scores of the evaluation as a video.

`ns-eval` gives each score under one name. nerfstudio averages what the model measures of each frame: `psnr`, `ssim`.
What is not among these is measured over the whole video, by the classes that `ns-talking score` uses: `video_<name>`,
such as `video_psnr_mouth` or `video_lmd`; `video_gt_<name>` is the ground truth's own. `frames/<frame>/<name>` are the
scores of each frame; those of `psnr` and `ssim` have nerfstudio's averages as their mean.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jaxtyping import Float
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from rich.markup import escape
from torch import Tensor

from nerfstudio_talking.data.pixel_samplers import SemanticPixelSampler
from nerfstudio_talking.io.console import CONSOLE, get_progress
from nerfstudio_talking.models.evaluation import Rendering
from nerfstudio_talking.models.portrait_model import PortraitModel
from nerfstudio_talking.models.ssp_nerf import SSPNeRFModel
from nerfstudio_talking.viewer.opening_view import OpeningView
from nerfstudio_talking.viewer.studio import Studio

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
    render_audio: bool = True
    """Whether videos of `ns-render` have the audio of the frames that they show."""
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
        # nerfstudio's viewer finds both among the pipeline's attributes
        self.opening_view = OpeningView(model.sequence.track.camera_to_worlds, model.sequence.track.camera)
        self.studio = Studio(model)
        if test_mode != "val" and config.render_audio:
            from nerfstudio_talking.pipelines.render_audio import add_audio_to_renders

            add_audio_to_renders()
        if test_mode == "val":
            model.prepare_training()
        elif config.baked is not None:
            # only here, since its kernels take a second to import
            from nerfstudio_talking.baking.fit import bakeable
            from nerfstudio_talking.baking.renderer import DeferredBakeRenderer

            model.frame_renderer = DeferredBakeRenderer(bakeable(model), config.baked)
        sampler = getattr(self.datamanager, "sampler", None)
        if isinstance(model, SSPNeRFModel) and isinstance(sampler, SemanticPixelSampler):
            sampler.follow(model.class_loss)

    def get_eval_image_metrics_and_images(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """nerfstudio's, and `psnr_mouth` and `ssim_mouth` where the frame shows a mouth."""
        model = self.model
        if not isinstance(model, PortraitModel):
            return super().get_eval_image_metrics_and_images(step)
        with model.keep_renderings() as kept:
            metrics, images = super().get_eval_image_metrics_and_images(step)
        return metrics | self._score_mouth(kept[0]), images

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
        return metrics | self._score_video(model, kept, metrics)

    def _score_mouth(self, rendering: Rendering) -> dict[str, float]:
        from nerfstudio_talking.metrics.images import PeakSignalNoiseRatio, StructuralSimilarity
        from nerfstudio_talking.metrics.regions import regions_from_parsing

        parsing = self._eval_dataset.parsing(rendering.index)
        if parsing is None:
            return {}
        frames = rendering.rgb.float() / 255, self._gt_frame(rendering.index)
        metrics = PeakSignalNoiseRatio(), StructuralSimilarity()
        scores: dict[str, float] = {}
        for metric in metrics:
            scores |= metric(*frames, regions_from_parsing(parsing))
        return {name: value for name, value in scores.items() if name.endswith("_mouth")}

    def _score_video(self, model: PortraitModel, kept: list[Rendering], known: Container[str]) -> dict[str, float]:
        """Scores of the video but those that are known already, and scores of each frame."""
        from nerfstudio_talking.audio.frame_audio import audio_of_frames
        from nerfstudio_talking.media.reading import read_audio
        from nerfstudio_talking.metrics.functional.parsing import decode_palette
        from nerfstudio_talking.metrics.suite import PortraitScores

        sequence = model.sequence
        kept = sorted(kept, key=lambda rendering: rendering.index)
        frames = [int(sequence.eval_frames[rendering.index]) for rendering in kept]
        audio = None
        if sequence.track.audio_path is not None and frames == list(range(frames[0], frames[0] + len(frames))):
            starts = sequence.track.audio_starts[frames]
            audio = (audio_of_frames(read_audio(sequence.track.audio_path), starts, sequence.track.fps), 16000)
        scores = PortraitScores(sequence.track.fps, audio, self.config.lpips_weights, self.config.fid_weights)
        with get_progress("Scoring the video") as progress:
            for rendering, frame in progress.track(list(zip(kept, frames))):
                scores.update(
                    rendering.rgb.float() / 255,
                    self._gt_frame(rendering.index),
                    parsing=self._eval_dataset.parsing(rendering.index),
                    frame=frame,
                    rendered_parsing=None
                    if rendering.parsing is None
                    else decode_palette(rendering.parsing.float() / 255).numpy(),
                )
        video = scores.compute()
        scores.close()
        for name, reason in scores.left_out.items():
            CONSOLE.print(f"[yellow]Without {name}:[/] {escape(reason)}")
        rows = {
            f"frames/{frame:06d}/{name}": value
            for frame, row in zip(frames, scores.rows)
            for name, value in row.items()
        }
        return {f"video_{name}": value for name, value in video.items() if name not in known} | rows

    @property
    def _eval_dataset(self) -> Any:
        assert self.datamanager.eval_dataset is not None
        return self.datamanager.eval_dataset

    def _gt_frame(self, index: int) -> Float[Tensor, "height width 3"]:
        return self._eval_dataset.get_image_float32(index)[..., :3]
