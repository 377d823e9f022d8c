"""The torso as a field over the image plane: what all torsos share, and Wang et al.'s, built from reference images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from nerfstudio.field_components.encodings import NeRFEncoding
from nerfstudio.field_components.mlp import MLP
from torch import Tensor, nn

from nerfstudio_talking.cameras.image_plane import apply_affine
from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.field_components.hash_planes import HashPlanes, Implementation
from nerfstudio_talking.field_components.reference_features import ReferenceUNet, sample_maps

_ANCHORS = ((0.0, -0.12, -0.08), (-0.12, -0.2, -0.08), (0.12, -0.2, -0.08))
"""First guess of the anchor points in the head's frame, metres: behind the face, near the neck's root and shoulders."""
_MAX_OFFSET = 0.2
"""Scale of the network's offsets, half images."""
_POSE_SCALE = 5.0
"""Factor that brings the anchors' motion of a speaking person to order one."""


@dataclass
class TorsoSamples:
    """Attributes of positions on the image plane."""

    rgb: Float[Tensor, "points 3"]
    """Colour in [0, 1]."""
    alpha: Float[Tensor, "points 1"]
    """Opacity in [0, 1]."""
    offset: Float[Tensor, "evaluated 2"]
    """Deformation of the positions that were evaluated, in half images."""


class TorsoField(nn.Module, ABC):
    """Colour and opacity of positions on the image plane under a head pose.

    Three anchor points move with the head. From their positions in the image and from the queried position a network
    predicts an offset into a 2-D hash table of the body at rest. The pose changes the image through this deformation,
    in low frequencies, so that a smooth pose moves the torso smoothly and its texture does not flicker.

    Args:
        camera: the recording camera.
        num_references: number of reference images, each of which gets an offset of its own.
        hidden_dim: width of the networks.
        implementation: implementation of the hash planes.
        mlp_implementation: implementation of nerfstudio's networks, 'tcnn' or 'torch'.
    """

    anchor_rest: Tensor

    def __init__(
        self,
        camera: PinholeCamera,
        num_references: int,
        hidden_dim: int,
        implementation: Implementation,
        mlp_implementation: str,
    ) -> None:
        super().__init__()
        self.camera = camera
        self._hidden_dim, self._mlp_implementation = hidden_dim, mlp_implementation
        self.anchors = nn.Parameter(torch.tensor(_ANCHORS))
        self.position_encoding = NeRFEncoding(2, 4, 0.0, 3.0, include_input=True, implementation="torch")
        self.deform_net = self._make_network(self.position_encoding.get_out_dim() + 6, 2 * (1 + num_references))
        self.planes = HashPlanes(
            1, 10, 2, base_resolution=8, max_resolution=384, log2_table_size=16, implementation=implementation
        )
        self.register_buffer("anchor_rest", torch.zeros(6))

    def _make_network(self, in_dim: int, out_dim: int) -> MLP:
        """One of the torso's networks, three layers each."""
        return MLP(
            in_dim,
            num_layers=3,
            layer_width=self._hidden_dim,
            out_dim=out_dim,
            implementation=self._mlp_implementation,  # type: ignore[arg-type]
        )

    def set_rest(self, poses: Float[Tensor, "frames 3 4"], motions: Float[Tensor, "frames 2 3"]) -> None:
        """Take the mean anchor positions over a sequence as the pose at rest."""
        with torch.no_grad():
            self.anchor_rest.copy_(self.project_anchors(poses, motions).mean(0))

    def project_anchors(
        self, poses: Float[Tensor, "frames 3 4"], motions: Float[Tensor, "frames 2 3"]
    ) -> Float[Tensor, "frames 6"]:
        """Positions of the anchors on the image plane, in [-1, 1]; `motions` is for torsos that know the body's."""
        return self.camera.uv(self.camera.project(self.anchors, poses)).flatten(1)

    def pose_code(
        self, poses: Float[Tensor, "frames 3 4"], motions: Float[Tensor, "frames 2 3"]
    ) -> Float[Tensor, "frames 6"]:
        """How far the anchors stand from their rest positions, scaled to order one."""
        return (self.project_anchors(poses, motions) - self.anchor_rest) * _POSE_SCALE

    def offsets(
        self, positions: Float[Tensor, "points 2"], code: Float[Tensor, "points 6"]
    ) -> Float[Tensor, "points channels"]:
        """The network's offsets, half images: into the hash table first, then into each reference image."""
        return _MAX_OFFSET * self.deform_net(torch.cat([self.position_encoding(positions), code], -1)).float()

    def reference_maps(self) -> Float[Tensor, "references features h w"] | None:
        """What is the same for every frame and computed once: feature maps of reference images, where there are any."""
        return None

    @abstractmethod
    def forward(
        self,
        positions: Float[Tensor, "points 2"],
        poses: Float[Tensor, "frames 3 4"],
        motions: Float[Tensor, "frames 2 3"],
        frames: Int64[Tensor, " points"],
        maps: Float[Tensor, "references features h w"] | None,
    ) -> TorsoSamples:
        """Colour and opacity.

        Args:
            positions: positions on the image plane, in [-1, 1].
            poses: recording camera of each distinct frame.
            motions: affine motion of the body in each distinct frame (see `TalkingTrack.body`).
            frames: index of each position into `poses` and `motions`.
            maps: feature maps from `reference_maps`.
        """


