"""The mouth-shape predictor: what it is fitted to, and what portraits are conditioned on in training and after."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nerfstudio_talking.audio.amplitude import amplitude_curves, apply_curves, soft_limit
from nerfstudio_talking.audio.kernel_regression import fit_audio_regression
from nerfstudio_talking.audio.mouth_prior.network import load_mouth_prior
from nerfstudio_talking.dataset_io.track import TalkingTrack, load_track
from nerfstudio_talking.field_components.mouth_shape_predictor import (
    MouthShapePredictor,
    rest_mouth_shape,
    track_mouth_shapes,
)
from nerfstudio_talking.io.errors import TalkingError


@pytest.fixture(scope="module")
def track(talking_dataset) -> TalkingTrack:
    return load_track(talking_dataset)


def make(track: TalkingTrack, frames: np.ndarray, prob: float = 0.5, count: int = 3) -> MouthShapePredictor:
    torch.manual_seed(0)
    return MouthShapePredictor(track, frames, count, 0.0, 0.0, predicted_mouth_prob=prob)


def audio_and_windows(track: TalkingTrack) -> tuple[torch.Tensor, torch.Tensor]:
    audio = torch.from_numpy(track.audio[:4]).float()
    return audio, audio[:, None].expand(-1, 8, -1, -1)


def test_a_tracked_gap_is_exact_and_the_other_coefficients_are_as_uncertain_as_predictions(track):
    frames = np.arange(track.num_frames)
    predictor = make(track, frames, prob=0.25)
    predictor.fit(track, frames)
    torch.manual_seed(0)
    seen = predictor.training_condition(torch.full((8000,), 5))
    mouth_shape, is_predicted = seen[:, :-1] / predictor.channel_scale, seen[:, -1]
    assert seen.shape[1] == predictor.condition_dim
    assert abs(is_predicted.mean() - 0.25) < 0.03
    tracked, predicted = mouth_shape[is_predicted == 0], mouth_shape[is_predicted == 1]
    torch.testing.assert_close(predicted, predictor.predicted[5].expand_as(predicted))
    assert not torch.equal(predictor.predicted, predictor.tracked)
    torch.testing.assert_close(tracked[:, 0], predictor.tracked[5, 0].expand(len(tracked)))
    assert (predictor.prediction_std[1:] > 0).all()
    torch.testing.assert_close(tracked[:, 1:].std(0), predictor.prediction_std[1:], rtol=0.05, atol=0.0)


@pytest.mark.parametrize("prob", [0.0, 0.5])
def test_predictions_are_marked_where_training_saw_some(track, prob):
    frames = np.arange(track.num_frames)
    predictor = make(track, frames, prob).eval()
    predictor.fit(track, frames)
    assert (predictor(*audio_and_windows(track), torch.ones(4))[:, -1] == float(prob > 0)).all()
    if prob == 0:
        assert (predictor.training_condition(torch.arange(4))[:, -1] == 0).all()


def test_fit_is_the_regression_on_the_frames_where_the_mouth_was_seen(track):
    assert track.landmarks is not None
    landmarks = track.landmarks.copy()
    landmarks[3] = np.nan
    gap = track.replace(landmarks=landmarks)
    frames = np.arange(18)
    predictor = make(gap, frames)
    predictor.fit(gap, frames)
    tracked, seen = track_mouth_shapes(gap, frames, 3)
    assert np.flatnonzero(~seen).tolist() == [3]
    np.testing.assert_allclose(tracked[3], (tracked[2] + tracked[4]) / 2)
    usable = np.delete(frames, 3)
    inputs = predictor.regression_inputs(torch.from_numpy(track.audio)).double().numpy()
    prior = load_mouth_prior("logmel")
    assert prior is not None
    measures = prior(torch.from_numpy(track.audio[usable])).double().numpy()[:, :3]
    expected, held_out = fit_audio_regression(inputs[usable], tracked[usable], prior=measures)
    for name in ("mean", "std", "support", "dual", "slope", "bias"):
        np.testing.assert_array_equal(getattr(predictor, name), getattr(expected, name).astype(np.float32))
    # brought to the amplitude of the recording: the gap is predicted, so that the ends are those tracked
    curves = torch.from_numpy(amplitude_curves(held_out, tracked[usable], 3))
    shown = apply_curves(torch.from_numpy(held_out), curves)
    np.testing.assert_allclose(predictor.predicted[usable], shown, atol=1e-5)
    np.testing.assert_allclose(predictor.predicted[usable, 0].max(), np.quantile(tracked[usable, 0], 0.97), rtol=1e-5)
    # frames without a prediction are conditioned on the tracked mouth shape
    np.testing.assert_array_equal(predictor.predicted[18:], tracked[18:].astype(np.float32))


def test_the_mouth_leaves_its_rest_as_far_as_there_is_voice(track):
    frames = np.arange(track.num_frames)
    activity = np.ones(track.num_frames, np.float32)
    activity[6:18] = 0
    predictor = make(track.replace(mouth_activity=activity), frames, 0.0).eval()
    predictor.fit(track.replace(mouth_activity=activity), frames)
    tracked, _ = track_mouth_shapes(track, frames, 3)
    silent = tracked[6:18][np.argsort(tracked[6:18, 0])[:3]]  # the closest quarter of twelve
    np.testing.assert_allclose(predictor.rest, silent.mean(0), rtol=1e-5)
    shown, rest, half, more = (
        predictor(*audio_and_windows(track), share * torch.ones(4))[:, :-1] / predictor.channel_scale
        for share in (1.0, 0.0, 0.5, 1.5)
    )
    torch.testing.assert_close(rest, predictor.rest.expand(4, -1))
    torch.testing.assert_close(half, (shown + rest) / 2)
    ends = torch.stack([predictor.curves[:, 1, 0], predictor.curves[:, 1, -1], predictor.rest])
    wanted = soft_limit(rest + 1.5 * (shown - rest), ends.amin(0), ends.amax(0))
    torch.testing.assert_close(more, wanted)
    # what training sees as predicted is at rest in silence, too
    torch.testing.assert_close(predictor.predicted[6:18], predictor.rest.expand(12, -1))


def test_the_encoder_counts_where_there_is_no_prior(track):
    frames = np.arange(track.num_frames)
    for kind, has_prior in (("logmel", True), ("mfcc", False)):
        predictor = make(track.replace(audio_kind=kind), frames, 0.0).eval()
        predictor.fit(track.replace(audio_kind=kind), frames)
        audio, windows = audio_and_windows(track)
        shape = predictor.from_regression(audio)
        if not has_prior:
            shape = (shape + predictor.from_encoder(windows)) / 2
        assert (predictor.prior is not None) == has_prior
        found = predictor(audio, windows, torch.ones(4))[:, :-1] / predictor.channel_scale
        torch.testing.assert_close(found, predictor.shown(shape, torch.ones(4)))


def test_rest_of_a_clip_without_silence_is_its_closed_mouth():
    shapes = np.stack([np.arange(100.0), np.arange(100.0) ** 2], axis=1)
    np.testing.assert_allclose(rest_mouth_shape(shapes, np.ones(100)), shapes[:5].mean(0))


def test_more_coefficients_than_frames_can_give_are_not_made(track):
    frames = np.arange(4)
    predictor = make(track, frames, count=30)
    predictor.fit(track, frames)
    assert predictor.condition_dim == 1 + 4 + 1


def test_a_checkpoint_brings_the_fitted_regression(track):
    frames = np.arange(track.num_frames)
    trained = make(track, frames).eval()
    trained.fit(track, frames)
    state = trained.state_dict()
    assert not {"tracked", "predicted", "prediction_std"} & state.keys()
    loaded = make(track, frames).eval()
    inputs = (*audio_and_windows(track), torch.ones(4))
    assert not loaded.is_fitted
    with pytest.raises(TalkingError, match="never fitted"):
        loaded(*inputs)
    loaded.load_state_dict(state)
    assert torch.equal(loaded(*inputs), trained(*inputs))
    # without the tracked mouth shapes there is no training
    with pytest.raises(TalkingError, match="tracked mouth shapes"):
        loaded.training_condition(torch.arange(2))


def test_a_track_without_landmarks_is_refused(track):
    with pytest.raises(ValueError, match="no landmarks"):
        make(track.replace(landmarks=None), np.arange(4))


def test_the_regression_stands_on_the_mouth_prior(track):
    """What the slope adds is the prior's; features of a kind without a prior have none."""
    frames = np.arange(track.num_frames)
    predictor = make(track, frames)
    predictor.fit(track, frames)
    assert predictor.prior is not None
    audio = torch.from_numpy(track.audio[:5])
    whole = predictor.from_regression(audio)
    predictor.slope += torch.tensor([1.0, 0.5, 0.0])
    added = predictor.prior(audio)[:, :3] * torch.tensor([1.0, 0.5, 0.0])
    torch.testing.assert_close(predictor.from_regression(audio) - whole, added, rtol=1e-4, atol=1e-5)
    assert make(track.replace(audio_kind="mfcc"), frames).prior is None
