"""SSP-NeRF's torso deformation: points of the body in every frame are mapped into one canonical body.

Liu et al. (ECCV 2022) name the module in their abstract: head and body move differently, and a deformation brings
the torso into a common space. The implementation is ours. A point's body share, 0 on the face and 1 on the torso,
decides how far it follows the body instead of the head. Most of the body's motion is known: the recording camera
stands still beside it, and the track holds its sway (cameras/body_frame.py). A small network of the position and of
the head's pose adds the rest, of which the stretching neck is the largest part.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from nerfstudio.field_components.encodings import NeRFEncoding
from nerfstudio.field_components.mlp import MLP
from torch import Tensor, nn

from nerfstudio_talking.cameras.body_frame import to_body
from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.field_components.conditioning import FrameCondition

_MAX_OFFSET = 0.03
"""Greatest offset of the network along an axis, metres."""
_POSE_SCALE = 5.0
"""Factor that brings the head's motion of a speaking person to order one."""


@dataclass
class DeformedPoints:
    """Points in the canonical frame."""

    points: Float[Tensor, "points 3"]
    """Canonical positions, metres."""
    body_share: Float[Tensor, "points 1"]
    """How far a point belongs to the body: 0 for the head, 1 for the torso."""
    offset: Float[Tensor, "points 3"]
    """Part of the motion that the network added, metres."""


class BodyDeformation(nn.Module):
    """Maps points of the head's frame at some time into the canonical frame.

    Args:
        box: corners of the portrait's box, metres.
        chin: height of the chin in the head's frame, metres: the body share is small above it and large below.
        rest_pose: recording camera of the frame that counts as rest.
        camera: the recording camera.
        hidden_dim: width of the networks.
    """

    box: Tensor
    rest_pose: Tensor

    def __init__(
        self,
        box: Float[Tensor, "2 3"],
        chin: float,
        rest_pose: Float[Tensor, "3 4"],
        camera: PinholeCamera,
        hidden_dim: int = 32,
    ) -> None:
        super().__init__()
        self.register_buffer("box", box.clone())
        self.register_buffer("rest_pose", rest_pose.clone(), persistent=False)
        self.chin, self.camera = chin, camera
        self.encoding = NeRFEncoding(3, 4, 0.0, 3.0, include_input=True, implementation="torch")
        encoded = self.encoding.get_out_dim()
        # torch: two small networks whose last layers start at zero
        self.share_net = MLP(encoded, 2, hidden_dim, 1, implementation="torch")
        self.offset_net = MLP(encoded + 12, 3, hidden_dim, 3, implementation="torch")
        for net in (self.share_net, self.offset_net):
            for parameter in net.layers[-1].parameters():
                nn.init.zeros_(parameter)

    def body_share(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 1"]:
        """How far points of the head's frame belong to the body, in (0, 1)."""
        below_chin = (self.chin - 0.03 - points[:, 1:2]) / 0.015
        unit = (points - self.box[0]) / (self.box[1] - self.box[0])
        return torch.sigmoid(below_chin + 5 * self.share_net(self.encoding(unit)).float())

    def forward(
        self, points: Float[Tensor, "points 3"], frame: Int64[Tensor, " points"], condition: FrameCondition
    ) -> DeformedPoints:
        """Canonical points.

        Args:
            points: positions in the head's frame, metres.
            frame: row of each point in the condition.
            condition: conditions of the distinct frames.
        """
        share = self.body_share(points)
        body = to_body(points, condition.poses[frame], condition.body[frame], self.rest_pose, self.camera)
        unit = (body - self.box[0]) / (self.box[1] - self.box[0])
        # the head's pose relative to rest; the body's own motion is in `body` already
        pose_code = (condition.poses - self.rest_pose).flatten(1) * _POSE_SCALE
        offset = _MAX_OFFSET * torch.tanh(
            self.offset_net(torch.cat([self.encoding(unit), pose_code[frame]], -1)).float()
        )
        offset = share * offset
        return DeformedPoints(points + share * (body - points) + offset, share, offset)
