"""Base class of the dataparsers: a talking sequence as nerfstudio's dataparser outputs."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property

import numpy as np
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox

from nerfstudio_talking.cameras.head_box import head_box
from nerfstudio_talking.dataset_io.parsing_labels import HEAD_CLASSES, class_mask
from nerfstudio_talking.dataset_io.sequence import TalkingSequence, load_parsing


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
        return self.load_sequence()

    @cached_property
    def _scene_box(self) -> SceneBox:
        return sequence_box(self._sequence)

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs) -> DataparserOutputs:
        return sequence_outputs(self._sequence, split, self._scene_box)
