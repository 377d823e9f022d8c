import numpy as np
import pytest
import torch

from nerfstudio_talking.dataset_io.track import load_track
from nerfstudio_talking.field_components.mouth_shape_predictor import MouthShapePredictor


def test_the_volume_sees_an_exact_gap_and_a_doubtful_rest_or_what_audio_tells(talking_dataset):
    track = load_track(talking_dataset)
    mouth_shape_predictor = MouthShapePredictor(
        track, np.arange(track.num_frames), 3, 0.0, 0.0, predicted_mouth_prob=0.25
    )
    torch.manual_seed(0)
    seen = mouth_shape_predictor.training_condition(torch.full((8000,), 5))
    mouth_shape, is_predicted = seen[:, :-1] / mouth_shape_predictor.channel_scale, seen[:, -1]
    assert seen.shape[1] == mouth_shape_predictor.condition_dim
    assert abs(is_predicted.mean() - 0.25) < 0.03
    tracked, predicted = mouth_shape[is_predicted == 0], mouth_shape[is_predicted == 1]
    torch.testing.assert_close(predicted, mouth_shape_predictor.predicted[5].expand_as(predicted))
    assert not torch.equal(mouth_shape_predictor.predicted, mouth_shape_predictor.tracked)
    torch.testing.assert_close(tracked[:, 0], mouth_shape_predictor.tracked[5, 0].expand(len(tracked)))
    assert (mouth_shape_predictor.prediction_std[1:] > 0).all()
    torch.testing.assert_close(tracked[:, 1:].std(0), mouth_shape_predictor.prediction_std[1:], rtol=0.05, atol=0.0)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_what_audio_tells_is_hearsay_where_the_volume_learned_to_tell_it_apart(talking_dataset, share):
    track = load_track(talking_dataset)
    mouth_shape_predictor = MouthShapePredictor(
        track, np.arange(track.num_frames), 3, 0.0, 0.0, predicted_mouth_prob=share
    ).eval()
    audio = torch.from_numpy(track.audio[:4]).float()
    seen = mouth_shape_predictor(audio, audio[:, None].expand(-1, 8, -1, -1))
    assert (seen[:, -1] == float(share > 0)).all()
    if share == 0:
        assert (mouth_shape_predictor.training_condition(torch.arange(4))[:, -1] == 0).all()
