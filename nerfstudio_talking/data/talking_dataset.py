"""nerfstudio dataset of the frames of a sequence with their parsing maps."""

from __future__ import annotations

import numpy as np
import torch
from nerfstudio.data.datasets.base_dataset import InputDataset
from torch import Tensor

from nerfstudio_talking.dataset_io.parsing_labels import colour_parsing
from nerfstudio_talking.dataset_io.sequence import TalkingSequence, load_parsing


class TalkingDataset(InputDataset):
    """An InputDataset whose batches hold `parsing`, (H, W, 1) class ids, where the sequence has it."""

    exclude_batch_keys_from_device = [*InputDataset.exclude_batch_keys_from_device, "parsing"]  # noqa: RUF012

    shows_colours = False
    """Whether `parsing` in batches is (H, W, 3) colours in [0, 1], as renderings of it, instead of class ids."""

    @property
    def sequence(self) -> TalkingSequence:
        """The sequence that the frames come from."""
        return self.metadata["sequence"]

    def track_frame(self, image_idx: int) -> int:
        """Position in the track of one of the split's frames."""
        return int(self.metadata["frame_indices"][image_idx])

    def parsing(self, image_idx: int) -> np.ndarray | None:
        """Class ids (H, W) uint8 of a frame, at the size of its image in this dataset."""
        if self.sequence.parsing_paths is None:
            return None
        ids = load_parsing(self.sequence, self.track_frame(image_idx))
        height, width = (int(getattr(self.cameras, side)[image_idx].item()) for side in ("height", "width"))
        if ids.shape != (height, width):
            rows = (np.arange(height) + 0.5) * ids.shape[0] / height
            columns = (np.arange(width) + 0.5) * ids.shape[1] / width
            ids = ids[rows.astype(int)][:, columns.astype(int)]
        return ids

    def get_metadata(self, data: dict) -> dict[str, Tensor]:
        """The parsing map; one spatial tensor, as nerfstudio's pixel samplers demand of every key."""
        ids = self.parsing(data["image_idx"])
        if ids is None:
            return {}
        if self.shows_colours:
            return {"parsing": torch.from_numpy(colour_parsing(ids)).float() / 255}
        return {"parsing": torch.from_numpy(ids.astype(np.int64))[..., None]}
