"""Dataparser of AD-NeRF-family folders."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from nerfstudio_talking.dataparsers.portrait import PortraitDataParser, PortraitDataParserConfig
from nerfstudio_talking.dataset_io.ad_nerf import load_ad_nerf_sequence
from nerfstudio_talking.dataset_io.sequence import TalkingSequence


@dataclass
class AdNerfDataParserConfig(PortraitDataParserConfig):
    """Options of the dataparser of AD-NeRF, RAD-NeRF, ER-NeRF and SyncTalk folders."""

    _target: type = field(default_factory=lambda: AdNerfDataParser)
    """Target class to instantiate."""
    data: Path = Path()
    """Path of the dataset folder, which holds transforms_train.json."""
    audio: str | None = None
    """File name of the audio features in that folder; the usual names are tried where it is not given. It is kept in
    the folder for later commands."""
    fps: float | None = None
    """Frame rate of the images, frames per second; 25, which the family assumes, where it is not given. It is kept in
    the folder for later commands."""
    dataset_options: ClassVar[dict[str, float | str | None]] = {"audio": None, "fps": 25.0}
    """What is kept in the folder."""


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
