"""Mouth shape from audio as a module: kernel regression on a mouth prior, or, without one, its mean with an encoder."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from nerfstudio_talking.audio.amplitude import NUM_KNOTS, amplitude_curves, apply_curves, soft_limit
from nerfstudio_talking.audio.features.registry import feature_name
from nerfstudio_talking.audio.kernel_regression import audio_kernel, fit_audio_regression
from nerfstudio_talking.audio.mouth_prior.network import load_mouth_prior
from nerfstudio_talking.cameras.depth_plane import intersect_depth_plane
from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.face.landmark_sets import mouth_points
from nerfstudio_talking.face.measurements import mouth_measures
from nerfstudio_talking.face.mouth_shape import NUM_MEASURES, fit_mouth_shape_basis
from nerfstudio_talking.field_components.audio_encoder import AudioEncoder
from nerfstudio_talking.io.errors import TalkingError

_MAX_SUPPORT = 2000
"""Largest number of frames that the regression keeps; a longer clip is thinned evenly."""
_FEWEST_SILENT = 10
"""Silent frames below which they do not show a person's rest."""
_FEWEST_VOICED = 50
"""Frames of speech below which all frames give the amplitude."""
_CODE_DIM = 32
"""Length of the audio encoder's code, from which a linear layer reads the mouth shape."""
_REGRESSION = ("mean", "std", "support", "dual", "slope", "bias")
"""Arrays of `AudioRegression` that a checkpoint holds."""


def mouth_coordinates(track: TalkingTrack) -> Float[np.ndarray, "frames coordinates"] | None:
    """Lips and chin in the head's frame, metres, NaN where not seen; None where the track has no such landmarks."""
    if track.landmarks is None or track.landmarks.shape[1] not in (68, 468, 478):
        return None
    points = track.landmarks[:, list(mouth_points(track.landmarks.shape[1]))].astype(np.float64)
    flat = intersect_depth_plane(points, track.camera_to_worlds, track.camera)
    return flat.reshape(len(flat), -1)


def track_mouth_shapes(
    track: TalkingTrack, train_frames: Int64[np.ndarray, " train"], count: int
) -> tuple[Float[np.ndarray, "frames count"], Bool[np.ndarray, " frames"]]:
    """Mouth shape of every frame from its landmarks, in the basis of the training frames.

    Args:
        track: a track with landmarks.
        train_frames: positions in the track of the frames that the basis is made from.
        count: greatest number of coefficients.

    Returns:
        The coefficients, interpolated where the mouth was not seen, and in which frames it was seen.

    Raises:
        ValueError: the track has no landmarks.
    """
    shapes = mouth_coordinates(track)
    if shapes is None or track.landmarks is None:
        raise ValueError("the track has no landmarks")
    measures = mouth_measures(shapes, track.landmarks.shape[1])
    tracked = fit_mouth_shape_basis(shapes[train_frames], measures[train_frames], count).encode(shapes, measures)
    seen = np.asarray(~np.isnan(tracked).any(1))
    for column in tracked.T:
        column[~seen] = np.interp(np.flatnonzero(~seen), np.flatnonzero(seen), column[seen])
    return tracked, seen


def rest_mouth_shape(
    tracked: Float[np.ndarray, "frames count"], activity: Float[np.ndarray, " frames"]
) -> Float[np.ndarray, " count"]:
    """The mouth shape of a person who does not speak: the mean of the silent frames whose lips are closed most.

    People part their lips to breathe in and before they speak, so that a quarter of the silent frames is taken; of a
    clip without silence, the twentieth of all frames whose lips are closed most.

    Args:
        tracked: mouth shapes, lip gap first.
        activity: voice activity of the same frames; 1 throughout where it is unknown.
    """
    silent = tracked[activity <= 0]
    chosen, share = (silent, 0.25) if len(silent) >= _FEWEST_SILENT else (tracked, 0.05)
    return chosen[chosen[:, 0] <= np.quantile(chosen[:, 0], share)].mean(0)


