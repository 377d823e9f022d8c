"""The region about the face, and how it is pasted back."""

from __future__ import annotations

import numpy as np
import torch

from nerfstudio_talking.refiner.generator import RefinedFrames
from nerfstudio_talking.refiner.roi import as_roi, face_roi, paste_back, roi_slices


def test_the_region_holds_all_faces_with_a_margin():
    boxes = torch.tensor([[20.0, 10, 60, 50], [30, 20, 80, 60]])
    roi = face_roi(boxes, 100, 200)  # the union with 0.15 of its sides: 20 - 9 to 80 + 9, 10 - 7.5 to 60 + 7.5
    np.testing.assert_allclose(roi, (11 / 200, 2.5 / 100, 89 / 200, 67.5 / 100), rtol=1e-6)
    assert face_roi(torch.tensor([[0.0, 0, 200, 100]]), 100, 200) == (0, 0, 1, 1)
    assert as_roi(torch.tensor([0.25, 0.5, 0.75, 1.0])) == (0.25, 0.5, 0.75, 1.0)


def test_rows_and_columns_of_a_region():
    assert roi_slices((0.25, 0.5, 0.75, 1.0), 10, 20) == (slice(5, 10), slice(5, 15))
    assert roi_slices((0.99, 0.99, 0.99, 0.99), 10, 10) == (slice(9, 10), slice(9, 10))


def test_a_pasted_region_fades_out_but_not_at_the_images_own_border():
    rendered = torch.zeros(1, 3, 64, 64)
    ones = torch.ones(1, 3, 32, 32)
    pasted = paste_back(RefinedFrames(ones, ones, ones[:, :1]), rendered, (0.25, 0.0, 0.75, 0.5))
    # a border of 32 / 16 = 2 pixels, whose centres lie a quarter and three quarters in
    fade = np.ones(32)
    fade[[0, 1, -2, -1]] = 0.25, 0.75, 0.75, 0.25
    down = np.where(np.arange(32) < 16, 1.0, fade)  # the upper end is the image's own
    expected = np.zeros((64, 64))
    expected[:32, 16:48] = down[:, None] * fade
    np.testing.assert_allclose(pasted.output[0, 0], expected, atol=1e-6)
    np.testing.assert_allclose(pasted.mask[0, 0], expected, atol=1e-6)
    np.testing.assert_array_equal(pasted.painted[0, 0], expected > 0)
