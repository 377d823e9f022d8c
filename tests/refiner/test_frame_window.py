"""Windows of three frames, of a whole video and of a stream."""

from __future__ import annotations

import pytest
import torch

from nerfstudio_talking.refiner.frame_window import SlidingWindow, stack_windows, to_network, to_unit, window_frames


def test_the_first_frame_stands_in_for_those_before_it():
    assert window_frames(torch.tensor([0, 1, 2, 7])).tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [5, 6, 7]]


def test_a_stream_gives_the_windows_of_the_whole_video():
    video = torch.randint(0, 256, (5, 6, 7, 3), dtype=torch.uint8)
    whole = stack_windows(video, torch.arange(5))
    stream = SlidingWindow()
    for frame in range(5):
        assert torch.equal(stream.push(video[frame])[0], whole[frame])
    with pytest.raises(ValueError, match="one size"):
        stream.push(video[0, :4])


def test_the_networks_range_and_back():
    levels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    torch.testing.assert_close(to_network(levels), torch.tensor([-1.0, -0.6, 1.0]))
    torch.testing.assert_close(to_unit(torch.tensor([-1.2, -0.6, 1.0])), torch.tensor([0.0, 0.2, 1.0]))
