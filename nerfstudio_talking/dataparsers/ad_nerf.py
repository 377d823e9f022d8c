"""Dataparser of AD-NeRF-family folders."""

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
    """Options of the dataparser of AD-NeRF, RAD-NeRF, ER-NeRF and SyncTalk folders."""

    _target: type = field(default_factory=lambda: AdNerfDataParser)
    """Target class to instantiate."""
    data: Path = Path()
    """Path of the dataset folder, which holds transforms_train.json."""
    audio: str | None = None
    """File name of the audio features in that folder; the usual names are tried where it is not given."""
    fps: float = 25.0
    """Frame rate of the images, frames per second; the family assumes 25."""


class AdNerfDataParser(PortraitDataParser):
    """Reads an AD-NeRF-family folder (see `dataset_io.ad_nerf`)."""

    config: AdNerfDataParserConfig

    def load_sequence(self) -> TalkingSequence:
        """Read the folder."""
        return load_ad_nerf_sequence(self.config.data, self.config.audio, self.config.fps)


ad_nerf_data = DataParserSpecification(
    config=AdNerfDataParserConfig(),
    description="Dataset folders of AD-NeRF, RAD-NeRF, ER-NeRF and SyncTalk.",
)
