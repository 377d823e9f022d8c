"""A radiance field conditioned on audio and eyes, each weighted by a saliency per point."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from nerfstudio.field_components.activations import trunc_exp
from nerfstudio.field_components.encodings import SHEncoding
from nerfstudio.field_components.mlp import MLP
from torch import Tensor, nn

from nerfstudio_talking.dataset_io.parsing_labels import PARSING_CLASSES
from nerfstudio_talking.field_components.hash_planes import HashPlanes, Implementation
from nerfstudio_talking.field_components.region_saliency import RegionModule, make_region_module


@dataclass
class VolumeSamples:
    """Attributes of points of the volume."""

    density: Float[Tensor, " points"]
    """Density, 1/metre."""
    rgb: Float[Tensor, "points 3"]
    """Colour, in [-0.001, 1.001]."""
    semantics: Float[Tensor, "points classes"]
    """Logits of the parsing classes."""
    saliency: dict[str, Float[Tensor, "points 1"]]
    """Mean absolute weight of each modality's channels at the point, in [0, 1] for bounded region modules."""


class ConditionedField(nn.Module):
    """Tri-plane hash tables, one region module per modality, and small networks for density and colour.

    Args:
        box: corners of the volume's box, metres.
        conditions: number of channels of each modality, by name.
        ellipsoids: centre and radii, metres, of the ellipsoids that the density starts from.
        parsing_branch: whether the parsing loss reaches the features; without, the labels are only read off them.
        region_module: how a modality is weighted over space.
        num_levels: number of levels of the hash planes.
        log2_table_size: base-2 logarithm of the largest table of a level.
        max_resolution: number of cells along an axis of the finest level.
        hidden_dim: width of the networks.
        direction_levels: degree of the spherical harmonics of the view direction.
        implementation: implementation of the hash planes and the region modules.
        mlp_implementation: implementation of nerfstudio's networks, 'tcnn' or 'torch'.
    """

    box: Tensor
    ellipsoids: Tensor

    def __init__(
        self,
        box: Float[Tensor, "2 3"],
        conditions: dict[str, int],
        ellipsoids: Float[Tensor, "ellipsoids 2 3"],
        parsing_branch: bool = False,
        region_module: RegionModule = "external",
        num_levels: int = 12,
        log2_table_size: int = 14,
        max_resolution: int = 512,
        hidden_dim: int = 64,
        direction_levels: int = 2,
        implementation: Implementation = "auto",
        mlp_implementation: str = "torch",
    ) -> None:
        super().__init__()
        self.register_buffer("box", box.clone())
        self.planes = HashPlanes(
            3,
            num_levels,
            1,
            max_resolution=max_resolution,
            log2_table_size=log2_table_size,
            implementation=implementation,
        )
        features = self.planes.out_dim
        self.regions = nn.ModuleDict(
            {name: make_region_module(region_module, features, dim, implementation) for name, dim in conditions.items()}
        )
        self.density_net = MLP(
            features + sum(conditions.values()),
            num_layers=3,
            layer_width=hidden_dim,
            out_dim=1 + hidden_dim,
            implementation=mlp_implementation,  # type: ignore[arg-type]
        )
        self.direction_encoding = SHEncoding(levels=direction_levels, implementation="torch")
        self.color_net = MLP(
            hidden_dim + self.direction_encoding.get_out_dim(),
            num_layers=2,
            layer_width=hidden_dim,
            out_dim=3,
            implementation=mlp_implementation,  # type: ignore[arg-type]
        )
        self.semantic_layer = nn.Linear(hidden_dim, len(PARSING_CLASSES))
        # one optical length over the box's depth, before the initial shape raises or lowers it
        self.density_scale = 1.0 / (box[1] - box[0])[2].item()
        self.register_buffer("ellipsoids", ellipsoids.float(), persistent=False)
        self.parsing_branch = parsing_branch

    def density(
        self, points: Float[Tensor, "points 3"], conditions: dict[str, Float[Tensor, "points _"]]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points geo"], dict[str, Float[Tensor, "points _"]]]:
        """Density in 1/metre, geometry features, and the saliency of each modality."""
        unit = (points - self.box[0]) / (self.box[1] - self.box[0])
        features = self.planes(unit)
        inputs, saliency = [features], {}
        for name, module in self.regions.items():
            weighted, saliency[name] = module(features, conditions[name])
            inputs.append(weighted)
        hidden = self.density_net(torch.cat(inputs, -1)).float()
        logit = hidden[:, 0] + self.initial_log_density(points)
        return trunc_exp(logit) * self.density_scale, hidden[:, 1:], saliency

    def initial_log_density(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        """What is added to the logarithm of the density: dense ellipsoids of a person's size, thin fog around them.

        A talking head turns little, so that many shapes explain the images. Without an initial shape the surface
        settles at the front of the box and moves wrongly under poses that were not recorded.
        """
        centres, radii = self.ellipsoids.unbind(1)
        distance = ((points[:, None] - centres) / radii).norm(dim=-1).amin(1)
        return 4.5 * ((1 - distance) * 5).clamp(-1, 1)

    def forward(
        self,
        points: Float[Tensor, "points 3"],
        directions: Float[Tensor, "points 3"],
        conditions: dict[str, Float[Tensor, "points _"]],
    ) -> VolumeSamples:
        """Attributes at points in metres, seen along unit directions, under a condition per point."""
        density, geometry, saliency = self.density(points, conditions)
        view = self.direction_encoding(directions)
        rgb = torch.sigmoid(self.color_net(torch.cat([geometry, view], -1)).float()) * 1.002 - 0.001
        semantics = self.semantic_layer(geometry if self.parsing_branch else geometry.detach())
        mean = {name: value.abs().mean(-1, keepdim=True) for name, value in saliency.items()}
        return VolumeSamples(density, rgb, semantics, mean)
