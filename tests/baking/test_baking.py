"""Playback: the grid, its kernels, the fit, the gate, and that a bake shows what the portrait shows."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.rounding import assert_within, propagated_bound, rounding_bound

from nerfstudio_talking.baking.config import BakeConfig
from nerfstudio_talking.baking.file_format import load_bake, save_bake
from nerfstudio_talking.baking.kernels import BLOCK, OPAQUE, blend, march
from nerfstudio_talking.baking.polynomial_basis import fit_matrix, polynomial_basis
from nerfstudio_talking.baking.sparse_grid import sparse_grid_of
from nerfstudio_talking.io.digests import weights_digest
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.write_behind import write_behind
from nerfstudio_talking.model_components.renderers import intersect_box, ray_weights

HEAD_ON = np.eye(3, 4, dtype=np.float32), 4000.0, np.array([[-0.1, -0.1, -1.1], [0.1, 0.1, -0.9]], np.float32)
"""Pose, focal length and box: a metre from the box's middle."""
TINY = BakeConfig(cell=0.4, views=12, rays_per_view=2048, conditions=48)


def train_in_process(data, steps):
    """A small portrait trained for some steps, without files or a trainer."""
    from nerfstudio_talking.method_configs.talking_portrait import talking_portrait_small

    torch.manual_seed(0)
    np.random.seed(0)
    config = copy.deepcopy(talking_portrait_small.config.pipeline)
    config.datamanager.data = data
    config.datamanager.train_num_rays_per_batch = 256
    config.model.num_samples = 16
    config.model.num_levels = 6
    config.model.log2_table_size = 12
    config.model.max_resolution = 128
    config.model.occupancy_resolution = 24
    pipeline = config.setup(device="cpu", test_mode="val")
    groups = pipeline.get_param_groups()
    rates = {"tables": 1e-2, "networks": 2e-3, "audio": 1e-3}
    optimiser = torch.optim.Adam([{"params": p, "lr": rates[name]} for name, p in groups.items() if name in rates])
    pipeline.train()
    for step in range(steps):
        optimiser.zero_grad()
        _, losses, _ = pipeline.get_train_loss_dict(step)
        sum(losses.values()).backward()
        optimiser.step()
        if step % 30 == 29:
            pipeline.model.occupancy.refresh()
    pipeline.eval()
    return pipeline


@pytest.fixture(scope="module")
def pipeline(talking_dataset):
    return train_in_process(talking_dataset, 60)


@pytest.fixture(scope="module")
def bake(pipeline):
    from nerfstudio_talking.baking.fit import fit_bake

    return fit_bake(pipeline.model, TINY)


def make_player(model, bake, scale=1):
    from nerfstudio_talking.baking.renderer import BakeRenderer

    return BakeRenderer(model, bake, model.track.width * scale, model.track.height * scale)


def test_columns_hold_the_corners_of_active_cells():
    active = np.zeros((3, 2, 4), dtype=bool)
    active[0, 0, 1] = active[0, 0, 3] = True  # the run above (0, 0) spans the gap between them
    grid = sparse_grid_of(active)
    assert grid.shape == (3, 2, 4)
    assert grid.num_vertices == 4 * 4  # four columns of z = 1 ... 4
    rows = 3
    touched = [0, 1, rows, rows + 1]
    assert np.flatnonzero(grid.last > grid.first).tolist() == touched
    assert set(grid.first[touched]) == {1}
    assert set(grid.last[touched]) == {5}
    # a cell is there where all four columns hold it; the gap's cell is, too
    assert grid.ranges().reshape(3, 2, 2)[0, 0].tolist() == [1, 4]
    assert all(low >= high for low, high in grid.ranges().reshape(-1, 2)[1:])
    assert grid.bounds().tolist() == [[0, 0, 1], [1, 1, 4]]
    points = grid.points()
    np.testing.assert_allclose(points[:4], [[0, 0, z / 4] for z in (1, 2, 3, 4)])
    np.testing.assert_allclose(points[grid.offset[rows + 1]], [1 / 3, 1 / 2, 1 / 4])


