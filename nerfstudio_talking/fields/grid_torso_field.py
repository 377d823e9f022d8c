"""The torso of ER-NeRF (Li et al., ICCV 2023, section 3.4): a deformable 2-D grid."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.field_components.hash_planes import Implementation
from nerfstudio_talking.fields.torso_field import TorsoField, TorsoSamples


class GridTorsoField(TorsoField):
    """A torso from a hash table alone: no reference images, no tracked body, and the pose enters the colour too.

    Args:
        camera: the recording camera.
        hidden_dim: width of the networks.
        implementation: implementation of the hash planes.
        mlp_implementation: implementation of nerfstudio's networks, 'tcnn' or 'torch'.
    """

    def __init__(
        self,
        camera: PinholeCamera,
        hidden_dim: int = 64,
        implementation: Implementation = "auto",
        mlp_implementation: str = "torch",
    ) -> None:
        super().__init__(camera, 0, hidden_dim, implementation, mlp_implementation)
        # colour, opacity and one output that is not read, without which a seed would draw other weights
        self.color_net = self._make_network(self.planes.out_dim + 6, 5)

    def forward(
        self,
        positions: Float[Tensor, "points 2"],
        poses: Float[Tensor, "frames 3 4"],
        motions: Float[Tensor, "frames 2 3"],
        frames: Int64[Tensor, " points"],
        maps: Float[Tensor, "references features h w"] | None,
    ) -> TorsoSamples:
        """Colour and opacity from the hash table and the pose (see `TorsoField.forward`)."""
        code = self.pose_code(poses, motions)[frames]
        offsets = self.offsets(positions, code)
        features = self.planes((positions + offsets[:, :2]) * 0.5 + 0.5)
        out = self.color_net(torch.cat([features, code], -1)).float()
        return TorsoSamples(torch.sigmoid(out[:, :3]), torch.sigmoid(out[:, 3:4]), offsets[:, :2])
