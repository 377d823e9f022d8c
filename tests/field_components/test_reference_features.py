"""Feature maps of reference images."""

from __future__ import annotations

import torch

from nerfstudio_talking.field_components.reference_features import ReferenceUNet, sample_maps


def test_reference_features_cover_the_image():
    for height, width in ((48, 48), (50, 62)):
        unet = ReferenceUNet(out_dim=8)
        maps = unet(unet.fold(torch.rand(2, 4, height, width)), height, width)
        assert maps.shape[:2] == (2, 8)
        assert abs(maps.shape[2] - height / 4) <= 1
        assert abs(maps.shape[3] - width / 4) <= 1


def test_sample_maps_hits_pixel_centres():
    maps = torch.arange(12.0).view(1, 1, 3, 4)
    # centre of row 1, column 2: x = 2 * 2.5 / 4 - 1, y = 2 * 1.5 / 3 - 1
    assert sample_maps(maps, torch.tensor([[[0.25, 0.0]]])).item() == 6.0
