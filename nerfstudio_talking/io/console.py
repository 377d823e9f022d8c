"""The console and the progress bars of this package, which look like nerfstudio's.

nerfstudio is not imported: its method registry would delay the start of every command by many seconds.
"""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

CONSOLE = Console(width=120, emoji=False)
"""Prints `:b:` as it stands, since file names may hold such words; markup in file names is for `escape`."""


def print_error(error: Exception) -> None:
    """Print the message of an error that is meant for the user."""
    CONSOLE.print(f"[bold red]Error:[/] {escape(str(error))}", soft_wrap=True, highlight=False)


class RateColumn(ProgressColumn):
    """Speed of a task in steps per second."""

    def __init__(self, suffix: str) -> None:
        super().__init__()
        self.suffix = suffix

    def render(self, task: Task) -> Text:
        """The speed, or a question mark before the first step."""
        speed = task.finished_speed or task.speed
        return Text("?" if speed is None else f"{speed:.2f} {self.suffix}", style="progress.data.speed")


def get_progress(description: str, suffix: str | None = None) -> Progress:
    """A progress bar in nerfstudio's style.

    Args:
        description: text in front of the bar.
        suffix: unit of the speed, such as `frames/s`; no speed where None.
    """
    columns: list[ProgressColumn] = [TextColumn(description), BarColumn(), TaskProgressColumn(show_speed=True)]
    if suffix is not None:
        columns.append(RateColumn(suffix))
    return Progress(*columns, TimeRemainingColumn(elapsed_when_finished=True, compact=True))
