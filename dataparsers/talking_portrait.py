"""Datasets that `ns-talking process` wrote."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from nerfstudio_talking.clip import load_clip
from nerfstudio_talking.dataparsers.portrait import clip_outputs


@dataclass
class TalkingPortraitDataParserConfig(DataParserConfig):
    """Options of the reader of our own dataset folders."""

    _target: type = field(default_factory=lambda: TalkingPortraitDataParser)
    """Target class to instantiate."""
    data: Path = Path()
    """The dataset folder."""
    train_fraction: float = 10 / 11
    """Share of the frames, from the front, to train on; the rest evaluates."""


class TalkingPortraitDataParser(DataParser):
    """Reads a dataset folder (see track.py)."""

    config: TalkingPortraitDataParserConfig
    includes_time: bool = True
    downscale_factor: int | None = None
    """Read by nerfstudio's renderer; pictures keep their size."""

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs) -> DataparserOutputs:
        return clip_outputs(load_clip(self.config.data, self.config.train_fraction), split)


talking_portrait_data = DataParserSpecification(
    config=TalkingPortraitDataParserConfig(),
    description="Datasets written by ns-talking process.",
)
