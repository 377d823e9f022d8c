"""Image scores of a video: PSNR, SSIM, LPIPS, FID, and how sharp it is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from typing_extensions import Self

from nerfstudio_talking.io.weights import find_weights
from nerfstudio_talking.metrics.base import MetricOptions, Unavailable, VideoMetric, region_key
from nerfstudio_talking.metrics.functional.images import lpips_distance, psnr, ssim, to_levels
from nerfstudio_talking.metrics.functional.networks import (
    ALEXNET_FILES,
    INCEPTION_FILES,
    inception_network,
    lpips_network,
)
from nerfstudio_talking.metrics.functional.sharpness import detail_ratio, sharpness_error
from nerfstudio_talking.metrics.regions import SMALLEST_BOX, FrameRegions, box_pixels

_BOXES = ("face", "mouth")
_NOWHERE = FrameRegions()


def crop_region(
    image: Float[Tensor, "height width 3"], regions: FrameRegions, region: str, least: int = SMALLEST_BOX
) -> Float[Tensor, "rows columns 3"] | None:
    """What an image score of a region looks at.

    Args:
        image: a frame.
        regions: where face and mouth are.
        region: `face`, `mouth`, or empty for the whole frame.
        least: pixels that a box has on a side, at the least.

    Returns:
        None where the region is not seen.
    """
    if not region:
        return image
    box = regions.boxes[region]
    pixels = None if box is None else box_pixels(box, *image.shape[:2], least=least)
    return None if pixels is None else image[pixels]


class ImageMetric(VideoMetric):
    """Mean over frames of a measure of two images: of the frame, and of the boxes of face and mouth where they are
    seen. Called with a frame it returns that frame's scores."""

    regions = ("", *_BOXES)
    least = SMALLEST_BOX
    """Pixels that a box has on a side, at the least."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(len(self.regions), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("frames", torch.zeros(len(self.regions), dtype=torch.int64), dist_reduce_fx="sum")

    @abstractmethod
    def measure(self, rendered: Float[Tensor, "height width 3"], gt: Float[Tensor, "height width 3"]) -> float:
        """The measure of two images in [0, 1]."""

    def update(
        self,
        rendered: Float[Tensor, "height width 3"],
        gt: Float[Tensor, "gt_height gt_width 3"],
        regions: FrameRegions = _NOWHERE,
    ) -> None:
        """Add a frame.

        Args:
            rendered: the rendering in [0, 1], of 256 levels.
            gt: the ground truth frame likewise, on the same device.
            regions: boxes of the ground truth frame.

        Raises:
            ValueError: the images are not of one size.
        """
        if rendered.shape != gt.shape:
            raise ValueError(f"images of one size are compared, not {tuple(rendered.shape)} and {tuple(gt.shape)}")
        self._frame_scores = {}
        for index, region in enumerate(self.regions):
            a, b = (crop_region(image, regions, region, self.least) for image in (rendered, gt))
            if a is None or b is None:
                continue
            value = self.measure(a, b)
            self.total[index] += value  # type: ignore[index]
            self.frames[index] += 1  # type: ignore[index]
            self._frame_scores[region_key(self.name, region)] = value

    def compute(self) -> dict[str, float]:
        """Means by name; a region that was never seen has none."""
        total, frames = self.total.tolist(), self.frames.tolist()  # type: ignore[operator]
        return {
            region_key(self.name, region): total[i] / frames[i] for i, region in enumerate(self.regions) if frames[i]
        }


class PeakSignalNoiseRatio(ImageMetric):
    """PSNR: see `functional.images.psnr`."""

    name = "psnr"
    display_name = "PSNR"
    unit = "dB"
    higher_is_better = True
    number_format = ".2f"

    def measure(self, rendered: Float[Tensor, "height width 3"], gt: Float[Tensor, "height width 3"]) -> float:
        """PSNR of two images in dB."""
        return psnr(rendered, gt)


class StructuralSimilarity(ImageMetric):
    """SSIM: see `functional.images.ssim`."""

    name = "ssim"
    display_name = "SSIM"
    higher_is_better = True
    number_format = ".4f"

    def measure(self, rendered: Float[Tensor, "height width 3"], gt: Float[Tensor, "height width 3"]) -> float:
        """SSIM of two images."""
        return ssim(rendered, gt)


class PerceptualDistance(ImageMetric):
    """LPIPS: see `functional.images.lpips_distance`.

    Args:
        network: from `functional.networks.lpips_network`; it is moved to the images' device.
    """

    name = "lpips"
    display_name = "LPIPS"
    higher_is_better = False
    number_format = ".4f"

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = [network]  # in a list: no part of this module's weights

    @classmethod
    def make(cls, options: MetricOptions) -> Self:
        """LPIPS with the weights of the options or of the torch cache."""
        path = find_weights(options.lpips_weights, ALEXNET_FILES)
        if path is None:
            raise Unavailable(f"no weights: {ALEXNET_FILES[0]} is not in the torch cache; give its path")
        return cls(lpips_network(path))

    def measure(self, rendered: Float[Tensor, "height width 3"], gt: Float[Tensor, "height width 3"]) -> float:
        """LPIPS of two images."""
        return lpips_distance(rendered, gt, self._network[0].to(rendered.device))


class FrechetDistance(VideoMetric):
    """FID (Heusel et al. 2017) between the frames of both videos, by torchmetrics.

    Args:
        network: features of uint8 images, from `functional.networks.inception_network`; it is moved to their device.
    """

    name = "fid"
    display_name = "FID"
    higher_is_better = False
    number_format = ".2f"
    regions = ("", *_BOXES)

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        # in a list: no part of this module's weights
        self._distances = [{region: FrechetInceptionDistance(network) for region in self.regions}]  # type: ignore[arg-type]

    @classmethod
    def make(cls, options: MetricOptions) -> Self:
        """FID with the weights of the options or of the torch cache."""
        if not options.fid:
            raise Unavailable("not asked for")
        path = find_weights(options.fid_weights, INCEPTION_FILES)
        if path is None:
            raise Unavailable(f"no weights: {INCEPTION_FILES[0]} is not in the torch cache; give its path")
        return cls(inception_network(path))

    def update(
        self,
        rendered: Float[Tensor, "height width 3"],
        gt: Float[Tensor, "height width 3"],
        regions: FrameRegions = _NOWHERE,
    ) -> None:
        """Add a frame; arguments as in `ImageMetric.update`."""
        for region, distance in self._distances[0].items():
            distance.to(rendered.device)
            for image, real in ((rendered, False), (gt, True)):
                crop = crop_region(image, regions, region, least=1)
                if crop is not None:
                    levels = (crop * 255).round().to(torch.uint8).permute(2, 0, 1)[None].contiguous()
                    distance.update(levels, real=real)

    def reset(self) -> None:
        """Forget all frames."""
        super().reset()
        for distance in self._distances[0].values():
            distance.reset()

    def compute(self) -> dict[str, float]:
        """FID by region; none for a region that fewer than two frames show."""
        return {
            region_key(self.name, region): float(distance.compute())
            for region, distance in self._distances[0].items()
            if int(distance.real_features_num_samples) >= 2  # type: ignore[arg-type]
        }


class DetailMetric(ImageMetric):
    """Base of the measures of fine detail, in the boxes of face and mouth."""

    number_format = ".4f"
    regions = _BOXES
    least = 1
    in_suite = False
    compare: ClassVar[Callable[[np.ndarray, np.ndarray], float]]
    """Measure of two uint8 images, rendering and ground truth; a static method."""

    def measure(self, rendered: Float[Tensor, "height width 3"], gt: Float[Tensor, "height width 3"]) -> float:
        """The measure of two images in [0, 1]."""
        return type(self).compare(to_levels(rendered), to_levels(gt))


class SharpnessError(DetailMetric):
    """How far the fine detail of face and mouth is from the ground truth's: `functional.sharpness.sharpness_error`."""

    name = "sharpness"
    display_name = "sharpness error"
    unit = "octaves"
    higher_is_better = False
    compare = staticmethod(sharpness_error)


class DetailRatio(DetailMetric):
    """Fine detail of face and mouth over the ground truth's: `functional.sharpness.detail_ratio`."""

    name = "detail"
    display_name = "detail over the ground truth's"
    compare = staticmethod(detail_ratio)
