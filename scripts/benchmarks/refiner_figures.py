"""Figures of refiners on held-out frames: refined against not refined, over seeds and sizes of the memory.

    ns-talking render-frames --load-config PORTRAIT/config.yml --output FRAMES
    ns-train memory-gan --data DIR --pipeline.datamanager.rendered FRAMES --machine.seed 1 ...
    python scripts/benchmarks/refiner_figures.py --data DIR --rendered FRAMES \
        --refiners A/config.yml B/config.yml --output figures.json

What is refined is what --pipeline.datamanager.rendered was in the training, and as there the personal mesh where it is
not given. The gain of a score is refined minus given; runs that differ in nothing but their seed are put together, and
a gain counts where it is beyond twice the standard deviation over them.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import tyro
from PIL import Image
from rich.table import Table
from torch import nn

from nerfstudio_talking.data.refiner_frames import load_rendered
from nerfstudio_talking.dataset_io.sequence import TalkingSequence, load_parsing, load_sequence
from nerfstudio_talking.inference.checkpoints import read_run
from nerfstudio_talking.inference.refiner import load_refiner, refine_frames
from nerfstudio_talking.io.console import CONSOLE, get_progress
from nerfstudio_talking.io.files import write_json
from nerfstudio_talking.io.weights import find_weights
from nerfstudio_talking.media.images import read_image
from nerfstudio_talking.metrics.images import ALEXNET_FILES, image_scores, lpips_network
from nerfstudio_talking.metrics.regions import FrameRegions, pixel_box, regions_from_parsing
from nerfstudio_talking.metrics.stability import temporal_error, warping_error
from nerfstudio_talking.refiner.frame_window import WINDOW

_BETTER = {"psnr": 1, "ssim": 1, "lpips": -1, "sharpness": -1, "flicker": -1}
"""Whether more or less of a score is better, by the first part of its name; blur lowers the error of warping."""


def laplacian_variance(image: np.ndarray) -> float:
    """Variance of the Laplacian of the grey levels: how much fine detail an image has."""
    return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


def scores_of(
    frames: list[np.ndarray], gt_videos: list[np.ndarray], regions: list[FrameRegions], network: nn.Module | None
) -> dict[str, float]:
    """Means over frames. `sharpness_...` is |log2| of the ratio of Laplacian variances, 0 where as sharp as the ground
    truth; `flicker_...` the temporal error in levels of 255; with the scores of `warping_of`."""
    values: dict[str, list[float]] = defaultdict(list)
    for index, (frame, gt, region) in enumerate(zip(frames, gt_videos, regions)):
        pair = [torch.from_numpy(image).float() / 255 for image in (frame, gt)]
        for name, value in image_scores(pair[0], pair[1], region.boxes, network).items():
            values[name].append(value)
        for name, roi in areas_of(region, frame).items():
            detail = [laplacian_variance(np.ascontiguousarray(image[roi])) for image in (frame, gt)]
            values[f"sharpness_{name}"].append(abs(float(np.log2(max(detail[0], 1e-6) / max(detail[1], 1e-6)))))
            values[f"detail_{name}"].append(detail[0] / max(detail[1], 1e-6))
            if index:
                before = (frames[index - 1], frame), (gt_videos[index - 1], gt)
                values[f"flicker_{name}"].append(temporal_error(*before, mask_of(roi, frame)))
    return {name: float(np.mean(rows)) for name, rows in values.items()} | warping_of(frames, regions)


def warping_of(frames: list[np.ndarray], regions: list[FrameRegions]) -> dict[str, float]:
    """Means over frames of what changes without moving, in levels of 255: `warping_...` of each region."""
    values: dict[str, list[float]] = defaultdict(list)
    for (before, frame), region in zip(itertools.pairwise(frames), regions[1:]):
        for name, roi in areas_of(region, frame).items():
            values[f"warping_{name}"].append(warping_error(before, frame, mask_of(roi, frame)))
    return {name: float(np.mean(rows)) for name, rows in values.items()}


def areas_of(region: FrameRegions, frame: np.ndarray) -> dict[str, tuple[slice, slice]]:
    """Rows and columns of the boxes that lie in the frame."""
    areas = {name: None if box is None else pixel_box(box, *frame.shape[:2]) for name, box in region.boxes.items()}
    return {name: roi for name, roi in areas.items() if roi is not None}


def mask_of(roi: tuple[slice, slice], frame: np.ndarray) -> np.ndarray:
    """The same as a mask of the frame."""
    mask = np.zeros(frame.shape[:2], dtype=bool)
    mask[roi] = True
    return mask


@dataclass
class RefinerFigures:
    """Measure refiners."""

    data: Path
    """The dataset folder."""
    refiners: tuple[Path, ...]
    """config.yml of each refiner: several seeds, several sizes of the memory."""
    output: Path
    """The JSON file to write."""
    rendered: Path | None = None
    """Folder or video of rendered frames, one for every frame of --data; the personal mesh where not given."""
    sheet: Path | None = None
    """An image to write: some frames given, refined by the first refiner, and true."""
    lpips_weights: Path | None = None
    """Torchvision's AlexNet; the torch cache is looked through where not given, and LPIPS left out without."""

    def main(self) -> None:
        """Measure, write, tell."""
        runs = [read_run(path) for path in self.refiners]
        shares = {run.pipeline.datamanager.dataparser.train_fraction for run in runs}  # type: ignore[attr-defined]
        sequence = load_sequence(self.data, min(shares))
        track, held = sequence.track, sequence.eval_frames
        given = load_rendered(self.rendered, sequence)
        weights = find_weights(self.lpips_weights, ALEXNET_FILES)
        network = None if weights is None else lpips_network(weights)
        gt_videos, regions = _gt(sequence)
        before = scores_of(list(given[held]), gt_videos, regions, network)
        groups: dict[str, list[dict[str, float]]] = defaultdict(list)
        images: list[np.ndarray] = []
        with get_progress("Refining", suffix="runs") as progress:
            for path, run in progress.track(list(zip(self.refiners, runs))):
                refiner = load_refiner(path, None, track.digest)
                first = max(int(held[0]) - WINDOW + 1, 0)
                stream = refine_frames(refiner, given[first : int(held[-1]) + 1])
                refined = list(stream)[int(held[0]) - first :]
                images = images or refined
                groups[_name(run.pipeline.model)].append(scores_of(refined, gt_videos, regions, network))
        figures: dict[str, Any] = {
            "held_out_frames": len(held),
            "recording": warping_of(gt_videos, regions),
            "given": before,
            "refined": {},
        }
        if network is None:
            figures["left_out"] = {"lpips": "no weights of AlexNet"}
        for name, rows in groups.items():
            figures["refined"][name] = summary(before, rows)
            _tell(name, before, figures["refined"][name])
        write_json(figures, self.output)
        if self.sheet is not None:
            chosen = np.linspace(0, len(held) - 1, 4).astype(int)
            columns = [np.concatenate([given[held[i]], images[i], gt_videos[i]]) for i in chosen]
            Image.fromarray(np.concatenate(columns, axis=1)).save(self.sheet)
        CONSOLE.print(f"[green]Wrote {self.output}.")