@pytest.mark.kernel
def test_blend_is_a_matrix_product():
    rng = np.random.default_rng(0)
    rest = rng.standard_normal((3, BLOCK)).astype(np.float32)
    coefficients = rng.integers(-32767, 32767, (3, 5, BLOCK)).astype(np.int16)
    terms = rng.standard_normal((5, BLOCK)).astype(np.float32) / 32767
    out = np.empty_like(rest)
    blend(rest, coefficients, terms, out)
    rest, coefficients, terms = (array.astype(np.float64) for array in (rest, coefficients, terms))
    magnitude = np.abs(rest) + np.einsum("bki,ki->bi", np.abs(coefficients), np.abs(terms))
    expected = rest + np.einsum("bki,ki->bi", coefficients, terms)
    assert_within(out, expected, rounding_bound(len(terms) + 2, magnitude))


def march_columns(grid, pose, focal, box, values, samples, out):
    march(
        pose, np.float32(focal), box, grid.shape, grid.first, grid.offset, grid.ranges(), grid.bounds(),
        values, samples, out,
    )  # fmt: skip


def march_all(values, shape, pose, focal, box, samples, size):
    """The kernel on a grid whose cells are all there."""
    grid = sparse_grid_of(np.ones(shape, dtype=bool))
    out = np.empty((*size, 4), np.float32)
    flat = np.ascontiguousarray(values.reshape(-1, 4))
    march_columns(grid, pose, focal, box, flat, samples, out)
    return out


def slab_bound(density, depth, distance, samples):
    """Largest error of the opacity of a slab met head on, whose front is `distance` away: 1 - exp(-density * depth).

    The depth is a difference of two distances. The density is an exponential of a logarithm that three
    interpolations make. Each sample multiplies the transmittance by an exponential.
    """
    optical_depth = density * depth
    of_depth = rounding_bound(8, optical_depth * (distance + depth) / depth)
    of_density = rounding_bound(16, optical_depth * (1 + abs(np.log(density))))
    return (of_depth + of_density) * np.exp(-optical_depth) + rounding_bound(4 * samples, 1.0)


@pytest.mark.kernel
def test_march_through_even_fog():
    """Opacity of a slab of even density met head on: 1 - exp(-density * depth)."""
    shape, depth, density = (4, 4, 8), 0.2, 3.0
    values = np.tile(np.array([np.log(density), 0.2, 0.4, 0.6], np.float32), (5 * 5 * 9, 1))
    out = march_all(values, shape, *HEAD_ON, 16, (5, 5))
    expected = 1 - np.exp(-density * depth)
    bound = slab_bound(density, depth, 0.9, 16)
    assert_within(out[2, 2], expected * np.array([0.2, 0.4, 0.6, 1]), bound)


