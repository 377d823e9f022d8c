"""Base class of the dataparsers: a talking sequence as nerfstudio's dataparser outputs."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from rich.markup import escape

from nerfstudio_talking.cameras.head_box import head_box
from nerfstudio_talking.dataset_io.dataset_options import OPTIONS_NAME, load_options, save_options
from nerfstudio_talking.dataset_io.parsing_labels import HEAD_CLASSES, class_mask
from nerfstudio_talking.dataset_io.sequence import TalkingSequence, load_parsing
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError


def sequence_box(sequence: TalkingSequence, most: int = 24) -> SceneBox:
    """The head box of a sequence, from `most` of its training frames."""
    if sequence.parsing_paths is None:
        return SceneBox(aabb=torch.tensor([[-0.15, -0.18, -0.16], [0.15, 0.2, 0.13]]))
    frames = np.unique(np.linspace(0, len(sequence.train_frames) - 1, most).astype(int))
    chosen = sequence.train_frames[frames]
    masks = (class_mask(load_parsing(sequence, int(frame)), HEAD_CLASSES) for frame in chosen)
    box = head_box(masks, sequence.track.camera_to_worlds[chosen], sequence.track.camera)
    return SceneBox(aabb=torch.from_numpy(box).float())


def sequence_outputs(sequence: TalkingSequence, split: str, scene_box: SceneBox | None = None) -> DataparserOutputs:
    """Cameras with times, image paths, the head box, and the sequence itself as metadata.

    Training and evaluation frames share the sequence's clock. World is the head, so poses are not oriented, centred or
    scaled.
    """
    track = sequence.track
    frames = sequence.train_frames if split == "train" else sequence.eval_frames
    cameras = track.camera.to_nerfstudio(track.camera_to_worlds[frames], track.times[frames])
    return DataparserOutputs(
        image_filenames=[sequence.image_paths[frame] for frame in frames],
        cameras=cameras,
        scene_box=scene_box or sequence_box(sequence),
        metadata={"sequence": sequence, "frame_indices": frames},
        dataparser_scale=1.0,
        dataparser_transform=torch.eye(4)[:3],
    )


@dataclass
class PortraitDataParserConfig(DataParserConfig):
    """What the configurations of our dataparsers share: options that belong to the dataset, and not to one run."""

    dataset_options: ClassVar[dict[str, float | str | None]] = {}
    """The options that are kept in the dataset's folder, and what they are where never given."""
    downscale_factor: ClassVar[float | None] = None
    """Set by `ns-render dataset --downscale-factor`; the datamanager goes by it."""

    def settle(self) -> None:
        """Fill in the options that were not given from the dataset's folder; those that were given are kept there.

        Raises:
            TalkingError: the folder's options are damaged.
        """
        path = self.data / OPTIONS_NAME
        stored = load_options(self.data)
        given = {name: getattr(self, name) for name in self.dataset_options}
        changed = {name: value for name, value in given.items() if value not in (None, self.dataset_options[name])}
        options = stored.updated(**given) if path.is_file() else stored.updated(**changed)
        if options != stored and self.data.is_dir():
            try:
                save_options(options, self.data)
            except TalkingError as error:
                text = f"{path} cannot be written ({error.found}): other commands do not know of these options."
                CONSOLE.print(f"[yellow]{escape(text)}", soft_wrap=True)
        for name, default in self.dataset_options.items():
            value = getattr(options, name)
            if given[name] is None and value is not None:
                CONSOLE.print(escape(f"{name} {value}, from {path}."), soft_wrap=True)
            setattr(self, name, given[name] or value or default)


class PortraitDataParser(DataParser):
    """A dataparser that reads its sequence, and computes the head box, once for both splits."""

    includes_time: bool = True
    downscale_factor: int | None = None
    """Read by nerfstudio's renderer; images are never downscaled."""

    @abstractmethod
    def load_sequence(self) -> TalkingSequence:
        """Read the sequence."""

    @cached_property
    def _sequence(self) -> TalkingSequence:
        sequence = self.load_sequence()
        if sequence.parsing_paths is None:
            CONSOLE.print("[yellow]The dataset has no parsing maps: what needs them is left out.", soft_wrap=True)
        return sequence

    @cached_property
    def _scene_box(self) -> SceneBox:
        return sequence_box(self._sequence)

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs) -> DataparserOutputs:
        return sequence_outputs(self._sequence, split, self._scene_box)
