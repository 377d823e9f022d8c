"""Figures of a trained portrait on its held-out frames: image quality, and whether lips and eyes follow.

    python scripts/benchmarks/figures.py --load-config outputs/.../config.yml --output figures [--voice V.wav]

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

from nerfstudio_talking.dataparsers.portrait import sequence_outputs
from nerfstudio_talking.face.measurements import lid_gap, lip_opening
from nerfstudio_talking.face.tracking import track_faces
from nerfstudio_talking.inference.checkpoints import load_portrait
from nerfstudio_talking.inference.driver import PortraitDriver
from nerfstudio_talking.io.console import CONSOLE, get_progress
from nerfstudio_talking.io.files import write_json
from nerfstudio_talking.media.images import read_image
from nerfstudio_talking.metrics.suite import PortraitScores

_NAMES = ("psnr", "psnr_mouth", "ssim", "ssim_mouth", "lpips", "lpips_mouth", "lmd", "torso_jitter")


def follow(rendered: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Correlation of two curves, and the spread of the first over that of the second; NaN frames left out."""
    both = ~(np.isnan(rendered) | np.isnan(true))
    a, b = rendered[both], true[both]
    return float(np.corrcoef(a, b)[0, 1]), float(a.std() / b.std())


@dataclass
class Figures:
    """Measure a portrait."""

    load_config: Path
    """The config.yml of the trained portrait."""
    output: Path
    """Folder for figures.json, sheet.png and the driven video."""
    voice: Path | None = None
    """A voice that was not in the training."""

    def main(self) -> None:
        """Render, measure, write."""
        self.output.mkdir(parents=True, exist_ok=True)
        pipeline, model = load_portrait(self.load_config)
        clip = model.sequence
        cameras = sequence_outputs(clip, "val").cameras.to(pipeline.device)
        true, rendered = [], []
        scores = PortraitScores(clip.track.fps)
        with get_progress("Rendering held-out frames") as progress:
            for row, frame in progress.track(list(enumerate(clip.eval_frames))):
                rgb = model.get_outputs_for_camera(cameras[row : row + 1])["rgb"]
                true.append(read_image(clip.image_paths[frame], "RGB"))
                rendered.append((rgb * 255).round().to(torch.uint8).cpu().numpy())
                scores.update(rgb, torch.from_numpy(true[-1]).float() / 255, frame=int(frame))
        faces = scores.tracks[::-1]
        lips = [lip_opening(points) for points in faces]
        eyes = [lid_gap(points).mean(1) for points in faces]
        measured = scores.compute()
        scores.close()
        lip_correlation, lip_spread = follow(lips[1], lips[0])
        eye_correlation, eye_spread = follow(eyes[1], eyes[0])
        figures: dict[str, object] = {
            "frames": len(true),
            **{name: measured[name] for name in _NAMES if name in measured},
            "lip_correlation": lip_correlation,
            "lip_spread": lip_spread,
            "eye_correlation": eye_correlation,
            "eye_spread": eye_spread,
            "left_out": scores.left_out,
        }
        chosen = np.linspace(0, len(true) - 1, 8).astype(int)
        sheet = np.concatenate([np.concatenate([frames[i] for i in chosen], 1) for frames in (true, rendered)], 0)
        Image.fromarray(sheet).save(self.output / "sheet.png")
        np.savez(self.output / "curves.npz", lips_true=lips[0], lips=lips[1], eyes_true=eyes[0], eyes=eyes[1])
        write_json(figures, self.output / "figures.json")
        if self.voice is not None:
            figures["voice"] = self.score_voice()
            write_json(figures, self.output / "figures.json")
        CONSOLE.print(figures)

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
    tyro.cli(Figures).main()