def summary(before: dict[str, float], rows: list[dict[str, float]]) -> dict[str, Any]:
    """Mean, gain and spread (standard deviation over seeds; absent for one) of each score."""
    result: dict[str, Any] = {"seeds": len(rows)}
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        entry = {"mean": float(values.mean()), "gain": float(values.mean() - before[name])}
        if len(values) > 1:
            entry["spread"] = float(values.std(ddof=1))
        result[name] = entry
    return result


def _gt(sequence: TalkingSequence) -> tuple[list[np.ndarray], list[FrameRegions]]:
    frames = [int(frame) for frame in sequence.eval_frames]
    gt_videos = [read_image(sequence.image_paths[frame], "RGB") for frame in frames]
    return gt_videos, [regions_from_parsing(load_parsing(sequence, frame)) for frame in frames]


def _name(model: Any) -> str:
    slots = model.network.memory_slots
    return f"memory {slots}" if slots else "no memory"


def _tell(name: str, before: dict[str, float], rows: dict[str, Any]) -> None:
    table = Table("", "given", "refined", "gain", "spread", "better", title=f"{name}, {rows['seeds']} runs")
    for score, row in rows.items():
        sign = _BETTER.get(score.split("_")[0])
        if not isinstance(row, dict):
            continue
        spread = row.get("spread")
        better = "" if sign is None else ("yes" if sign * row["gain"] > 2 * (spread or 0.0) else "no")
        cells = (f"{before[score]:.4f}", f"{row['mean']:.4f}", f"{row['gain']:+.4f}")
        table.add_row(score, *cells, "" if spread is None else f"{spread:.4f}", better)
    CONSOLE.print(table)


if __name__ == "__main__":
    tyro.cli(RefinerFigures).main()