class MouthShapePredictor(nn.Module):
    """Predicts the mouth shape of frames from audio, and mixes tracked with predicted mouth shapes in training.

    The predictor learns from tracked mouth shapes, not from the image. A training frame is conditioned on its tracked
    mouth shape (teacher forcing) or, with probability `predicted_mouth_prob`, on the prediction of a regression that
    was fitted without that frame (scheduled sampling). An extra `is_predicted` channel says which of the two it is.

    Where there is a mouth prior for the features (`audio.mouth_prior`), which knows many people, the regression starts
    from it and learns this person on top; the checkpoint contains the prior too. Elsewhere an audio encoder is trained
    beside the regression.

    Predictions are brought to the recording's amplitude (`audio.amplitude`) and shown as far as there is voice: in
    silence the mouth is at this person's rest, whatever breath and noise sound like.

    The constructor only gives the buffers their sizes. Training begins with `fit`; a checkpoint brings the fitted
    regression, so that rendering never fits anything.

    Args:
        track: the recorded track.
        train_frames: positions in the track of the training frames.
        count: greatest number of mouth-shape coefficients.
        dropout: dropout of the audio encoder.
        noise: noise of the audio encoder, in standard deviations of the features.
        predicted_mouth_prob: probability that a training frame is conditioned on its predicted mouth shape.

    Raises:
        ValueError: the track has no landmarks.
    """

    mean: Tensor
    std: Tensor
    support: Tensor
    dual: Tensor
    slope: Tensor
    bias: Tensor
    tracked: Tensor
    predicted: Tensor
    prediction_std: Tensor
    channel_scale: Tensor
    rest: Tensor
    curves: Tensor
    speech_mean: Tensor
    speech_std: Tensor

    def __init__(
        self,
        track: TalkingTrack,
        train_frames: Int64[np.ndarray, " train"],
        count: int,
        dropout: float,
        noise: float,
        predicted_mouth_prob: float = 0.5,
    ) -> None:
        super().__init__()
        shapes = mouth_coordinates(track)
        if shapes is None:
            raise ValueError("the track has no landmarks")
        num_seen = int((~np.isnan(shapes[train_frames]).any(1)).sum())
        count = 1 + min(count - 1, num_seen, shapes.shape[1])
        self.pool_bands = track.audio_kind == "logmel"
        self.predicted_mouth_prob = predicted_mouth_prob
        num_inputs = self.regression_inputs(torch.from_numpy(track.audio[:1]).float()).shape[1]
        num_support = min(num_seen, _MAX_SUPPORT)
        sizes = ((num_inputs,), (num_inputs,), (num_support, num_inputs), (num_support, count), (count,), (count,))
        for name, size in zip(_REGRESSION, sizes):
            self.register_buffer(name, torch.zeros(size))
        for name in ("tracked", "predicted"):
            self.register_buffer(name, torch.zeros(track.num_frames, count), persistent=False)
        self.register_buffer("prediction_std", torch.zeros(count), persistent=False)
        # networks lean on large inputs, and the gap is what opens the lips
        channel_scale = torch.tensor([2.0, 1.0, 1.0] + [0.5] * count)[:count]
        self.register_buffer("channel_scale", channel_scale, persistent=False)
        self.register_buffer("rest", torch.zeros(count))
        self.register_buffer("curves", torch.zeros(count, 2, NUM_KNOTS))
        # of held-out predictions in speech
        self.register_buffer("speech_mean", torch.zeros(count))
        self.register_buffer("speech_std", torch.ones(count))
        prior = load_mouth_prior(feature_name(track.audio_kind))
        fits = prior is not None and (prior.size.window, prior.size.channels) == track.audio.shape[1:]
        self.prior = prior if fits else None
        self.encoder: nn.Sequential | None = None
        if self.prior is None:  # with one it would go unused: it knows one voice, and follows others worse
            encoder = AudioEncoder(track.audio.shape[2], _CODE_DIM, dropout, noise)
            self.encoder = nn.Sequential(encoder, nn.Linear(_CODE_DIM, count))
        self._is_fitted = self._has_targets = False

    @torch.no_grad()
    def fit(self, track: TalkingTrack, train_frames: Int64[np.ndarray, " train"]) -> None:
        """Fit the regression and take the tracked and predicted mouth shapes of training; the same result every time.

        Args:
            track: the recorded track that the predictor was made for.
            train_frames: positions in the track of the training frames.
        """
        tracked, seen = track_mouth_shapes(track, train_frames, len(self.bias))
        usable = np.intersect1d(train_frames, np.flatnonzero(seen))
        windows = self.regression_inputs(torch.from_numpy(track.audio).float()).numpy().astype(np.float64)
        prior = None
        if self.prior is not None:
            prior = self.from_prior(torch.from_numpy(track.audio[usable]).to(self.bias)).double().cpu().numpy()
        regression, held_out = fit_audio_regression(windows[usable], tracked[usable], most=_MAX_SUPPORT, prior=prior)
        activity = np.ones(track.num_frames) if track.mouth_activity is None else track.mouth_activity
        voiced = activity[usable] > 0.5
        if voiced.sum() < _FEWEST_VOICED:
            voiced[:] = True
        curves = amplitude_curves(held_out[voiced], tracked[usable][voiced], NUM_MEASURES)
        values = {name: getattr(regression, name) for name in _REGRESSION} | {
            "tracked": tracked,
            "predicted": tracked,
            "rest": rest_mouth_shape(tracked[usable], activity[usable]),
            "curves": curves,
            "speech_mean": held_out[voiced].mean(0),
            "speech_std": held_out[voiced].std(0),
        }
        for name, value in values.items():
            getattr(self, name).copy_(torch.from_numpy(value).float())
        shown = self.shown(torch.from_numpy(held_out).to(self.rest), torch.from_numpy(activity[usable]).to(self.rest))
        self.predicted[torch.from_numpy(usable)] = shown
        # the gap stays exact: a portrait that learns to distrust it opens the mouth too little
        self.prediction_std.copy_((shown - self.tracked[torch.from_numpy(usable)]).std(0, correction=0))
        self.prediction_std[0] = 0.0
        self._has_targets = True

    @property
    def is_fitted(self) -> bool:
        """Whether `fit` ran, or a checkpoint brought its result."""
        if not self._is_fitted:  # once true it stays so, and a GPU is asked no more
            self._is_fitted = bool((self.std > 0).all())
        return self._is_fitted

    @property
    def condition_dim(self) -> int:
        """Number of channels of the condition: the mouth-shape coefficients and `is_predicted`."""
        return len(self.bias) + 1

    def condition(
        self, mouth_shape: Float[Tensor, "frames count"], is_predicted: Bool[Tensor, " frames"]
    ) -> Float[Tensor, "frames condition"]:
        """The condition for mouth shapes that were predicted from audio, or tracked."""
        return torch.cat([mouth_shape * self.channel_scale, is_predicted[:, None].to(mouth_shape)], dim=1)

    def from_prediction(self, mouth_shape: Float[Tensor, "frames count"]) -> Float[Tensor, "frames condition"]:
        """The condition for mouth shapes as at test time: marked as predicted, unless training never predicts any."""
        is_predicted = torch.full((len(mouth_shape),), self.predicted_mouth_prob > 0, device=mouth_shape.device)
        return self.condition(mouth_shape, is_predicted)

    def training_condition(self, frames: Int64[Tensor, " frames"]) -> Float[Tensor, "frames condition"]:
        """The condition of training frames, drawn anew at each call: predicted or tracked.

        The lip gap of a tracked mouth shape is exact. Each other coefficient is perturbed by noise as large as its
        held-out prediction error: without it the portrait relies on coefficients that audio predicts badly, and they
        move the lips at other times than the gap does.

        Raises:
            TalkingError: the predictor was not fitted in this process.
        """
        tracked = self.tracked_mouth_shape(frames)
        is_predicted = torch.rand(len(frames), device=frames.device) < self.predicted_mouth_prob
        perturbed = tracked + self.prediction_std * torch.randn_like(tracked)
        return self.condition(torch.where(is_predicted[:, None], self.predicted[frames], perturbed), is_predicted)

    def tracked_mouth_shape(self, frames: Int64[Tensor, " frames"]) -> Float[Tensor, "frames count"]:
        """The tracked mouth shape of training frames.

        Raises:
            TalkingError: the predictor was not fitted in this process.
        """
        if not self._has_targets:
            raise _unfitted("tracked mouth shapes to train on", "Training begins with `fit(track, train_frames)`.")
        return self.tracked[frames]

    def regression_inputs(self, audio: Float[Tensor, "frames window channels"]) -> Float[Tensor, "frames inputs"]:
        """Each frame's window averaged to at most eight steps, mel bands to at most twenty, and flattened."""
        size = (min(audio.shape[1], 8), min(audio.shape[2], 20) if self.pool_bands else audio.shape[2])
        return F.adaptive_avg_pool2d(audio, size).flatten(1)

    def from_regression(self, audio: Float[Tensor, "frames window channels"]) -> Float[Tensor, "frames count"]:
        """The regression's prediction.

        Raises:
            TalkingError: the regression has never been fitted.
        """
        if not self.is_fitted:
            hint = "Load the checkpoint of a trained portrait, or call `fit(track, train_frames)` first."
            raise _unfitted("a fitted audio regression", hint)
        x = (self.regression_inputs(audio) - self.mean) / self.std
        predicted = audio_kernel(x, self.support) @ self.dual + self.bias
        if self.prior is not None:
            measures = self.from_prior(audio)
            predicted = predicted + F.pad(measures, (0, predicted.shape[1] - measures.shape[1])) * self.slope
        return predicted

    def from_prior(self, audio: Float[Tensor, "frames window channels"]) -> Float[Tensor, "frames measures"]:
        """The measures among the coefficients as the mouth prior predicts them, which knows other people only."""
        assert self.prior is not None
        return self.prior(audio)[:, : min(NUM_MEASURES, len(self.bias))]

    def from_encoder(
        self, windows: Float[Tensor, "frames neighbours window channels"]
    ) -> Float[Tensor, "frames count"]:
        """The audio encoder's prediction, where there is no prior."""
        assert self.encoder is not None
        return self.encoder(windows)

    def forward(
        self,
        audio: Float[Tensor, "frames window channels"],
        windows: Float[Tensor, "frames neighbours window channels"],
        activity: Float[Tensor, " frames"],
        adaptation: Float[Tensor, "frames 2 count"] | None = None,
    ) -> Float[Tensor, "frames condition"]:
        """The condition of frames from their audio, as far as there is voice.

        With a prior it is the regression's prediction, without one its mean with the encoder's.

        Args:
            audio: features of each frame.
            windows: features of each frame and its neighbours.
            activity: `TalkingTrack.mouth_activity`: 0 shows the mouth at rest, 1 as predicted, more exaggerates.
            adaptation: `TalkingTrack.mouth_adaptation`: factor and offset of predictions for another voice.
        """
        predicted = self.from_regression(audio)
        if adaptation is not None:
            predicted = predicted * adaptation[:, 0] + adaptation[:, 1]
        if self.encoder is not None:
            predicted = 0.5 * (predicted + self.from_encoder(windows))
        return self.from_prediction(self.shown(predicted, activity))

    def shown(
        self, predicted: Float[Tensor, "frames count"], activity: Float[Tensor, " frames"]
    ) -> Float[Tensor, "frames count"]:
        """Mouth shapes that are shown for predicted ones: of the recording's amplitude, at rest where no one speaks,
        exaggerated only as far as a portrait can show it.

        Args:
            predicted: least-squares predictions.
            activity: as of `forward`.
        """
        shape = self.rest + activity[:, None] * (apply_curves(predicted, self.curves) - self.rest)
        ends = torch.stack([self.curves[:, 1, 0], self.curves[:, 1, -1], self.rest])
        return soft_limit(shape, ends.amin(0), ends.amax(0))


def _unfitted(expected: str, hint: str) -> TalkingError:
    return TalkingError("the mouth-shape predictor", expected=expected, found="none: it was never fitted", hint=hint)
