"""`ns-talking check`: is a dataset folder whole?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.markup import escape
from rich.table import Table

from nerfstudio_talking.dataset_io.validation import load_any_sequence, sequence_problems
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError


@dataclass
class Check:
    """Validate a dataset folder of either layout and say what is wrong with it."""

    data: Annotated[Path, tyro.conf.Positional]
    """The dataset folder."""
    images: bool = True
    """Decode every image too."""

    def main(self) -> None:
        """Print a summary; raise where anything is wrong."""
        clip = load_any_sequence(self.data)
        track = clip.track
        table = Table(title=escape(str(self.data)), show_header=False)
        for name, value in {
            "frames": f"{track.num_frames} ({len(clip.train_frames)} train, {len(clip.eval_frames)} evaluate)",
            "length": f"{track.duration:.2f} s at {track.fps:g} frames per second",
            "image": f"{track.width}x{track.height}, focal length {track.camera.focal:.0f} px",
            "audio": f"{track.audio_kind}, {track.audio.shape[1]}x{track.audio.shape[2]} per frame",
            "eyes": f"{track.eyes.shape[1]} column(s), {track.eyes.min():.2f} to {track.eyes.max():.2f}",
            "landmarks": "none" if track.landmarks is None else str(track.landmarks.shape[1]),
            "torso references": "none" if clip.torso_references is None else str(len(clip.torso_references)),
        }.items():
            table.add_row(name, value)
        CONSOLE.print(table)
        problems = sequence_problems(clip, self.images)
        for problem in problems:
            CONSOLE.print(f"[red]- {escape(problem)}", soft_wrap=True)
        if problems:
            raise TalkingError(
                self.data, expected="a whole dataset", found=f"{len(problems)} problem(s)", hint="See the list above."
            )
        CONSOLE.print("[green]Nothing wrong.")