@pytest.mark.kernel
@pytest.mark.parametrize("densest", [4.0, 7.0])
def test_march_agrees_with_torch(densest):
    """A turned camera before random values: against grid_sample and the compositing that training uses, in double."""
    rng = np.random.default_rng(1)
    shape, samples, size, focal = (5, 6, 7), 20, (9, 11), 20.0
    box = np.array([[-0.12, -0.1, -0.15], [0.1, 0.13, 0.12]], np.float32)
    angle = 0.4
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    pose = np.concatenate([turn, turn @ np.array([[0.02], [0.01], [0.7]])], 1).astype(np.float32)
    values = rng.uniform([-2, 0, 0, 0], [densest, 1, 1, 1], (6, 7, 8, 4)).astype(np.float32)
    out = march_all(values, shape, pose, focal, box, samples, size)

    pose, corners = pose.astype(np.float64), torch.from_numpy(box).double()
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    local = np.stack([(columns - size[1] / 2) / focal, -(rows - size[0] / 2) / focal, -np.ones(size)], -1)
    directions = F.normalize(torch.from_numpy(local.reshape(-1, 3) @ pose[:, :3].T), dim=-1)
    origins = torch.from_numpy(pose[:, 3]).expand_as(directions)
    near, far = intersect_box(origins, directions, corners)
    length = (far - near).clamp_min(0)
    deltas = (length / samples)[:, None].repeat(1, samples).requires_grad_()
    distance = near[:, None] + (torch.arange(samples) + 0.5) / samples * length[:, None]
    points = (origins[:, None] + distance[..., None] * directions[:, None]).requires_grad_()
    unit = (points - corners[0]) / (corners[1] - corners[0])
    grid = torch.from_numpy(values).double().permute(3, 2, 1, 0)[None]  # (1, channels, z, y, x)
    found = F.grid_sample(grid, (unit * 2 - 1)[None, None], align_corners=True)[0, :, 0].permute(1, 2, 0)
    weights = ray_weights(found[..., 0].exp(), deltas)
    expected = torch.cat([(weights[..., None] * found[..., 1:]).sum(1), weights.sum(1, keepdim=True)], 1)
    assert expected[:, 3].max() > 0.5

    # a direction errs by 6 roundings; a distance to a face, (face - origin) / direction, by as many over the cosine
    # and 3 of its own. What a ray's length or a sample's place has of both, counts from the box's far end
    reach = far[:, None] * (3 + 6 / least_cosine(origins, directions, corners)[:, None])
    of_points = rounding_bound(3, reach[..., None]).expand_as(points)
    of_deltas = rounding_bound(2, reach / samples).expand_as(deltas)
    # eight corners, each times three weights of up to three operations
    of_found = rounding_bound(8 + 9, torch.full_like(found, float(np.abs(values).max())))
    bound = propagated_bound(expected, [(points, of_points), (deltas, of_deltas), (found, of_found)])
    # a sample multiplies the transmittance by an exponential, and adds its share of the light
    bound += rounding_bound(4 * samples, 1.0)
    # a ray ends where a thousandth of the light is left
    ended = expected[:, 3:] > 1 - OPAQUE - bound[:, 3:]
    assert bool(ended.any()) == (densest > 4)
    assert_within(out.reshape(-1, 4), expected, bound + ended * OPAQUE)


def least_cosine(origins, directions, box):
    """Of the angles between a ray and the normals of the two faces where it enters and leaves the box."""
    a, b = (box[0] - origins) / directions, (box[1] - origins) / directions
    axes = torch.stack([torch.minimum(a, b).argmax(-1), torch.maximum(a, b).argmin(-1)], -1)
    return directions.abs().gather(1, axes).amin(1)


@pytest.mark.kernel
def test_empty_cells_are_skipped():
    shape = (4, 4, 4)
    active = np.zeros(shape, dtype=bool)
    active[:, :, 1] = True  # one of four layers
    grid = sparse_grid_of(active)
    values = np.tile(np.array([np.log(10.0), 1, 1, 1], np.float32), (grid.num_vertices, 1))
    out = np.empty((3, 3, 4), np.float32)
    march_columns(grid, *HEAD_ON, values, 32, out)
    assert_within(out[1, 1, 3], 1 - np.exp(-10.0 * 0.05), slab_bound(10.0, 0.05, 1.05, 32))


def test_fit_recovers_a_quadratic_and_holds_at_the_border():
    generator = torch.Generator().manual_seed(0)
    audio, eyes = torch.randn(200, 3, generator=generator), torch.rand(200, 2, generator=generator)
    positions = torch.randn(200, 3, generator=generator) * 0.05 + torch.tensor([0.0, 0.0, 0.8])
    terms = polynomial_basis(audio, eyes, positions)
    matrix = fit_matrix(terms(audio, eyes, positions), penalty=1e-6)
    gt = 0.3 + audio[:, 0] - 2 * audio[:, 1] * audio[:, 2] + eyes[:, 0] * eyes[:, 1]
    coefficients = matrix @ gt
    again = terms(audio, eyes, positions) @ coefficients
    torch.testing.assert_close(again, gt, atol=2e-3, rtol=0)
    # far outside of what was sampled the answer stays finite: that of the border
    far = terms(audio[:1] * 0 + 1e6, eyes[:1], positions[:1])
    assert torch.isfinite(far).all()
    assert far[:, 1:4].abs().max() <= max(terms.low.abs().max(), terms.high.abs().max())


