"""What the models measure of an evaluation frame: one definition of PSNR and SSIM."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from helpers.faces import add_noise, smooth_image

from nerfstudio_talking.metrics.functional.images import psnr, quantize, ssim
from nerfstudio_talking.models.memory_gan import MemoryGanModel
from nerfstudio_talking.models.portrait_model import PortraitModel

GT = quantize(smooth_image(48, 48))
RENDERED, GIVEN = add_noise(GT, 0.05), add_noise(GT, 0.1)


def score(model: type, outputs: dict[str, torch.Tensor]) -> dict[str, float]:
    stand_in = SimpleNamespace(device=torch.device("cpu"), _kept=None)
    return model.get_image_metrics_and_images(stand_in, outputs, {"image": GT})[0]


@pytest.mark.parametrize("model", [PortraitModel, MemoryGanModel])
def test_frames_are_scored_as_they_would_be_written(model: type) -> None:
    one = torch.ones(48, 48, 1)
    outputs = {"rgb": RENDERED, "rendered": GIVEN, "accumulation": one, "mask": one, "parsing": GT}
    metrics = score(model, outputs)
    assert metrics["psnr"] == psnr(quantize(RENDERED), GT) != psnr(RENDERED, GT)
    assert metrics["ssim"] == ssim(quantize(RENDERED), GT)
    if model is MemoryGanModel:
        assert metrics.pop("rendered_psnr") == psnr(quantize(GIVEN), GT) < metrics["psnr"]
        assert metrics.pop("rendered_ssim") == ssim(quantize(GIVEN), GT)
    assert set(metrics) == {"psnr", "ssim"}