class ReferenceTorsoField(TorsoField):
    """A torso that samples reference images (Wang et al. 2025).

    The offsets say where to look in the hash table and in each reference image, both its pixels and its features. The
    tracked motion of the body is undone first, and the network adds what remains: the neck, folds.

    Args:
        references: RGBA reference images in [0, 1].
        camera: the recording camera.
        reference_motions: affine motion of the body in each reference image; none where not given.
        feature_dim: channels of the reference images' feature maps.
        hidden_dim: width of the networks.
        implementation: implementation of the hash planes.
        mlp_implementation: implementation of nerfstudio's networks, 'tcnn' or 'torch'.
    """

    references: Tensor
    folded: Tensor
    reference_motions: Tensor

    def __init__(
        self,
        references: Float[Tensor, "references 4 height width"],
        camera: PinholeCamera,
        reference_motions: Float[Tensor, "references 2 3"] | None = None,
        feature_dim: int = 8,
        hidden_dim: int = 64,
        implementation: Implementation = "auto",
        mlp_implementation: str = "torch",
    ) -> None:
        count = len(references)
        super().__init__(camera, count, hidden_dim, implementation, mlp_implementation)
        self.register_buffer("references", references, persistent=False)
        if reference_motions is None:
            reference_motions = torch.eye(2, 3).repeat(count, 1, 1)
        self.register_buffer("reference_motions", reference_motions, persistent=False)
        self.unet = ReferenceUNet(feature_dim)
        self.register_buffer("folded", self.unet.fold(references), persistent=False)
        self.color_net = self._make_network(self.planes.out_dim + count * (4 + feature_dim), 4 + 1 + count)

    def project_anchors(
        self, poses: Float[Tensor, "frames 3 4"], motions: Float[Tensor, "frames 2 3"]
    ) -> Float[Tensor, "frames 6"]:
        """Positions of the anchors on the image plane, in [-1, 1], relative to the body at rest."""
        seen = self.camera.uv(self.camera.project(self.anchors, poses))  # (F, 3, 2)
        return apply_affine(seen, motions[:, None].expand(-1, seen.shape[1], -1, -1), inverse=True).flatten(1)

    def reference_maps(self) -> Float[Tensor, "references features h w"]:
        """Feature maps of the reference images; the same for every frame."""
        return self.unet(self.folded, *self.references.shape[2:])

    def forward(
        self,
        positions: Float[Tensor, "points 2"],
        poses: Float[Tensor, "frames 3 4"],
        motions: Float[Tensor, "frames 2 3"],
        frames: Int64[Tensor, " points"],
        maps: Float[Tensor, "references features h w"] | None,
    ) -> TorsoSamples:
        """Colour and opacity from the hash table and the reference images (see `TorsoField.forward`)."""
        assert maps is not None
        code = self.pose_code(poses, motions)[frames]
        positions = apply_affine(positions, motions[frames], inverse=True)
        offsets = self.offsets(positions, code)
        rest = positions + offsets[:, :2]
        features = [self.planes(rest * 0.5 + 0.5)]
        motions_of_references = self.reference_motions[:, None].expand(-1, len(rest), -1, -1)
        in_references = apply_affine(rest.expand(len(self.references), -1, -1), motions_of_references)  # (K, N, 2)
        uv = in_references + offsets[:, 2:].view(len(rest), -1, 2).transpose(0, 1)
        pixels = sample_maps(self.references, uv)  # (K, N, 4)
        features += [*pixels.unbind(0), *sample_maps(maps, uv).unbind(0)]
        out = self.color_net(torch.cat(features, -1)).float()
        # a weighted mean of the references, and a colour of the network's own where they are wrong
        weights = torch.softmax(out[:, 5:], dim=-1).transpose(0, 1)[..., None]  # (K, N, 1)
        sampled = (weights * pixels).sum(0)
        painted = torch.sigmoid(out[:, 4:5])
        rgb = sampled[:, :3] * (1 - painted) + torch.sigmoid(out[:, :3]) * painted
        alpha = torch.sigmoid(out[:, 3:4] + 6.0 * (sampled[:, 3:4] - 0.5))
        return TorsoSamples(rgb, alpha, offsets[:, :2])
