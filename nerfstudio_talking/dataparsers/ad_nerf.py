"""Datasets of the AD-NeRF family, read as they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from nerfstudio_talking.dataparsers.portrait import PortraitDataParser
from nerfstudio_talking.dataset_io.ad_nerf import load_ad_nerf_sequence
from nerfstudio_talking.dataset_io.sequence import TalkingSequence


@dataclass
class AdNerfDataParserConfig(DataParserConfig):
    """Options of the reader of AD-NeRF, RAD-NeRF, ER-NeRF and SyncTalk folders."""

    _target: type = field(default_factory=lambda: AdNerfDataParser)
    """Target class to instantiate."""
    data: Path = Path()
    """The dataset folder, with transforms_train.json."""
    audio: str | None = None
    """File name of the audio features; found by itself where not given."""
    fps: float = 25.0
    """Frames per second."""


class AdNerfDataParser(PortraitDataParser):
    """Reads a folder of the AD-NeRF family (see nerfstudio_talking/ad_nerf.py)."""

    config: AdNerfDataParserConfig

    def load_sequence(self) -> TalkingSequence:
        """Read the folder."""
        return load_ad_nerf_sequence(self.config.data, self.config.audio, self.config.fps)


ad_nerf_data = DataParserSpecification(
    config=AdNerfDataParserConfig(),
    description="Datasets of AD-NeRF, RAD-NeRF, ER-NeRF and SyncTalk, as they are.",
)
