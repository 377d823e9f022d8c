"""Options of a dataset that a training was given, kept in the dataset's folder, so that every later command uses them.

Frame rate, name of the audio features and share of the training frames are options of `ns-train`'s dataparsers. Those
that are given there are written to `talking_options.json`; commands that are given none read them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import write_json

OPTIONS_NAME = "talking_options.json"
_HINT = f"Remove {OPTIONS_NAME}, or write it anew by training with the options."


@dataclass(frozen=True)
class DatasetOptions:
    """Options of a dataset folder; None where never given."""

    fps: float | None = None
    """Frame rate of the images, frames per second (AD-NeRF family)."""
    audio: str | None = None
    """File name of the audio features (AD-NeRF family)."""
    train_fraction: float | None = None
    """Share of the frames that are trained on (our own layout)."""

    def updated(self, **given: Any) -> DatasetOptions:
        """These options, and those given that are not None."""
        return DatasetOptions(**{**asdict(self), **{name: value for name, value in given.items() if value is not None}})


def load_options(folder: Path) -> DatasetOptions:
    """The options of a dataset folder.

    Raises:
        TalkingError: the file is damaged.
    """
    path = folder / OPTIONS_NAME
    if not path.is_file():
        return DatasetOptions()
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        options = DatasetOptions(**record)
        for name in ("fps", "train_fraction"):
            value = getattr(options, name)
            if value is not None and not 0 < float(value) < 1000:
                raise ValueError(f"{name} {value}")
        if options.audio is not None and not isinstance(options.audio, str):
            raise ValueError(f"audio {options.audio}")
    except (OSError, ValueError, TypeError) as error:
        names = ", ".join(field.name for field in fields(DatasetOptions))
        raise TalkingError(path, expected=f"a record of {names}", found=str(error), hint=_HINT) from error
    return options


def save_options(options: DatasetOptions, folder: Path) -> None:
    """Write the options of a dataset folder, atomically.

    Raises:
        TalkingError: the folder cannot be written.
    """
    write_json({name: value for name, value in asdict(options).items() if value is not None}, folder / OPTIONS_NAME)
