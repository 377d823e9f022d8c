"""Scores of refiners on held-out frames: refined against not refined, over seeds and sizes of the memory.

    ns-talking render-frames --load-config PORTRAIT/config.yml --output FRAMES
    ns-train memory-gan --data DIR --pipeline.datamanager.rendered FRAMES --machine.seed 1 ...
    python scripts/benchmarks/figures/refiner_figures.py --data DIR --rendered FRAMES \
        --refiners A/config.yml B/config.yml --output figures.json

What is refined is what --pipeline.datamanager.rendered was in the training, and as there the personal mesh where it is
not given. The gain of a score is refined minus given; runs that differ in nothing but their seed are put together, and
a gain counts where it is beyond twice the standard deviation over them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from nerfstudio_talking.metrics.base import GT_PREFIX, FramePair
from nerfstudio_talking.metrics.functional.networks import ALEXNET_FILES, lpips_network
from nerfstudio_talking.metrics.images import (
    DetailRatio,
    PeakSignalNoiseRatio,
    PerceptualDistance,
    SharpnessError,
    StructuralSimilarity,
)
from nerfstudio_talking.metrics.regions import FrameRegions, regions_from_parsing
from nerfstudio_talking.metrics.registry import score_infos
from nerfstudio_talking.metrics.suite import MetricSuite
from nerfstudio_talking.metrics.temporal import TemporalError, WarpingError
from nerfstudio_talking.refiner.frame_window import WINDOW


def make_suite(network: nn.Module | None) -> MetricSuite:
    """What refiners are measured by: image scores with sharpness, and change over time, of frame, face and mouth."""
    metrics = [PeakSignalNoiseRatio(), StructuralSimilarity(), SharpnessError(), DetailRatio()]
    metrics += [PerceptualDistance(network)] if network is not None else []
    return MetricSuite([*metrics, TemporalError(), WarpingError()])


def score_frames(
    frames: Sequence[np.ndarray], gt_frames: Sequence[np.ndarray], regions: Sequence[FrameRegions], suite: MetricSuite
) -> dict[str, float]:
    """Scores of successive uint8 frames; `gt_...` are the ground truth's own."""
    suite.reset()
    for frame, gt, region in zip(frames, gt_frames, regions):
        rendered, true = (torch.from_numpy(image).float() / 255 for image in (frame, gt))
        suite.update(FramePair(rendered, true, region))
    return suite.compute()


@dataclass
class ScoreRefiners:
    """Score refiners."""

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
        """Score, print the tables, write the results."""
        runs = [read_run(path) for path in self.refiners]
        shares = {run.pipeline.datamanager.dataparser.train_fraction for run in runs}  # type: ignore[attr-defined]
        sequence = load_sequence(self.data, min(shares))
        track, held = sequence.track, sequence.eval_frames
        given = load_rendered(self.rendered, sequence)
        weights = find_weights(self.lpips_weights, ALEXNET_FILES)
        network = None if weights is None else lpips_network(weights)
        gt_frames, regions = _read_gt(sequence)
        suite = make_suite(network)
        before = score_frames(list(given[held]), gt_frames, regions, suite)
        groups: dict[str, list[dict[str, float]]] = defaultdict(list)
        images: list[np.ndarray] = []
        with get_progress("Refining", suffix="runs") as progress:
            for path, run in progress.track(list(zip(self.refiners, runs))):
                refiner = load_refiner(path, None, track.digest)
                first = max(int(held[0]) - WINDOW + 1, 0)
                stream = refine_frames(refiner, given[first : int(held[-1]) + 1])
                refined = list(stream)[int(held[0]) - first :]
                images = images or refined
                groups[_name(run.pipeline.model)].append(score_frames(refined, gt_frames, regions, suite))
        results: dict[str, Any] = {
            "held_out_frames": len(held),
            "ground_truth": {name: value for name, value in before.items() if name.startswith(GT_PREFIX)},
            "given": {name: value for name, value in before.items() if not name.startswith(GT_PREFIX)},
            "refined": {},
        }
        if network is None:
            results["left_out"] = {"lpips": "no weights of AlexNet"}
        for name, rows in groups.items():
            results["refined"][name] = summarize(before, rows)
            _print_table(name, before, results["refined"][name])
        write_json(results, self.output)
        if self.sheet is not None:
            chosen = np.linspace(0, len(held) - 1, 4).astype(int)
            columns = [np.concatenate([given[held[i]], images[i], gt_frames[i]]) for i in chosen]
            Image.fromarray(np.concatenate(columns, axis=1)).save(self.sheet)
        CONSOLE.print(f"[green]Wrote {self.output}.")


def summarize(before: dict[str, float], rows: list[dict[str, float]]) -> dict[str, Any]:
    """Mean, gain and spread (standard deviation over seeds; absent for one) of each score."""
    result: dict[str, Any] = {"seeds": len(rows)}
    for name in rows[0]:
        if name.startswith(GT_PREFIX):
            continue
        values = np.array([row[name] for row in rows])
        entry = {"mean": float(values.mean()), "gain": float(values.mean() - before[name])}
        if len(values) > 1:
            entry["spread"] = float(values.std(ddof=1))
        result[name] = entry
    return result


def _read_gt(sequence: TalkingSequence) -> tuple[list[np.ndarray], list[FrameRegions]]:
    frames = [int(frame) for frame in sequence.eval_frames]
    gt_frames = [read_image(sequence.image_paths[frame], "RGB") for frame in frames]
    return gt_frames, [regions_from_parsing(load_parsing(sequence, frame)) for frame in frames]


def _name(model: Any) -> str:
    slots = model.network.memory_slots
    return f"memory {slots}" if slots else "no memory"


def _print_table(name: str, before: dict[str, float], rows: dict[str, Any]) -> None:
    infos = score_infos()
    table = Table("", "given", "refined", "gain", "spread", "better", title=f"{name}, {rows['seeds']} runs")
    for score, row in rows.items():
        if not isinstance(row, dict):
            continue
        spread, wanted = row.get("spread"), infos[score].higher_is_better
        gain = row["gain"] if wanted else -row["gain"]
        better = "" if wanted is None else ("yes" if gain > 2 * (spread or 0.0) else "no")
        cells = (f"{before[score]:.4f}", f"{row['mean']:.4f}", f"{row['gain']:+.4f}")
        table.add_row(infos[score].title, *cells, "" if spread is None else f"{spread:.4f}", better)
    CONSOLE.print(table)


if __name__ == "__main__":
    tyro.cli(ScoreRefiners).main()
