import numpy as np
import torch

from nerfstudio_talking.model_components.renderers import accumulate, depth_variance, intersect_box, over, ray_weights


def test_weights_by_hand():
    # alphas 0, 1/2, 1/2, 1 -> transmittance 1, 1, 1/2, 1/4 -> weights 0, 1/2, 1/4, 1/4
    density = torch.tensor([[0.0, np.log(2.0), np.log(2.0), 1e6]], dtype=torch.float32)
    torch.testing.assert_close(ray_weights(density, torch.ones(1, 4)), torch.tensor([[0.0, 0.5, 0.25, 0.25]]))


def test_weights_against_nerfacc():
    import nerfacc

    density = torch.rand(7, 16) * 5
    edges = torch.cumsum(torch.rand(7, 17), -1)
    expected, _, _ = nerfacc.render_weight_from_density(edges[:, :-1], edges[:, 1:], density)
    torch.testing.assert_close(ray_weights(density, edges.diff(dim=-1)), expected)


def test_accumulate_equals_dense_sum():
    weights = torch.rand(5, 9, dtype=torch.float64)
    occupied = torch.rand(5, 9) < 0.4
    values = torch.rand(5, 9, 3, dtype=torch.float64)
    expected = (weights[..., None] * values * occupied[..., None]).sum(1)
    torch.testing.assert_close(accumulate(weights, values[occupied], occupied), expected)


def test_over():
    top = torch.tensor([[0.25]])  # alpha 1/2 times colour 1/2
    torch.testing.assert_close(over(top, torch.tensor([[0.5]]), torch.tensor([[1.0]])), torch.tensor([[0.75]]))


def test_box_hit_missed_and_from_inside():
    box = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
    origins = torch.tensor([[0.0, 0, 5], [3, 0, 5], [0, 0, 0]])
    directions = torch.tensor([[0.0, 0, -1], [0, 0, -1], [0, 0, -1]])
    enter, leave = intersect_box(origins, directions, box)
    assert (enter[0], leave[0]) == (4, 6)
    assert leave[1] <= enter[1]
    assert (enter[2], leave[2]) == (0, 1)


def test_depth_variance_by_hand():
    weights, distances = torch.tensor([[0.25, 0.5, 0.25]]), torch.tensor([[1.0, 2.0, 3.0]])
    torch.testing.assert_close(depth_variance(weights, distances, torch.tensor([[2.0]])), torch.tensor([[0.5]]))
