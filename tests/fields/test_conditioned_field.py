"""The conditioned field."""

from __future__ import annotations

import pytest
import torch

from nerfstudio_talking.fields.conditioned_field import ConditionedField


@pytest.mark.parametrize("shapes", [True, False])
def test_parsing_teaches_the_features_only_where_it_may(shapes):
    torch.manual_seed(0)
    box = torch.tensor([[-0.1, -0.1, -0.1], [0.1, 0.1, 0.1]])
    ellipsoids = torch.tensor([[[0.0, 0.0, 0.0], [0.08, 0.08, 0.08]]])
    field = ConditionedField(box, {"audio": 3}, ellipsoids, parsing_branch=shapes, num_levels=2, implementation="torch")
    points = 0.1 * (torch.rand(20, 3) - 0.5)
    samples = field(points, torch.nn.functional.normalize(points, dim=-1), {"audio": torch.rand(20, 3)})
    samples.semantics.square().sum().backward()
    features, layer = (next(module.parameters()).grad for module in (field.planes, field.semantic_layer))
    assert layer is not None and layer.abs().max() > 0
    assert (features is not None and bool(features.abs().max() > 0)) == shapes
