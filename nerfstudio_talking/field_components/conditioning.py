"""From a time to a frame's condition: the one place where nerfstudio's clock meets the talking track."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.field_components.audio_encoder import neighbour_frames
from nerfstudio_talking.io.errors import TalkingError

NEUTRAL_FRAME = 0
"""The frame shown where a camera has no time."""
EYE_SCALE = 2.0
"""Factor from an eye's closure to the eye condition."""


@dataclass
class FrameCondition:
    """What a portrait is conditioned on, one row per distinct frame of a batch: audio and eyes, head and body pose."""

    audio: Float[Tensor, "frames channels"]
    """Audio condition: a mouth shape or a free code."""
    eyes: Float[Tensor, "frames eyes"]
    """`EYE_SCALE` times the closure of the eyes: 0 for eyes that are wide open."""
    poses: Float[Tensor, "frames 3 4"]
    """Camera-to-world of the recording camera, metres."""
    body: Float[Tensor, "frames 2 3"]
    """Affine motion of the body in the image (see `TalkingTrack.body`)."""


class ConditioningTrack(nn.Module):
    """The per-frame arrays of a track as buffers that stay out of checkpoints, since another voice replaces them."""

    camera_to_worlds: Tensor
    audio: Tensor
    eyes: Tensor
    body: Tensor
    mouth_activity: Tensor
    mouth_adaptation: Tensor | None

    def __init__(self, track: TalkingTrack) -> None:
        super().__init__()
        self.load(track)

    def load(self, track: TalkingTrack) -> None:
        """Take another track's arrays; audio features and eyes must have the channels of the first one.

        Raises:
            TalkingError: the channels differ, so that the trained encoder cannot read them.
        """
        device = torch.device("cpu")
        if hasattr(self, "audio"):
            device = self.audio.device
            for name in ("audio", "eyes"):
                have, new = getattr(self, name).shape[1:], getattr(track, name).shape[1:]
                if tuple(have) != tuple(new):
                    raise TalkingError(
                        track.audio_path or "the driving track",
                        expected=f"{name} of shape {tuple(have)} per frame, as the portrait was trained with",
                        found=f"{tuple(new)} ({track.audio_kind})",
                        hint="Extract the features with the model that the portrait was trained with.",
                    )
        for name in ("camera_to_worlds", "audio", "eyes"):
            value = torch.from_numpy(getattr(track, name)).float().to(device)
            self.register_buffer(name, value, persistent=False)
        activity = np.ones(track.num_frames) if track.mouth_activity is None else track.mouth_activity
        self.register_buffer("mouth_activity", torch.from_numpy(activity).float().to(device), persistent=False)
        adaptation = track.mouth_adaptation
        if adaptation is not None:
            adaptation = torch.from_numpy(adaptation).float().to(device)
        self.register_buffer("mouth_adaptation", adaptation, persistent=False)
        body = torch.eye(2, 3).repeat(track.num_frames, 1, 1)
        if track.body is not None:
            body = torch.from_numpy(track.body).float()
        self.register_buffer("body", body.to(device), persistent=False)

    @property
    def num_frames(self) -> int:
        """Number of frames in the track."""
        return len(self.camera_to_worlds)

    def frames_of(
        self, times: Float[Tensor, "*rays 1"] | None, num_rays: int
    ) -> tuple[Int64[Tensor, " frames"], Int64[Tensor, " rays"]]:
        """The distinct frames in a batch of rays or cameras, in ascending order, and the row of each ray among them.

        Times are clamped to [0, 1], since splines through key frames overshoot. No times means `NEUTRAL_FRAME`.
        """
        device = self.camera_to_worlds.device
        if times is None:
            frames = torch.full((1,), NEUTRAL_FRAME, device=device)
            return frames, torch.zeros(num_rays, dtype=torch.long, device=device)
        index = (times.reshape(-1).clamp(0.0, 1.0) * (self.num_frames - 1)).round().long()
        return torch.unique(index, return_inverse=True)

    def windows(self, frames: Int64[Tensor, " frames"]) -> Float[Tensor, "frames neighbours window channels"]:
        """Audio windows of frames and their neighbours, for the audio encoder."""
        return self.audio[neighbour_frames(frames, self.num_frames)]

    def eye_condition(self, frames: Int64[Tensor, " frames"]) -> Float[Tensor, "frames eyes"]:
        """Scaled closure of the eyes. Open eyes are zero, so that a blink is a signal and its absence none."""
        return EYE_SCALE * (1 - self.eyes[frames])


def pose_code(poses: Float[Tensor, "frames 3 4"]) -> Float[Tensor, "frames 6"]:
    """Head poses as six numbers: antisymmetric part of the rotation, and the head's origin in the camera, metres."""
    rotation, position = poses[:, :, :3], poses[:, :, 3]
    skew = 0.5 * (rotation - rotation.transpose(1, 2))
    origin = -torch.einsum("fji,fj->fi", rotation, position)
    return torch.cat([torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], 1), origin], 1)
