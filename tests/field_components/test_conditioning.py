"""From times to frame conditions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_talking.dataset_io.track import load_track
from nerfstudio_talking.field_components.conditioning import ConditioningTrack, pose_code
from nerfstudio_talking.io.errors import TalkingError


@pytest.fixture
def conditioning(talking_dataset) -> ConditioningTrack:
    return ConditioningTrack(load_track(talking_dataset))


def test_times_mean_the_nearest_frame(conditioning):
    last = conditioning.num_frames - 1
    times = torch.tensor([[5 / last], [-0.3], [2 / last + 0.4 / last], [1.7], [5 / last]])
    frames, row = conditioning.frames_of(times, 5)
    assert frames.tolist() == [0, 2, 5, last]
    assert frames[row].tolist() == [5, 0, 2, last, 5]


def test_no_times_mean_the_first_frame(conditioning):
    frames, row = conditioning.frames_of(None, 3)
    assert (frames.tolist(), row.tolist()) == ([0], [0, 0, 0])


def test_the_eye_condition_is_twice_the_closure(conditioning):
    conditioning.eyes[:3, 0] = torch.tensor([1.0, 0.25, 0.0])
    assert conditioning.eye_condition(torch.arange(3))[:, 0].tolist() == [0.0, 1.5, 2.0]


def test_a_track_with_other_features_is_refused(conditioning, talking_dataset):
    track = load_track(talking_dataset)
    other = track.replace(audio=np.zeros((track.num_frames, 16, 29), np.float32))
    with pytest.raises(TalkingError, match="audio of shape"):
        conditioning.load(other)


def test_pose_codes_tell_rotation_and_position():
    rotation = Rotation.from_rotvec([0.0, 0.1, 0.0]).as_matrix()
    pose = np.concatenate([rotation, rotation @ np.array([[0.02], [0.0], [0.9]])], 1)
    code = pose_code(torch.from_numpy(pose)[None])[0]
    assert torch.allclose(code, torch.tensor([0.0, np.sin(0.1), 0.0, -0.02, 0.0, -0.9]).double())
