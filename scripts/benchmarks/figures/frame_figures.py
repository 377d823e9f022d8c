"""Scores of a trained portrait on its held-out frames: image quality, and whether lips and eyes follow.

    python scripts/benchmarks/figures/frame_figures.py --load-config .../config.yml --output results [--voice V.wav]

Renders every evaluation frame with the audio and eyes of its own time, measures rendered and true frames with the same
face tracker, and writes a JSON file and a contact sheet (ground truth above, rendering below). With a voice it also
drives the portrait and scores the lips of that video against the audio.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image
from rich.table import Table

from nerfstudio_talking.dataparsers.portrait import sequence_outputs
from nerfstudio_talking.dataset_io.sequence import load_parsing
from nerfstudio_talking.face.measurements import lid_gap, lip_opening
from nerfstudio_talking.face.tracking import track_faces
from nerfstudio_talking.inference.checkpoints import load_portrait
from nerfstudio_talking.inference.driver import PortraitDriver
from nerfstudio_talking.io.console import CONSOLE, get_progress
from nerfstudio_talking.io.files import write_json
from nerfstudio_talking.media.images import read_image
from nerfstudio_talking.metrics.functional.images import to_levels
from nerfstudio_talking.metrics.functional.lip_motion import correlation, spread_ratio
from nerfstudio_talking.metrics.registry import score_infos
from nerfstudio_talking.metrics.suite import PortraitScores

_NAMES = ("psnr", "psnr_mouth", "ssim", "ssim_mouth", "lpips", "lpips_mouth", "lmd", "lip_correlation", "torso_jitter")
"""Scores of the suite that are shown."""


@dataclass
class ScorePortrait:
    """Score a portrait."""

    load_config: Path
    """The config.yml of the trained portrait."""
    output: Path
    """Folder for results.json, sheet.png and the driven video."""
    voice: Path | None = None
    """A voice that was not in the training."""

    def main(self) -> None:
        """Render, score, write the results, print the table."""
        self.output.mkdir(parents=True, exist_ok=True)
        pipeline, model = load_portrait(self.load_config)
        sequence = model.sequence
        cameras = sequence_outputs(sequence, "val").cameras.to(pipeline.device)
        gt, rendered = [], []
        scores = PortraitScores(sequence.track.fps)
        with get_progress("Rendering held-out frames") as progress:
            for row, frame in progress.track(list(enumerate(sequence.eval_frames))):
                rgb = model.get_outputs_for_camera(cameras[row : row + 1])["rgb"]
                gt.append(read_image(sequence.image_paths[frame], "RGB"))
                rendered.append(to_levels(rgb))
                parsing = None if sequence.parsing_paths is None else load_parsing(sequence, int(frame))
                scores.update(rgb, torch.from_numpy(gt[-1]).float() / 255, parsing, int(frame))
        lips, gt_lips = (lip_opening(points) for points in scores.tracks)
        eyes, gt_eyes = (lid_gap(points).mean(1) for points in scores.tracks)
        measured = scores.compute()
        scores.close()
        results: dict[str, object] = {
            "frames": len(gt),
            **{name: measured[name] for name in _NAMES if name in measured},
            "lip_spread": spread_ratio(lips, gt_lips),
            "eye_correlation": correlation(eyes, gt_eyes),
            "eye_spread": spread_ratio(eyes, gt_eyes),
            "left_out": scores.left_out,
        }
        chosen = np.linspace(0, len(gt) - 1, 8).astype(int)
        sheet = np.concatenate([np.concatenate([frames[i] for i in chosen], 1) for frames in (gt, rendered)], 0)
        Image.fromarray(sheet).save(self.output / "sheet.png")
        np.savez(self.output / "curves.npz", gt_lips=gt_lips, lips=lips, gt_eyes=gt_eyes, eyes=eyes)
        write_json(results, self.output / "results.json")
        if self.voice is not None:
            results["voice"] = self.score_voice()
            write_json(results, self.output / "results.json")
        self.print_table(results)
        for name, reason in scores.left_out.items():
            CONSOLE.print(f"[yellow]Without {name}:[/] {reason}")

    def print_table(self, results: dict[str, object]) -> None:
        """Print the scores of the suite with their units, and the rest as it is."""
        infos = score_infos()
        table = Table("score", "rendering", "better", title=str(self.load_config))
        for name, value in results.items():
            if name == "left_out":
                continue
            if name in infos and isinstance(value, float):
                table.add_row(infos[name].title, infos[name].format(value), infos[name].better)
            else:
                table.add_row(name, f"{value:.3f}" if isinstance(value, float) else str(value), "")
        CONSOLE.print(table)

    def score_voice(self) -> dict[str, float]:
        """Drive the portrait with the voice and score its lips against the audio."""
        from nerfstudio_talking.audio.sync import estimate_offset
        from nerfstudio_talking.media.reading import probe_video, read_audio, read_frames

        assert self.voice is not None
        target = self.output / "driven.mp4"
        PortraitDriver.load(self.load_config).write_video(self.voice, target)
        frames = list(read_frames(target))
        lips = lip_opening(track_faces(frames).landmarks)
        found = estimate_offset(lips, read_audio(self.voice), probe_video(target).fps)
        return {"lag_frames": float(found.lag_frames), "score": float(found.score), "null_max": float(found.null_max)}


if __name__ == "__main__":
    tyro.cli(ScorePortrait).main()
