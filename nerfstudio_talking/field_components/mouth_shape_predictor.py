"""Audio to mouth shape as a module: a kernel regression and the field's audio encoder, averaged."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from nerfstudio_talking.audio.kernel_regression import audio_kernel, fit_audio_regression
from nerfstudio_talking.cameras.depth_plane import intersect_depth_plane
from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.face.landmark_sets import mouth_points
from nerfstudio_talking.face.measurements import middle_lip_distance
from nerfstudio_talking.face.mouth_shape import fit_mouth_shape_basis
from nerfstudio_talking.field_components.audio_encoder import AudioEncoder


def mouth_coordinates(track: TalkingTrack) -> Float[np.ndarray, "frames coordinates"] | None:
    """Mouth shapes of a track in the head's frame, or None where it carries no landmarks to tell them from."""
    if track.landmarks is None or track.landmarks.shape[1] not in (68, 468, 478):
        return None
    points = track.landmarks[:, list(mouth_points(track.landmarks.shape[1]))].astype(np.float64)
    flat = intersect_depth_plane(points, track.camera_to_worlds, track.camera)
    return flat.reshape(len(flat), -1)


class MouthShapePredictor(nn.Module):
    """Predicts the mouth shape of frames from audio; knows the tracked one of the clip it was made from.

    Audio learns the lips' shape from a target, undisturbed by the image. The volume is shown the tracked
    mouth shape of some training frames, and learns what lips of a known shape look like; of the others it is shown
    what audio tells of them, by a regression that has not seen them, and learns how far to believe it. One more channel
    of the condition, hearsay, says which of the two it is (0 throughout where `told_share` is 0).
    """

    mean: Tensor
    std: Tensor
    support: Tensor
    dual: Tensor
    bias: Tensor
    tracked: Tensor
    predicted: Tensor
    prediction_std: Tensor
    channel_scale: Tensor

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
        assert track.landmarks is not None
        gap = middle_lip_distance(shapes, track.landmarks.shape[1])
        tracked = fit_mouth_shape_basis(shapes[train_frames], gap[train_frames], count).encode(shapes, gap)
        seen = ~np.isnan(tracked).any(1)
        for column in tracked.T:
            column[~seen] = np.interp(np.flatnonzero(~seen), np.flatnonzero(seen), column[seen])
        self.pool_bands = track.audio_kind == "logmel"
        windows = self.regression_inputs(torch.from_numpy(track.audio).float()).numpy().astype(np.float64)
        usable = np.intersect1d(train_frames, np.flatnonzero(seen))
        # only the gap is stretched: the rest, told worse, would move the lips at wrong times
        fit, held_out = fit_audio_regression(windows[usable], tracked[usable], stretched=1)
        self.correlation = fit.correlation
        for name in ("mean", "std", "support", "dual", "bias"):
            self.register_buffer(name, torch.from_numpy(getattr(fit, name)).float())
        self.register_buffer("tracked", torch.from_numpy(tracked).float(), persistent=False)
        self.predicted_mouth_prob = predicted_mouth_prob
        predicted = tracked.copy()
        predicted[usable] = held_out
        self.register_buffer("predicted", torch.from_numpy(predicted).float(), persistent=False)
        # the gap stays as it is: fields that are taught to doubt it open the mouth too little
        prediction_std = torch.from_numpy(fit.error).float().index_fill(0, torch.tensor(0), 0.0)
        self.register_buffer("prediction_std", prediction_std, persistent=False)
        # of the condition's channels: networks lean on large inputs, and the gap is what opens the lips
        channel_scale = torch.full((tracked.shape[1],), 0.5).index_fill(0, torch.tensor(0), 2.0)
        self.register_buffer("channel_scale", channel_scale, persistent=False)
        self.encoder = AudioEncoder(track.audio.shape[2], 32, dropout, noise)
        self.to_mouth_shape = nn.Linear(32, tracked.shape[1])

    @property
    def condition_dim(self) -> int:
        """Channels of the condition: the mouth shape, and hearsay."""
        return self.tracked.shape[1] + 1

    def condition(
        self, mouth_shape: Float[Tensor, "frames count"], is_predicted: Bool[Tensor, " frames"]
    ) -> Float[Tensor, "frames channels"]:
        """The condition for a mouth shape that is told by audio, or tracked."""
        return torch.cat([mouth_shape * self.channel_scale, is_predicted[:, None].to(mouth_shape)], dim=1)

    def from_prediction(self, mouth_shape: Float[Tensor, "frames count"]) -> Float[Tensor, "frames channels"]:
        """The condition for a mouth shape, believed as far as audio is."""
        is_predicted = torch.full((len(mouth_shape),), self.predicted_mouth_prob > 0, device=mouth_shape.device)
        return self.condition(mouth_shape, is_predicted)

    def training_condition(self, frames: Int64[Tensor, " frames"]) -> Float[Tensor, "frames channels"]:
        """The condition of training frames, drawn anew at each call: told for a share of them, else tracked.

        Of a tracked mouth shape the lip gap is exact, and each other coefficient carries noise of its prediction's
        held-out error. Without it the volume leans on coefficients that audio tells badly, and they move the lips at
        other times than the gap does.
        """
        tracked = self.tracked[frames]
        is_predicted = torch.rand(len(frames), device=frames.device) < self.predicted_mouth_prob
        perturbed = tracked + self.prediction_std * torch.randn_like(tracked)
        return self.condition(torch.where(is_predicted[:, None], self.predicted[frames], perturbed), is_predicted)

    def regression_inputs(self, audio: Float[Tensor, "frames window channels"]) -> Float[Tensor, "frames inputs"]:
        """Each frame's window averaged to at most eight steps, mel bands to at most twenty, and flattened."""
        size = (min(audio.shape[1], 8), min(audio.shape[2], 20) if self.pool_bands else audio.shape[2])
        return F.adaptive_avg_pool2d(audio, size).flatten(1)

    def from_regression(self, audio: Float[Tensor, "frames window channels"]) -> Float[Tensor, "frames count"]:
        """The regression's prediction."""
        x = (self.regression_inputs(audio) - self.mean) / self.std
        return audio_kernel(x, self.support) @ self.dual + self.bias

    def from_encoder(
        self, windows: Float[Tensor, "frames neighbours window channels"]
    ) -> Float[Tensor, "frames count"]:
        """The audio encoder's prediction."""
        return self.to_mouth_shape(self.encoder(windows))

    def forward(
        self,
        audio: Float[Tensor, "frames window channels"],
        windows: Float[Tensor, "frames neighbours window channels"],
    ) -> Float[Tensor, "frames condition"]:
        """The condition of frames from their audio: the mean of both predictions."""
        return self.from_prediction(0.5 * (self.from_regression(audio) + self.from_encoder(windows)))
