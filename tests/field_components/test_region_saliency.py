"""Region modules: what the saliency of a point depends on, and its value against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nerfstudio_talking.field_components.region_saliency import make_region_module


@pytest.mark.parametrize("kind", ["external", "mlp", "concat"])
def test_saliency_of_a_point_does_not_depend_on_its_batch(kind):
    torch.manual_seed(0)
    module = make_region_module(kind, 36, 6)
    features, condition = torch.randn(50, 36), torch.randn(50, 6)
    weighted, saliency = module(features, condition)
    alone, _ = module(features[7:8], condition[7:8])
    torch.testing.assert_close(weighted[7:8], alone)
    torch.testing.assert_close(weighted, saliency * condition)


def test_external_attention_is_bounded_and_depends_on_condition_and_features():
    torch.manual_seed(0)
    module = make_region_module("external", 36, 6)
    features, condition = torch.randn(50, 36), torch.randn(50, 6)
    _, saliency = module(features, condition)
    assert saliency.min() > 0
    assert saliency.max() < 1
    _, other = module(features, condition.flip(0))
    assert not torch.allclose(saliency, other)
    _, other = module(features.flip(0), condition)
    assert not torch.allclose(saliency, other)


def test_external_attention_double_normalisation_by_numpy():
    torch.manual_seed(0)
    module = make_region_module("external", 5, 3).double()
    x, c = torch.randn(4, 5, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    p = {name: value.detach().numpy() for name, value in module.named_parameters()}
    query = x.numpy() @ p["point_query.weight"].T + p["point_query.bias"] + c.numpy() @ p["condition_query.weight"].T
    logits = query.reshape(4, 3, 4) @ p["memory_key"]
    attention = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    attention /= attention.sum(2, keepdims=True)
    z = p["gain"] * (attention @ p["memory_value"]) + x.numpy() @ p["direct.weight"].T + p["bias"]
    np.testing.assert_allclose(module(x, c)[1].detach().numpy(), 1 / (1 + np.exp(-z)), rtol=1e-10)
