import numpy as np
import pytest
import torch

from nerfstudio_talking.engine.schedulers import DecaySchedulerConfig, decay_factor
from nerfstudio_talking.field_components.audio_encoder import AudioEncoder, neighbour_frames
from nerfstudio_talking.field_components.reference_features import ReferenceUNet, sample_maps
from nerfstudio_talking.field_components.region_saliency import make_region_module
from nerfstudio_talking.model_components.occupancy_grid import OccupancyGrid


def test_neighbours_are_i_minus_4_to_i_plus_3_held_at_the_ends():
    frames = neighbour_frames(torch.tensor([0, 5, 9]), 10)
    assert frames.tolist() == [[0, 0, 0, 0, 0, 1, 2, 3], [1, 2, 3, 4, 5, 6, 7, 8], [5, 6, 7, 8, 9, 9, 9, 9]]


@pytest.mark.parametrize(("window", "channels"), [(16, 80), (16, 29), (2, 1024), (1, 512)])
def test_audio_encoder_reads_every_feature_of_the_field(window, channels):
    encoder = AudioEncoder(channels, 32).eval().double()
    windows = torch.randn(3, 8, window, channels, dtype=torch.float64)
    code = encoder(windows)
    assert code.shape == (3, 32)
    # a frame's code knows nothing of the batch; in double, a library may sum batches of another size in another order
    torch.testing.assert_close(encoder(windows[1:2]), code[1:2], rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["external", "mlp", "concat"])
def test_saliency_of_a_point_does_not_depend_on_its_batch(kind):
    torch.manual_seed(0)
    module = make_region_module(kind, 36, 6).double()
    features, condition = torch.randn(50, 36, dtype=torch.float64), torch.randn(50, 6, dtype=torch.float64)
    weighted, saliency = module(features, condition)
    alone, _ = module(features[7:8], condition[7:8])
    torch.testing.assert_close(weighted[7:8], alone, rtol=0, atol=1e-12)
    assert torch.equal(weighted, saliency * condition)


def test_external_attention_is_bounded_and_depends_on_condition_and_place():
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


def test_reference_features_cover_the_image():
    for height, width in ((48, 48), (50, 62)):
        unet = ReferenceUNet(out_dim=8)
        maps = unet(unet.fold(torch.rand(2, 4, height, width)), height, width)
        assert maps.shape[:2] == (2, 8)
        assert abs(maps.shape[2] - height / 4) <= 1
        assert abs(maps.shape[3] - width / 4) <= 1


def test_sample_maps_hits_pixel_centres():
    maps = torch.arange(12.0).view(1, 1, 3, 4)
    # centre of row 1, column 2: x = 2 * 2.5 / 4 - 1, y = 2 * 1.5 / 3 - 1
    assert sample_maps(maps, torch.tensor([[[0.25, 0.0]]])).item() == 6.0


def test_occupancy_keeps_what_is_seen_and_its_neighbours():
    grid = OccupancyGrid(resolution=16, warmup=2, decay=0.5, threshold=0.1)
    middle = torch.full((1, 3), 0.5 + 1 / 32)  # centre of cell (8, 8, 8)
    neighbour, far = middle + 1 / 16, middle + 3 / 16
    for _ in range(2):
        assert grid.occupied(far).all()  # everything, until the warm-up is over
        grid.record(torch.cat([middle, far]), torch.tensor([0.9, 0.05]))
        grid.refresh()
    assert grid.mask.sum() == 27
    assert grid.occupied(torch.cat([middle, neighbour])).all()
    assert not grid.occupied(far).any()
    for _ in range(5):  # 0.9 halves below 0.1
        grid.refresh()
    assert not grid.mask.any()


def test_decay_is_plain_python():
    config = DecaySchedulerConfig(final_ratio=0.1, max_steps=100, warmup_steps=10)
    assert decay_factor(0, config) == pytest.approx(0.1)
    assert decay_factor(10, config) == 1.0
    assert decay_factor(55, config) == pytest.approx(0.1**0.5)
    assert decay_factor(1000, config) == pytest.approx(0.1)
    assert type(decay_factor(55, config)) is float
    cosine = DecaySchedulerConfig(kind="cosine", final_ratio=0.0, max_steps=100, start_step=50)
    assert [decay_factor(step, cosine) for step in (20, 50, 75)] == [1.0, 1.0, pytest.approx(0.5)]


@pytest.mark.parametrize("shapes", [True, False])
def test_parsing_teaches_the_features_only_where_it_may(shapes):
    from nerfstudio_talking.fields.conditioned_field import ConditionedField

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
