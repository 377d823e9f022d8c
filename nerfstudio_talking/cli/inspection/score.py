"""`ns-talking score`: any rendered video scored against the ground truth."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro
from rich.markup import escape

from nerfstudio_talking.io.console import CONSOLE, get_progress
from nerfstudio_talking.metrics.settings import ScoreSettings

if TYPE_CHECKING:
    from nerfstudio_talking.metrics.score_files import VideoScores


@dataclass
class Score(ScoreSettings):
    """Score a rendered video of any method against the ground truth. Sizes, rates and lengths may differ."""

    rendered: tyro.conf.Positional[Path]
    """The rendered video."""
    gt: tyro.conf.Positional[Path]
    """The ground truth video."""
    json: Path | None = None
    """The JSON file to write all scores to, also those of each frame."""
    report: Path | None = None
    """The folder to write score.html with curves, and worst_frames.png, into."""

    def main(self) -> None:
        """Score, print the table, write what was asked for."""
        from nerfstudio_talking.io.files import require_writable
        from nerfstudio_talking.metrics.score_files import score_videos
        from nerfstudio_talking.reports.score_report import PAGE_NAME

        for path in (self.json, None if self.report is None else self.report / PAGE_NAME):
            if path is not None:
                require_writable(path)
        with ExitStack() as stack:

            def start(title: str, total: int | None) -> Any:
                stack.close()  # one bar at a time
                bar = stack.enter_context(get_progress(title, suffix="frames/s"))
                task = bar.add_task(title, total=total)
                return lambda: bar.advance(task)

            result = score_videos(self.rendered, self.gt, self, start)
        self._print(result)
        if self.json is not None:
            self._write_json(result, self.json)
        if self.report is not None:
            self._write_report(result, self.report)

    @property
    def _title(self) -> str:
        return f"{self.rendered.name} against {self.gt.name}"

    def _print(self, result: VideoScores) -> None:
        from rich.table import Table

        from nerfstudio_talking.metrics.registry import TABLE_HEAD, format_table

        table = Table(title=escape(self._title))
        for column, justify in zip(TABLE_HEAD, ("left", "right", "right", "left")):
            table.add_column(column, justify=justify)  # type: ignore[arg-type]
        for row in format_table(result.scores):
            table.add_row(*(escape(cell) for cell in row))
        CONSOLE.print(table)
        for note in result.notes:
            CONSOLE.print(f"- {escape(note)}", soft_wrap=True)
        for name, reason in result.left_out.items():
            CONSOLE.print(f"[yellow]- {escape(name)} left out: {escape(reason)}", soft_wrap=True)

    def _write_json(self, result: VideoScores, path: Path) -> None:
        import numpy as np

        from nerfstudio_talking.io.files import write_json

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
        write_json(record, path)
        CONSOLE.print(f"[green]Wrote {escape(str(path))}")

    def _write_report(self, result: VideoScores, folder: Path) -> None:
        from nerfstudio_talking.metrics import score_files
        from nerfstudio_talking.metrics.registry import score_infos
        from nerfstudio_talking.reports import score_report

        name, frames = score_files.worst_frames(result.per_frame, result.fps)
        images = score_files.pick_frames(score_files.pair_videos(self.rendered, self.gt, self.gt_frames), frames)
        info, values = score_infos()[name], result.per_frame[name]
        captions = [f"frame {i}, {i / result.fps:.2f} s: {info.display_name} {info.format(values[i])}" for i in frames]
        sheet = score_report.draw_contact_sheet(images, captions)
        score_report.write_sheet(sheet, folder)
        page = score_report.write_page(folder, self._title, result, sheet)
        CONSOLE.print(f"[green]Wrote {escape(str(page))}")
