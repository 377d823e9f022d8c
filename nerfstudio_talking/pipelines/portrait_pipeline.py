"""nerfstudio's pipeline, whose evaluation also scores the frames as a video."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig

from nerfstudio_talking.io.console import CONSOLE, get_progress
from nerfstudio_talking.models.portrait_model import PortraitModel, Rendering


@dataclass
class PortraitPipelineConfig(VanillaPipelineConfig):
    """Options of the pipeline."""

    _target: type = field(default_factory=lambda: PortraitPipeline)
    """Target class to instantiate."""
    video_scores: bool = True
    """Whether `ns-eval` scores lips, eyes, sync, steadiness and parsing over the whole video too."""
    lpips_weights: Path | None = None
    """Torchvision's AlexNet for LPIPS; the torch cache is looked through where not given."""
    fid_weights: Path | None = None
    """FID's Inception; the torch cache is looked through where not given."""


class PortraitPipeline(VanillaPipeline):
    """Adds scores of the video to nerfstudio's means over frames, without a second rendering."""

    config: PortraitPipelineConfig

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
                if ids is not None:
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