def test_baked_frames_are_those_of_the_portrait(pipeline, bake):
    from nerfstudio_talking.baking.validation import validate_bake

    metrics = validate_bake(pipeline.model, make_player(pipeline.model, bake))
    assert metrics.full > 15  # it has learned something that can be lost
    assert metrics.agreement > 35
    assert metrics.full - metrics.baked < 0.2


def test_a_coarse_bake_is_worse(pipeline, bake):
    """The gate sees the difference that it is there for."""
    from nerfstudio_talking.baking.fit import fit_bake
    from nerfstudio_talking.baking.validation import validate_bake

    coarse = fit_bake(pipeline.model, replace(TINY, cell=6.0))
    assert coarse.grid.num_vertices < bake.grid.num_vertices / 20
    worse = validate_bake(pipeline.model, make_player(pipeline.model, coarse))
    better = validate_bake(pipeline.model, make_player(pipeline.model, bake))
    assert worse.agreement < better.agreement - 5


def test_bake_file_round_trip(pipeline, bake, tmp_path):
    model = pipeline.model
    save_bake(bake, tmp_path / "baked.pt")
    again = load_bake(tmp_path / "baked.pt", weights_digest(model))
    assert not list(tmp_path.glob("*.part"))
    assert torch.equal(make_player(model, again).render(3)[0], make_player(model, bake).render(3)[0])


def test_bake_of_other_weights_is_refused(pipeline, bake, tmp_path):
    path = tmp_path / "baked.pt"
    save_bake(bake, path)
    other = copy.deepcopy(pipeline.model.field)
    digest = weights_digest(pipeline.model)
    with torch.no_grad():
        pipeline.model.field.density_net.layers[0].bias[0] += 1e-3
    try:
        assert weights_digest(pipeline.model) != digest
        with pytest.raises(TalkingError, match="weights"):
            load_bake(path, weights_digest(pipeline.model))
    finally:
        pipeline.model.field.load_state_dict(other.state_dict())
    assert weights_digest(pipeline.model) == digest


@pytest.mark.parametrize("content", [b"", b"not a bake", None])
def test_broken_bake_is_told(tmp_path, content):
    path = tmp_path / "baked.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TalkingError, match=r"baked\.pt"):
        load_bake(path, "")


def test_gate_refuses(pipeline, tmp_path, monkeypatch):
    from nerfstudio_talking.cli.bake import BakePortrait

    # the module that reads runs imports all of nerfstudio's methods
    loader = SimpleNamespace(load_portrait=lambda _: (pipeline, pipeline.model))
    monkeypatch.setitem(sys.modules, "nerfstudio_talking.inference.checkpoints", loader)
    output = tmp_path / "baked.pt"
    coarse = replace(TINY, cell=8.0)
    with pytest.raises(TalkingError, match="at most -3 dB"):
        BakePortrait(tmp_path / "config.yml", output, max_loss=-3, bake=coarse, validation_frames=2).main()
    assert not output.exists()
    BakePortrait(tmp_path / "config.yml", output, max_loss=90, bake=coarse, validation_frames=2).main()
    assert load_bake(output, weights_digest(pipeline.model)).metrics["full"] > 15


def test_evaluation_takes_the_recorded_views_from_the_bake(pipeline, bake, tmp_path):
    from nerfstudio_talking.dataparsers.portrait import sequence_outputs

    model = pipeline.model
    save_bake(bake, tmp_path / "baked.pt")
    cameras = sequence_outputs(model.sequence, "val", model.scene_box).cameras
    full = model.get_outputs_for_camera(cameras[:1])
    elsewhere = copy.deepcopy(cameras[:1])
    elsewhere.camera_to_worlds[0, 0, 3] += 0.05
    aside = model.get_outputs_for_camera(elsewhere)
    model.config.baked = tmp_path / "baked.pt"
    try:
        played = model.get_outputs_for_camera(cameras[:1])
        frame = int(model.sequence.eval_frames[0])
        assert torch.equal(played["rgb"], make_player(model, bake).render(frame)[0])
        assert not torch.equal(played["rgb"], full["rgb"])
        assert torch.equal(played["parsing"], full["parsing"])
        # a view that was not recorded is rendered in full
        assert torch.equal(model.get_outputs_for_camera(elsewhere)["rgb"], aside["rgb"])
    finally:
        model.config.baked, model.renderer = None, None


