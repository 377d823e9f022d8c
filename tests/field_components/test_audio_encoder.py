"""The audio encoder."""

from __future__ import annotations

import pytest
import torch

from nerfstudio_talking.field_components.audio_encoder import AudioEncoder, neighbour_frames


def test_neighbours_are_i_minus_4_to_i_plus_3_clamped_to_the_track():
    frames = neighbour_frames(torch.tensor([0, 5, 9]), 10)
    assert frames.tolist() == [[0, 0, 0, 0, 0, 1, 2, 3], [1, 2, 3, 4, 5, 6, 7, 8], [5, 6, 7, 8, 9, 9, 9, 9]]


@pytest.mark.parametrize(("window", "channels"), [(16, 80), (16, 29), (2, 1024), (1, 512)])
def test_audio_encoder_reads_every_feature_of_the_field(window, channels):
    encoder = AudioEncoder(channels, 32).eval()
    windows = torch.randn(3, 8, window, channels)
    code = encoder(windows)
    assert code.shape == (3, 32)
    torch.testing.assert_close(encoder(windows[1:2]), code[1:2])  # a frame's code does not depend on the batch
