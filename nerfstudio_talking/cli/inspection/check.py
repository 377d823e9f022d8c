"""`ns-talking check`: validate a dataset folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.markup import escape

from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError


@dataclass
class Check:
    """Validate a dataset folder of either layout and list its problems."""

    data: Annotated[Path, tyro.conf.Positional]
    """Path of the dataset folder."""
    images: bool = True
    """Whether to decode every image too, which finds truncated ones."""

    def main(self) -> None:
        """Print a summary and the problems; raise where there are any."""
        from rich.table import Table

        from nerfstudio_talking.dataset_io.validation import load_any_sequence, sequence_problems

        sequence = load_any_sequence(self.data)
        track = sequence.track
        table = Table(title=escape(str(self.data)), show_header=False)
        for name, value in {
            "frames": f"{track.num_frames} ({len(sequence.train_frames)} train, {len(sequence.eval_frames)} evaluate)",
            "length": f"{track.duration:.2f} s at {track.fps:g} frames per second",
            "image": f"{track.width}x{track.height}, focal length {track.camera.focal:.0f} px",
            "audio": f"{track.audio_kind}, {track.audio.shape[1]}x{track.audio.shape[2]} per frame",
            "eyes": f"{track.eyes.shape[1]} column(s), {track.eyes.min():.2f} to {track.eyes.max():.2f}",
            "landmarks": "none" if track.landmarks is None else str(track.landmarks.shape[1]),
            "torso references": "none" if sequence.torso_references is None else str(len(sequence.torso_references)),
        }.items():
            table.add_row(name, value)
        CONSOLE.print(table)
        problems = sequence_problems(sequence, self.images)
        for problem in problems:
            CONSOLE.print(f"[red]- {escape(problem)}", soft_wrap=True)
        if problems:
            raise TalkingError(
                self.data, expected="a valid dataset", found=f"{len(problems)} problem(s)", hint="See the list above."
            )
        CONSOLE.print("[green]No problems.")