def test_other_methods_are_not_bakeable():
    from nerfstudio_talking.baking.fit import bakeable

    with pytest.raises(TalkingError, match="cannot be baked"):
        bakeable(torch.nn.Linear(1, 1))


def test_frames_are_written_in_order_and_errors_come_back():
    format_table = []
    frames = [np.full((2, 2, 3), i, np.uint8) for i in range(7)]
    assert write_behind(iter(frames), lambda frame: format_table.append(int(frame[0, 0, 0]))) == 7
    assert format_table == list(range(7))

    def fail(frame):
        raise TalkingError("disk", expected="room", found="none", hint="Free some.")

    with pytest.raises(TalkingError, match="disk"):
        write_behind(iter(frames), fail)


class AnalyticField(torch.nn.Module):
    """A ball of radius 0.06 m with a soft skin: what a trained volume looks like, without the training."""

    parsing_branch = False

    def __init__(self):
        super().__init__()
        self.box = torch.tensor([[-0.1, -0.1, -0.1], [0.1, 0.1, 0.1]])
        self.regions = {"audio": None}
        self.semantic_layer = torch.nn.Linear(1, 2)
        self.evaluated = 0

    def forward(self, points, directions, conditions):
        from nerfstudio_talking.fields.conditioned_field import VolumeSamples

        self.evaluated += len(points)
        radius = points.norm(dim=-1)
        density = 800 * torch.sigmoid((0.06 - radius) / 0.002)
        rgb = 0.5 + 0.5 * torch.sin(points * 80)
        return VolumeSamples(density, rgb, points.new_zeros(len(points), 2), {"audio": points.new_ones(len(points), 1)})


def test_occupancy_changes_nothing_but_the_cost():
    """The pruned rendering is that of dense sampling within 0.1 dB, from less than a quarter of the samples."""
    from nerfstudio_talking.field_components.conditioning import FrameCondition
    from nerfstudio_talking.model_components.occupancy_grid import OccupancyGrid
    from nerfstudio_talking.model_components.volume_renderer import FrameRays, render_volume

    torch.manual_seed(0)
    field, occupancy = AnalyticField(), OccupancyGrid(48, threshold=0.02)
    side = 64
    grid = (torch.arange(side) + 0.5) / side * 0.2 - 0.1
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    origins = torch.stack([x.flatten(), y.flatten(), torch.full((side**2,), 0.8)], -1)
    condition = FrameCondition(torch.zeros(1, 6), torch.zeros(1, 2), torch.eye(3, 4)[None], torch.eye(2, 3)[None])
    rays = FrameRays(
        origins, torch.tensor([[0.0, 0.0, -1.0]]).expand_as(origins), condition,
        torch.zeros(len(origins), dtype=torch.long), origins[:, :2],
    )  # fmt: skip
    dense = render_volume(field, occupancy, rays, 48, training=False)["color"]  # type: ignore[arg-type]
    all_samples = field.evaluated
    assert all_samples == side**2 * 48
    for _ in range(4):
        for _ in range(8):
            render_volume(field, occupancy, rays, 48, training=True)  # type: ignore[arg-type]
        occupancy.refresh()
    field.evaluated = 0
    pruned = render_volume(field, occupancy, rays, 48, training=False)["color"]  # type: ignore[arg-type]
    assert field.evaluated < all_samples / 4
    # against an image whose error is as large as a good portrait's, 33 dB, the two score alike
    gt = dense + 10 ** (-33 / 20) * torch.randn_like(dense)
    scores = [-10 * torch.log10((image - gt).square().mean()) for image in (dense, pruned)]
    assert abs(float(scores[0] - scores[1])) < 0.1
    assert -10 * torch.log10((dense - pruned).square().mean()) > 50
