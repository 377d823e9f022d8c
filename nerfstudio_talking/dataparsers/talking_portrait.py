"""Dataparser of the dataset folders that `ns-talking process` writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from nerfstudio_talking.dataparsers.portrait import PortraitDataParser, PortraitDataParserConfig
from nerfstudio_talking.dataset_io.sequence import TRAIN_FRACTION, TalkingSequence, load_sequence


@dataclass
class TalkingPortraitDataParserConfig(PortraitDataParserConfig):
    """Options of the dataparser of our own dataset folders."""

    _target: type = field(default_factory=lambda: TalkingPortraitDataParser)
    """Target class to instantiate."""
    data: Path = Path()
    """Path of the dataset folder."""
    train_fraction: float | None = None
    """Share of the frames, from the first one on, that are trained on, the rest being for evaluation; 10/11 where it is
    not given. It is kept in the folder for later commands."""
    dataset_options: ClassVar[dict[str, float | str | None]] = {"train_fraction": TRAIN_FRACTION}
    """What is kept in the folder."""


class TalkingPortraitDataParser(PortraitDataParser):
    """Reads a dataset folder of our own layout (see `dataset_io.track`)."""

    config: TalkingPortraitDataParserConfig

    def load_sequence(self) -> TalkingSequence:
        """Read the folder."""
        return load_sequence(self.config.data, self.config.train_fraction)


talking_portrait_data = DataParserSpecification(
    config=TalkingPortraitDataParserConfig(),
    description="Dataset folders written by ns-talking process.",
)
