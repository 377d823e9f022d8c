"""All training frames in memory, as bytes: full colours where they fit, else with subsampled chroma."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor


class FrameCache:
    """Images of a sequence as uint8 on a device, read as single pixels or as whole images.

    An image of h x w pixels takes 3hw bytes. Where all of them would not fit into `budget`, luma is kept in full and
    chroma at half the resolution both ways (JPEG's YCbCr, 4:2:0): 1.5hw bytes, and a difference that the eye does not
    see.

    Args:
        count: number of images.
        height: height of each, pixels.
        width: width of each, pixels.
        budget: bytes that full colours may take.
    """

    def __init__(self, count: int, height: int, width: int, budget: int) -> None:
        self.count, self.height, self.width = count, height, width
        self.halved = 3 * count * height * width > budget
        if self.halved:
            self._full = torch.empty(count, height, width, 1, dtype=torch.uint8)
            self._half = torch.empty(count, -(-height // 2), -(-width // 2), 2, dtype=torch.uint8)
        else:
            self._full = torch.empty(count, height, width, 3, dtype=torch.uint8)
            self._half = torch.empty(0, dtype=torch.uint8)

    @property
    def nbytes(self) -> int:
        """Number of bytes that the images take."""
        return self._full.nbytes + self._half.nbytes

    @property
    def device(self) -> torch.device:
        """Device that the images are on."""
        return self._full.device

    def to(self, device: torch.device | str) -> FrameCache:
        """Move the images; returns itself."""
        self._full, self._half = self._full.to(device), self._half.to(device)
        return self

    def put(self, index: int, image: Image.Image) -> None:
        """Keep an image in RGB of the cache's size."""
        if not self.halved:
            self._full[index] = torch.from_numpy(np.array(image))
            return
        luma, *chroma = image.convert("YCbCr").split()
        self._full[index, ..., 0] = torch.from_numpy(np.array(luma))
        half = [np.array(channel.reduce(2)) for channel in chroma]
        self._half[index] = torch.from_numpy(np.stack(half, -1))

    def colours(
        self, frame: Int64[Tensor, " pixels"], row: Int64[Tensor, " pixels"], column: Int64[Tensor, " pixels"]
    ) -> Float[Tensor, "pixels 3"]:
        """RGB of pixels, in [0, 1]."""
        full = self._full[frame, row, column].float()
        if not self.halved:
            return full / 255
        return _to_rgb(full, self._half[frame, row // 2, column // 2].float())

    def images(self, frames: Int64[Tensor, " frames"]) -> Float[Tensor, "frames height width 3"]:
        """RGB of whole images, in [0, 1]; the same values as `colours` gives pixel by pixel."""
        full = self._full[frames].float()
        if not self.halved:
            return full / 255
        chroma = self._half[frames].repeat_interleave(2, 1).repeat_interleave(2, 2)
        return _to_rgb(full, chroma[:, : self.height, : self.width].float())


def _to_rgb(luma: Float[Tensor, "*bs 1"], chroma: Float[Tensor, "*bs 2"]) -> Float[Tensor, "*bs 3"]:
    """JPEG's YCbCr in [0, 255] to RGB in [0, 1]."""
    blue, red = (chroma - 128).unbind(-1)
    luma = luma[..., 0]
    rgb = [luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue]
    return torch.stack(rgb, -1).clamp(0, 255) / 255
