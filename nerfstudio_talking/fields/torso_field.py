"""The torso: a field over the image plane, built from reference images (Wang et al. 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from nerfstudio.field_components.encodings import NeRFEncoding
from nerfstudio.field_components.mlp import MLP
from torch import Tensor, nn

from nerfstudio_talking.cameras.image_plane import apply_affine
from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.field_components.hash_planes import HashPlanes, Implementation
from nerfstudio_talking.field_components.reference_features import ReferenceUNet, sample_maps

TorsoKind = Literal["reference", "deformable_grid"]


@dataclass
class TorsoSamples:
    """Attributes of positions on the image plane."""

    rgb: Float[Tensor, "points 3"]
    alpha: Float[Tensor, "points 1"]
    offset: Float[Tensor, "points 2"]
    """Deformation, in half images."""


class TorsoField(nn.Module):
    """Colour and opacity of positions on the image plane under a head pose.

    Three anchor points move with the head. From them and from the position a network predicts where to look: in a
    2-D hash table of the body at rest, and in each reference image, both its pixels and its features. The pose
    reaches the image through this deformation alone, in low frequencies, so that a smooth pose moves the torso
    smoothly and its texture never flickers. Where the body was tracked, its motion carries positions and anchors to
    rest first, and the network answers for what is left: the neck, folds. `deformable_grid` is ER-NeRF's torso
    (section 3.4): no references, no tracked body, and the anchors enter the colour.
    """

    references: Tensor
    folded: Tensor
    reference_motions: Tensor
    anchor_rest: Tensor

    def __init__(
        self,
        references: Float[Tensor, "references 4 height width"],
        camera: PinholeCamera,
        kind: TorsoKind = "reference",
        reference_motions: Float[Tensor, "references 2 3"] | None = None,
        feature_dim: int = 8,
        hidden_dim: int = 64,
        implementation: Implementation = "auto",
        mlp_implementation: str = "torch",
    ) -> None:
        super().__init__()
        self.kind: TorsoKind = kind
        self.camera = camera
        self.register_buffer("references", references, persistent=False)
        if reference_motions is None:
            reference_motions = torch.eye(2, 3).repeat(len(references), 1, 1)
        self.register_buffer("reference_motions", reference_motions, persistent=False)
        num_references = len(references) if kind == "reference" else 0
        # behind the face, about the neck's root and the shoulders (metres)
        self.anchors = nn.Parameter(torch.tensor([[0.0, -0.12, -0.08], [-0.12, -0.2, -0.08], [0.12, -0.2, -0.08]]))
        self.position_encoding = NeRFEncoding(2, 4, 0.0, 3.0, include_input=True, implementation="torch")
        self.deform_net = MLP(
            self.position_encoding.get_out_dim() + 6,
            num_layers=3,
            layer_width=hidden_dim,
            out_dim=2 * (1 + num_references),
            implementation=mlp_implementation,  # type: ignore[arg-type]
        )
        self.planes = HashPlanes(
            1, 10, 2, base_resolution=8, max_resolution=384, log2_table_size=16, implementation=implementation
        )
        inputs = self.planes.out_dim
        if kind == "reference":
            self.unet = ReferenceUNet(feature_dim)
            self.register_buffer("folded", self.unet.fold(references), persistent=False)
            inputs += num_references * (4 + feature_dim)
        else:
            inputs += 6
        self.color_net = MLP(
            inputs,
            num_layers=3,
            layer_width=hidden_dim,
            out_dim=4 + num_references + 1,
            implementation=mlp_implementation,  # type: ignore[arg-type]
        )
        self.register_buffer("anchor_rest", torch.zeros(6))

    def set_rest(self, poses: Float[Tensor, "frames 3 4"], motions: Float[Tensor, "frames 2 3"]) -> None:
        """Take the mean anchor positions over a clip as the pose at rest."""
        with torch.no_grad():
            self.anchor_rest.copy_(self._anchors(poses, motions).mean(0))

    def _anchors(
        self, poses: Float[Tensor, "frames 3 4"], motions: Float[Tensor, "frames 2 3"]
    ) -> Float[Tensor, "frames 6"]:
        """Where the anchors are seen beside the body at rest."""
        seen = self.camera.uv(self.camera.project(self.anchors, poses))  # (F, 3, 2)
        if self.kind == "reference":
            seen = apply_affine(seen, motions[:, None].expand(-1, seen.shape[1], -1, -1), inverse=True)
        return seen.flatten(1)

    def reference_maps(self) -> Float[Tensor, "references features h w"] | None:
        """Feature maps of the reference images; the same for every frame."""
        return self.unet(self.folded, *self.references.shape[2:]) if self.kind == "reference" else None

    def forward(
        self,
        positions: Float[Tensor, "points 2"],
        poses: Float[Tensor, "frames 3 4"],
        motions: Float[Tensor, "frames 2 3"],
        frames: Tensor,
        maps: Float[Tensor, "references features h w"] | None,
    ) -> TorsoSamples:
        """Colour and opacity.

        Args:
            positions: on the image plane, in [-1, 1].
            poses: recording camera of each distinct frame.
            motions: of the body in each distinct frame (see track.py).
            frames: (points,) index into `poses` and `motions`.
            maps: from `reference_maps`.
        """
        # (F, 6), of order one for the motions of a speaking person
        anchors = (self._anchors(poses, motions) - self.anchor_rest) * 5.0
        code = anchors[frames]
        if self.kind == "reference":
            positions = apply_affine(positions, motions[frames], inverse=True)
        offsets = 0.2 * self.deform_net(torch.cat([self.position_encoding(positions), code], -1)).float()
        rest = positions + offsets[:, :2]
        features = [self.planes(rest * 0.5 + 0.5)]
        if maps is None:
            out = self.color_net(torch.cat([*features, code], -1)).float()
            return TorsoSamples(torch.sigmoid(out[:, :3]), torch.sigmoid(out[:, 3:4]), offsets[:, :2])
        shown = apply_affine(rest[None], self.reference_motions[:, None])  # (K, N, 2)
        uv = shown + offsets[:, 2:].view(len(rest), -1, 2).transpose(0, 1)
        pixels = sample_maps(self.references, uv)  # (K, N, 4)
        features += [*pixels.unbind(0), *sample_maps(maps, uv).unbind(0)]
        out = self.color_net(torch.cat(features, -1)).float()
        # what the references show, blended by trust, and what the network paints where they are wrong
        trust = torch.softmax(out[:, 5:], dim=-1).transpose(0, 1)[..., None]  # (K, N, 1)
        seen = (trust * pixels).sum(0)
        paint = torch.sigmoid(out[:, 4:5])
        rgb = seen[:, :3] * (1 - paint) + torch.sigmoid(out[:, :3]) * paint
        alpha = torch.sigmoid(out[:, 3:4] + 6.0 * (seen[:, 3:4] - 0.5))
        return TorsoSamples(rgb, alpha, offsets[:, :2])
