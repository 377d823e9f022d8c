"""`ns-talking score`: any rendered video measured against the recording."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.markup import escape
from rich.table import Table

from nerfstudio_talking.io.console import CONSOLE, get_progress
from nerfstudio_talking.io.errors import TalkingError


@dataclass
class Score:
    """Measure a rendered video, ours or a peer's, against the true one. Sizes, rates and lengths may differ."""

    rendered: tyro.conf.Positional[Path]
    """The rendered video."""
    gt: tyro.conf.Positional[Path]
    """The recording."""
    audio: Path | None = None
    """The audio that the lips should follow; without it the rendering's own, else the ground truth's."""
    gt_frames: Annotated[str | None, tyro.conf.arg(metavar="A:B")] = None
    """The frames of the ground truth that were rendered, where the rendering is a part of it."""
    json: Path | None = None
    """Write all scores, also those of each frame, to this file."""
    report: Path | None = None
    """Write score.html with curves, and worst_frames.png, into this folder."""
    face_landmarker: Path | None = None
    """MediaPipe's face_landmarker.task: AUE by blendshapes too."""
    openface: tuple[Path, Path] | None = None
    """OpenFace's csv of the rendering and of the ground truth: AUE as papers give it."""
    syncnet: Path | None = None
    """syncnet_v2.model: SyncNet confidence and distance (LSE-C, LSE-D)."""
    lpips_weights: Path | None = None
    """Torchvision's alexnet-owt-7be5be79.pth, where it is not in the torch cache. Nothing is downloaded."""
    fid_weights: Path | None = None
    """weights-inception-2015-12-05-6726825d.pth of torch-fidelity, where it is not in the torch cache."""

    def main(self) -> None:
        """Score, print the table, write what was asked for."""
        import numpy as np

        from nerfstudio_talking.io.files import write_json
        from nerfstudio_talking.metrics import score_files
        from nerfstudio_talking.metrics.registry import format_table
        from nerfstudio_talking.reports import score_report

        settings = score_files.ScoreSettings(
            self.audio,
            self.gt_frames,
            self.face_landmarker,
            self.openface,
            self.syncnet,
            self.lpips_weights,
            self.fid_weights,
        )
        self._make_folders()
        with ExitStack() as stack:

            def start(title: str, total: int | None) -> Any:
                stack.close()  # one bar at a time
                bar = stack.enter_context(get_progress(title, suffix="frames/s"))
                task = bar.add_task(title, total=total)
                return lambda: bar.advance(task)

            result = score_files.score_videos(self.rendered, self.gt, settings, start)
        table = Table(title=escape(f"{self.rendered.name} against {self.gt.name}"))
        for column, justify in (
            ("score", "left"),
            ("rendering", "right"),
            ("ground truth itself", "right"),
            ("better", "left"),
        ):
            table.add_column(column, justify=justify)  # type: ignore[arg-type]
        for row in format_table(result.scores):
            table.add_row(*(escape(cell) for cell in row))
        CONSOLE.print(table)
        for note in result.notes:
            CONSOLE.print(f"- {escape(note)}", soft_wrap=True)
        for name, reason in result.left_out.items():
            CONSOLE.print(f"[yellow]- {escape(name)} left out: {escape(reason)}", soft_wrap=True)
        if self.json is not None:
            record = {
                "rendered": str(self.rendered),
                "ground_truth": str(self.gt),
                "fps": result.fps,
                "scores": result.scores,
                "left_out": result.left_out,
                "notes": result.notes,
                "per_frame": {
                    name: [float(value) if np.isfinite(value) else None for value in values]
                    for name, values in result.per_frame.items()
                },
            }
            write_json(record, self.json)
            CONSOLE.print(f"[green]Wrote {escape(str(self.json))}")
        if self.report is not None:
            kind, frames = score_files.worst_frames(result.per_frame, result.fps)
            images = score_files.pick_frames(score_files.make_pair(self.rendered, self.gt, self.gt_frames), frames)
            values = result.per_frame[kind]
            captions = [f"frame {i}, {i / result.fps:.2f} s: {kind.upper()} {values[i]:.4g}" for i in frames]
            image = score_report.contact_sheet(images, captions)
            score_report.write_sheet(image, self.report)
            page = score_report.write_page(self.report, f"{self.rendered.name} against {self.gt.name}", result, image)
            CONSOLE.print(f"[green]Wrote {escape(str(page))}")

    def _make_folders(self) -> None:
        """Refuse a place that cannot be written to before the work, not after it."""
        for folder in (self.report, None if self.json is None else self.json.absolute().parent):
            if folder is None:
                continue
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                hint = "Name another folder."
                raise TalkingError(folder, expected="a folder to write to", found=str(error), hint=hint) from error
