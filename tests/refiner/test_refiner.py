"""The refiner: memory, generator, windows, the turns of its training, the mesh stage, and the commands."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.builders import texture
from helpers.refiners import trainer_config
from scipy.ndimage import shift
from torch import nn

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.frame_folder import fill_folder, read_rendered
from nerfstudio_talking.mesh_rendering.rasterizer import interpolate, rasterise, signed_areas
from nerfstudio_talking.refiner.discriminator import PatchDiscriminator
from nerfstudio_talking.refiner.frame_window import SlidingWindow, stack_windows, window_frames
from nerfstudio_talking.refiner.generator import AttentionUNet, blend, pad_to_multiple
from nerfstudio_talking.refiner.identity import (
    CROP,
    align_face,
    arcface_features,
    encode_faces,
    train_identity,
)
from nerfstudio_talking.refiner.losses import (
    LossWeights,
    adversarial_loss,
    dissimilarity,
    local_detail,
    variation,
    weighted_error,
)
from nerfstudio_talking.refiner.memory import IdentityMemory, KeyEncoder
from nerfstudio_talking.refiner.network import Batch, Refiner, RefinerSettings, StreamRefiner
from nerfstudio_talking.refiner.paired_dataset import PairedSequence, draw_batch
from nerfstudio_talking.refiner.steadying import aligned, averaged, steadied

TINY = RefinerSettings(
    width=4, levels=3, patch_layers=2, identity_dim=6, memory_slots=5, key_dim=8, key_width=4, neighbours=4
)


def units(*rows: tuple[float, ...]) -> torch.Tensor:
    return F.normalize(torch.tensor(rows), dim=1)


# ---------------------------------------------------------------------------------------------------- memory


def test_memory_finds_what_was_stored():
    memory = IdentityMemory(8, 3, 2)
    keys, values = torch.eye(3), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    memory.update(keys, values)
    assert len(memory) == 3
    near = units((0.1, 0.9, 0.2), (0.0, -0.1, 0.8))
    assert torch.equal(memory.retrieve(near), values[[1, 2]])


def test_empty_memory_gives_zeros_and_no_loss():
    memory = IdentityMemory(4, 3, 2)
    query = torch.eye(3, requires_grad=True)
    assert torch.equal(memory.retrieve(query), torch.zeros(3, 2))
    loss = memory.triplet_loss(query, torch.ones(3, 2))
    loss.backward()
    assert loss == 0
    assert torch.equal(query.grad, torch.zeros(3, 3))


def test_similar_keys_of_one_identity_share_a_slot_half_way():
    memory = IdentityMemory(4, 2, 2)
    value = torch.tensor([[1.0, 0.0]])
    slots = [int(memory.update(units(key), value)) for key in ((1.0, 0.0), (0.0, 1.0))]
    assert slots[0] == slots[1]
    assert len(memory) == 1
    torch.testing.assert_close(memory.keys[slots[0]], units((1.0, 1.0))[0])
    # the same look, but another identity, is written apart
    memory.update(units((1.0, 1.0)), torch.tensor([[0.0, 1.0]]))
    assert len(memory) == 2


def test_full_memory_evicts_the_oldest():
    memory = IdentityMemory(3, 4, 4, age_noise=0.0)
    values = torch.eye(4)
    for i in range(3):
        memory.update(torch.eye(4)[i : i + 1], values[i : i + 1])
    memory.update(torch.eye(4)[:1], values[:1])  # the first is seen again: the second is now the oldest
    memory.update(torch.eye(4)[3:], values[3:])
    assert len(memory) == 3
    assert {int(row.argmax()) for row in memory.values} == {0, 2, 3}
    assert sorted(memory.ages.tolist()) == [0, 1, 2]


def test_age_noise_only_blurs_the_order():
    memory = IdentityMemory(6, 12, 12, age_noise=4.0)
    memory.update(torch.eye(12), torch.eye(12))
    kept = {int(row.argmax()) for row in memory.values}
    assert 11 in kept  # the last one written is never the oldest within four steps
    again = IdentityMemory(6, 12, 12, age_noise=4.0)
    again.update(torch.eye(12), torch.eye(12))
    assert torch.equal(memory.values, again.values)


def test_triplet_loss_by_hand():
    memory = IdentityMemory(4, 2, 2, margin=0.3, threshold=0.9)
    memory.update(torch.eye(2), torch.eye(2))
    query = units((0.6, 0.8))  # 0.6 from its own identity, 0.8 from the other
    loss = memory.triplet_loss(query, torch.tensor([[1.0, 0.0]]))
    assert float(loss) == pytest.approx(0.8 - 0.6 + 0.3)
    assert float(memory.triplet_loss(query, torch.tensor([[0.0, 1.0]]))) == pytest.approx(0.6 - 0.8 + 0.3)
    # neither identity is stored: no positive, no loss
    assert float(memory.triplet_loss(query, torch.tensor([[-1.0, 0.0]]))) == 0


def test_triplet_loss_teaches_keys_to_find_their_identity():
    torch.manual_seed(0)
    memory, encoder = IdentityMemory(2, 4, 2), nn.Linear(4, 4)
    memory.update(torch.eye(4)[:2], torch.eye(2))
    looks, values = torch.randn(2, 4), torch.eye(2)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        memory.triplet_loss(F.normalize(encoder(looks), dim=1), values).backward()
        optimizer.step()
    assert torch.equal(memory.retrieve(encoder(looks)), values)


def test_memory_refuses_bad_input():
    with pytest.raises(ValueError, match="at least one slot"):
        IdentityMemory(0)
    with pytest.raises(ValueError, match="finite"):
        IdentityMemory(2, 2, 2).update(torch.full((1, 2), float("nan")), torch.ones(1, 2))


def test_memory_travels_with_the_weights():
    memory, other = IdentityMemory(4, 3, 2), IdentityMemory(4, 3, 2)
    memory.update(torch.eye(3), torch.randn(3, 2))
    other.load_state_dict(memory.state_dict())
    assert len(other) == 3
    assert torch.equal(other.retrieve(torch.eye(3)), memory.retrieve(torch.eye(3)))


@pytest.mark.parametrize("width", [8, 64])
def test_keys_are_unit_vectors_of_any_image_size(width):
    encoder = KeyEncoder(16, width)
    for size in ((32, 48), (200, 150)):
        torch.testing.assert_close(encoder(torch.rand(1, 3, *size)).norm(dim=1), torch.ones(1))


# ------------------------------------------------------------------------------------------------- networks


def test_mask_zero_returns_the_input_and_one_the_paint():
    rendered, painted = torch.rand(2, 1, 3, 4, 4)
    assert torch.equal(blend(rendered, painted, torch.zeros(1, 1, 4, 4)), rendered)
    assert torch.equal(blend(rendered, painted, torch.ones(1, 1, 4, 4)), painted)
    generator = AttentionUNet(4, 3, 6)
    nn.init.zeros_(generator.attention.weight)
    nn.init.constant_(generator.attention.bias, -200.0)
    window = torch.rand(1, 9, 16, 16) * 2 - 1
    torch.testing.assert_close(generator(window, torch.zeros(1, 6)).output, window[:, -3:])


@pytest.mark.parametrize("size", [(16, 16), (23, 9), (5, 40)])
def test_images_of_any_size(size):
    refined = AttentionUNet(4, 4, 6)(torch.rand(2, 9, *size), torch.randn(2, 6))
    assert refined.output.shape == refined.painted.shape == (2, 3, *size)
    assert refined.mask.shape == (2, 1, *size)
    assert torch.isfinite(refined.output).all()


def test_published_generator_halves_256_pixels_to_one():
    generator = AttentionUNet(2, 8, 6)
    refined = generator(torch.rand(1, 9, 256, 256), torch.randn(1, 6))
    assert torch.isfinite(refined.output).all()
    assert [layer.out_channels for layer in AttentionUNet(64, 8).down] == [64, 128, 256, 512, 512, 512, 512, 512]


def test_filling_up_keeps_the_image():
    image = torch.rand(1, 2, 5, 9)
    padded = pad_to_multiple(image, 8)
    assert padded.shape == (1, 2, 8, 16)
    assert torch.equal(padded[..., :5, :9], image)


def test_identity_changes_what_is_painted():
    torch.manual_seed(0)
    generator, window = AttentionUNet(4, 3, 6), torch.rand(1, 9, 16, 16)
    painted = [generator(window, identity).painted for identity in torch.randn(2, 1, 6)]
    assert not torch.equal(*painted)


def test_published_discriminator_sees_seventy_pixels():
    network = PatchDiscriminator(2, 3)
    window, frame = torch.zeros(1, 9, 128, 128), torch.zeros(1, 3, 128, 128, requires_grad=True)
    layers = [m for m in network.network if not isinstance(m, nn.InstanceNorm2d)]  # which sees the whole image
    logits = nn.Sequential(*layers)(torch.cat([window, frame], 1))
    logits[0, 0, 7, 7].backward()
    rows = frame.grad.abs().sum((0, 1, 3)).nonzero()
    assert int(rows.max() - rows.min()) + 1 == 70


def test_losses_by_hand():
    assert float(adversarial_loss(torch.zeros(1, 1, 2, 2), True)) == pytest.approx(np.log(2))
    logits = torch.tensor([2.0])
    assert float(adversarial_loss(logits, False)) == pytest.approx(np.log1p(np.exp(2)))
    mask = torch.tensor([[[[0.0, 1.0], [0.0, 3.0]]]])
    assert float(variation(mask)) == 1 + 9 + 0 + 4


# -------------------------------------------------------------------------------------------------- windows


def test_window_edges():
    assert window_frames(torch.tensor([0, 1, 2, 7])).tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [5, 6, 7]]


def test_stream_equals_the_whole_video():
    video = torch.randint(0, 256, (5, 6, 7, 3), dtype=torch.uint8)
    whole = stack_windows(video, torch.arange(5))
    stream = SlidingWindow()
    for frame in range(5):
        assert torch.equal(stream.push(video[frame])[0], whole[frame])
    assert float(whole.min()) >= -1
    with pytest.raises(ValueError, match="one size"):
        stream.push(video[0, :4])


def test_steadying_averages_what_agrees_by_hand():
    levels = [100.0, 103.0, 106.0]  # oldest first
    counts = [np.exp(-6 / 2), np.exp(-3 / 2), 1.0]
    frames = np.stack([np.full((4, 5, 3), level, np.float32) for level in levels])
    np.testing.assert_allclose(averaged(frames, 2.0), np.average(levels, weights=counts), rtol=1e-5)
    # whatever else a frame shows, it moves no pixel by more than tolerance / e
    frames = np.stack([texture(64, 64, seed) for seed in (0, 0, 1)])
    assert np.abs(frames[0] - frames[-1]).mean() > 20
    assert np.abs(averaged(frames, 2.0) - frames[-1]).mean(-1).max() < 2 * 2.0 / np.e


def test_steadying_takes_noise_away_and_leaves_what_moves():
    gt = texture(96, 96)
    shifts = [(-3.0, 2.0), (-1.5, 1.0), (0.0, 0.0)]
    clean = np.stack([shift(gt, (*by, 0), order=3, mode="nearest") for by in shifts])
    noise = 3 * np.random.default_rng(3).standard_normal(clean.shape)
    noisy = (clean + noise).clip(0, 255).astype(np.float32)
    inside = (slice(12, -12), slice(12, -12))

    def error(image: np.ndarray) -> float:
        return float(np.sqrt(np.square(image - gt)[inside].mean()))

    here = aligned(noisy)
    assert error(here[0]) < 0.3 * error(noisy[0])
    steady = averaged(here, 5.0)
    assert error(steady) < 0.75 * error(noisy[-1])
    assert error(steady) < 0.5 * error(np.mean(noisy, axis=0))


def test_windows_are_steadied_in_their_last_frame_one_by_one():
    frames = torch.from_numpy(np.stack([texture(24, 20, seed) for seed in range(6)])).view(2, 3, 24, 20, 3)
    window = frames.permute(0, 1, 4, 2, 3).reshape(2, 9, 24, 20) / 127.5 - 1
    assert steadied(window, 0.0) is window
    steady = steadied(window, 6.0)
    assert torch.equal(steady[:, :-3], window[:, :-3])
    for one, result in zip(frames.numpy(), steady):
        expected = torch.from_numpy(averaged(aligned(one), 6.0)).permute(2, 0, 1) / 127.5 - 1
        torch.testing.assert_close(result[-3:], expected, atol=1e-5, rtol=0)
    # the first frame of a video, which stands in for those before it, is as it was; images of any size
    for size in ((24, 20), (3, 5), (1, 1)):
        still = window[:, -3:, : size[0], : size[1]].repeat(1, 3, 1, 1)
        torch.testing.assert_close(steadied(still, 6.0), still, atol=1e-5, rtol=0)


@pytest.mark.parametrize("memory", [5, 0])
def test_the_refiner_sees_steadied_windows_in_training_and_in_use(memory):
    seen = []
    refiner = Refiner(replace(TINY, steady=6.0, memory_slots=memory))
    refiner.generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    refiner.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    batch = batch_of(size=32)
    expected = steadied(batch.window, 6.0)
    assert not torch.equal(expected, batch.window)
    refiner.discriminator_losses(batch)
    refiner.generator_losses(batch)
    refiner.eval().refine(batch.window)
    assert len(seen) == 6
    assert all(torch.equal(window, expected) for window in seen)


def batch_of(seed: int = 0, size: int = 16) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    window = torch.rand(2, 9, size, size, generator=generator) * 2 - 1
    identity = F.normalize(torch.randn(2, TINY.identity_dim, generator=generator), dim=1)
    mouth = torch.zeros(2, 1, size, size)
    mouth[:, :, size // 2 : -4, 5:-5] = 1
    return Batch(window, window[:, -3:] * 0.8, identity, mouth)


def test_stream_refiner_keeps_size_and_kind():
    refine = StreamRefiner(Refiner(TINY))
    for size in ((10, 14),) * 4:
        frame = refine(torch.randint(0, 256, (*size, 3), dtype=torch.uint8))
        assert frame.shape == (*size, 3)
        assert frame.dtype == torch.uint8


def test_stream_refiner_tells_the_mean_direction_of_what_was_found():
    refiner = Refiner(TINY)
    found = F.normalize(torch.randn(3, TINY.identity_dim, generator=torch.Generator().manual_seed(0)), dim=1)
    answers = iter(found)
    refiner.identity_of = lambda _: next(answers)[None]
    told = []
    refiner.generator.register_forward_pre_hook(lambda _, inputs: told.append(inputs[1][0]))
    stream = StreamRefiner(refiner, (0.25, 0.25, 1.0, 1.0))
    for _ in range(3):
        stream(torch.zeros(16, 16, 3, dtype=torch.uint8))
    for count in range(1, 4):
        mean = found[:count].numpy().mean(0)
        np.testing.assert_allclose(told[count - 1].numpy(), mean / np.linalg.norm(mean), atol=1e-6)
    stream.begin()  # another video knows nothing of the last
    answers = iter(found[2:])
    stream(torch.zeros(16, 16, 3, dtype=torch.uint8))
    torch.testing.assert_close(told[-1], found[2])


@pytest.mark.usefixtures("unchecked_shapes")
def test_pairs_fit_and_draws_depend_on_the_step_alone():
    video = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 4, 4, 3).contiguous()
    boxes = torch.tensor([[1.0, 2, 3, 4]]).expand(3, 4)
    sequence = PairedSequence(video, video[1:4] * 10, np.array([1, 2, 3]), torch.eye(3), boxes)
    drawn = [draw_batch([sequence], step, 2, seed=3) for step in (5, 5, 6)]
    assert all(torch.equal(a, b) for a, b in zip(drawn[0], drawn[1]))
    assert any(not torch.equal(a, b) for a, b in zip(drawn[0], drawn[2]))
    level = (drawn[0].window[:, -1, 0, 0] + 1) * 127.5
    torch.testing.assert_close((drawn[0].gt[:, 0, 0, 0] + 1) * 127.5, 10 * level, atol=1e-3, rtol=0)
    assert torch.equal(drawn[0].identity.argmax(1), level.round().long() - 1)
    assert drawn[0].mouth[1, 0].tolist() == [[0] * 4, [0] * 4, [0, 1, 1, 0], [0, 1, 1, 0]]
    # of an area
    part = draw_batch([replace(sequence, roi=(0.5, 0.25, 1.0, 1.0))], 5, 2, seed=3)
    for name in ("window", "gt", "mouth"):
        assert torch.equal(getattr(part, name), getattr(drawn[0], name)[:, :, 1:, 2:]), name
    # shifted and mirrored: still windows with their ground truth, and never beyond the image
    smaller, seen = replace(sequence, roi=(0.25, 0.25, 0.75, 0.75)), set()
    ramp = torch.arange(16, dtype=torch.uint8).view(4, 4)
    smaller = replace(smaller, rendered=ramp[None, ..., None].expand(6, 4, 4, 3).contiguous())
    smaller = replace(smaller, gt=smaller.rendered[:3])
    for step in range(60):
        drawn_part = draw_batch([smaller], step, 1, jitter=0.5)
        assert torch.equal(drawn_part.gt, drawn_part.window[:, -3:])
        level = ((drawn_part.gt[0, 0] + 1) * 127.5).round()
        assert abs(float(level[0, 1] - level[0, 0])) == 1
        assert float(level[1, 0] - level[0, 0]) == 4
        seen.add((float(level[0, 0]), float(level[0, 1])))
    assert len(seen) == 18  # nine places, two ways
    with pytest.raises(ValueError, match="no pairs"):
        PairedSequence(video, video[1:4], np.array([1, 2]), torch.eye(3), boxes)


def test_colour_jitter_is_one_affine_change_a_channel_for_rendering_and_gt():
    generator = torch.Generator().manual_seed(0)
    video, gt = (torch.randint(0, 256, (6, 8, 8, 3), dtype=torch.uint8, generator=generator) for _ in range(2))
    sequence = PairedSequence(video, gt, np.arange(6), torch.eye(6), torch.zeros(6, 4))
    plain, tinted = (draw_batch([sequence], 5, 2, colour_jitter=amount) for amount in (0.0, 0.3))
    for channel in range(3):
        before, after = (
            torch.cat([b.window[:, channel::3].flatten(), b.gt[:, channel].flatten()]) for b in (plain, tinted)
        )
        assert float(after.abs().max()) <= 1
        middle = before.abs() < 0.5  # what no change of this size drives to black or white
        gain, offset = np.polyfit(before[middle].numpy(), after[middle].numpy(), 1)
        assert 0.7 <= gain <= 1.3
        assert abs(offset) <= 0.3
        assert abs(gain - 1) + abs(offset) > 1e-3
        torch.testing.assert_close(after, (before * gain + offset).clamp(-1, 1).float(), atol=1e-5, rtol=0)


# ---------------------------------------------------------------------------------------------------- turns


def snapshot(parameters) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


@pytest.mark.parametrize("turn", ["generator", "discriminator"])
def test_a_turn_changes_its_own_side_alone(turn):
    from nerfstudio.engine.optimizers import AdamOptimizerConfig, Optimizers
    from torch.amp.grad_scaler import GradScaler

    refiner = Refiner(TINY)
    groups = refiner.param_groups()
    config = {name: {"optimizer": AdamOptimizerConfig(lr=0.1), "scheduler": None} for name in groups}
    optimizers, scaler = Optimizers(config, groups), GradScaler("cpu", enabled=False)
    other = "generator" if turn == "discriminator" else "discriminator"
    for name in (other, turn):  # the other side has moved before: its optimiser carries momentum
        before = {side: snapshot(parameters) for side, parameters in groups.items()}
        # what nerfstudio's trainer does in an iteration
        optimizers.zero_grad_some(list(groups))
        sum(getattr(refiner, f"{name}_losses")(batch_of()).values()).backward()
        optimizers.optimizer_scaler_step_some(scaler, list(groups))
    assert all(torch.equal(a, b) for a, b in zip(before[other], groups[other]))
    assert any(not torch.equal(a, b) for a, b in zip(before[turn], groups[turn]))


def test_the_mouth_counts_as_often_as_is_asked():
    batch = batch_of()
    weight = 1 + 8 * batch.mouth
    error = np.abs((batch.window[:, -3:] - batch.gt).numpy())
    expected = np.average(error, weights=np.broadcast_to(weight.numpy(), error.shape))
    np.testing.assert_allclose(weighted_error(batch.window[:, -3:], batch.gt, weight), expected, rtol=1e-5)
    losses = {}
    for mouth in (1.0, 9.0):  # alike as published
        torch.manual_seed(0)
        refiner = Refiner(TINY, LossWeights(mouth=mouth))
        losses[mouth] = refiner.generator_losses(batch)["l1_loss"].detach()
    refined = refiner.generator(batch.window, batch.identity).output.detach()
    np.testing.assert_allclose(losses[1.0], 100 * F.l1_loss(refined, batch.gt), rtol=1e-5)
    np.testing.assert_allclose(losses[9.0], 100 * weighted_error(refined, batch.gt, weight), rtol=1e-5)


def test_local_detail_is_that_of_scipy():
    from scipy import ndimage

    image = np.random.default_rng(0).uniform(-1, 1, (3, 21, 17)).astype(np.float64)
    grey = np.tensordot([0.299, 0.587, 0.114], image, 1)
    power = ndimage.laplace(grey, mode="nearest") ** 2
    # a window that reaches over the border holds less
    sums, counts = (ndimage.uniform_filter(x, 9, mode="constant") for x in (power, np.ones_like(power)))
    measured = local_detail(torch.from_numpy(image)[None])[0, 0]
    np.testing.assert_allclose(measured, np.sqrt(sums / counts), rtol=1e-4)


def test_detail_is_missed_by_its_amount_and_not_by_its_place():
    checks = torch.zeros(1, 3, 32, 32).index_fill(3, torch.arange(0, 32, 2), 1.0)
    inside = (..., slice(8, 24), slice(8, 24))
    aligned, shifted, flat = (local_detail(x)[inside] for x in (checks, 1 - checks, torch.full_like(checks, 0.5)))
    torch.testing.assert_close(aligned, shifted)
    assert (aligned - flat).min() > 1
    still = torch.full((1, 3, 8, 8), 0.2, requires_grad=True)
    local_detail(still).sum().backward()
    assert torch.isfinite(still.grad).all()  # the root at nothing


def test_dissimilarity_is_that_of_scikit_image_where_pixels_count():
    from skimage.metrics import structural_similarity

    gt, noise = np.random.default_rng(0).uniform(-1, 1, (2, 3, 40, 36)).astype(np.float32)
    image = 0.7 * gt + 0.3 * noise
    _, similar = structural_similarity(
        image, gt, channel_axis=0, data_range=2.0, full=True,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip
    weight = np.zeros((40, 36), np.float32)
    weight[8:20, 8:28], weight[20:30, 8:28] = 1, 5  # away from the border, which either pads in its way
    measured = dissimilarity(*(torch.from_numpy(x)[None] for x in (image, gt, weight[None])))
    assert float(measured) == pytest.approx(1 - float((similar * weight).sum() / (3 * weight.sum())), abs=1e-4)


def test_the_next_frame_follows_where_the_flicker_counts():
    video = torch.arange(8, dtype=torch.uint8)[:, None, None, None].expand(8, 4, 4, 3).contiguous()
    frames = np.array([1, 2, 5, 6])  # 2 and 5 do not follow one another
    sequence = PairedSequence(video, video[frames] * 10, frames, torch.eye(4), torch.zeros(4, 4))
    seen = set()
    for step in range(20):
        batch = draw_batch([sequence], step, 1, successive=True)
        assert len(batch.window) == 2
        seen.add(tuple(((batch.window[:, -1, 0, 0] + 1) * 127.5).round().int().tolist()))
        torch.testing.assert_close(batch.gt[:, 0, 0, 0] + 1, 10 * (batch.window[:, -1, 0, 0] + 1))
    assert seen == {(1, 2), (5, 6)}
    apart = replace(sequence, frames=np.array([0, 2, 4, 6]))
    with pytest.raises(ValueError, match="follow one another"):
        draw_batch([apart], 0, 1, successive=True)


def test_flicker_is_the_error_of_the_change_and_not_of_the_image():
    batch = batch_of()
    refiner = Refiner(TINY, LossWeights(flicker=7.0, mouth=3.0))
    loss = refiner.generator_losses(batch)["flicker_loss"].detach()
    made = refiner.generator(batch.window, batch.identity).output.detach()
    error = ((made[1] - made[0]) - (batch.gt[1] - batch.gt[0])).abs().numpy()
    weight = np.broadcast_to(1 + 2 * batch.mouth[1].numpy(), error.shape)
    assert float(loss) == pytest.approx(7 * np.average(error, weights=weight), rel=1e-5)
    darker = batch._replace(gt=batch.gt - 0.1)
    assert float(refiner.generator_losses(darker)["flicker_loss"].detach()) == pytest.approx(float(loss), rel=1e-4)


@pytest.mark.parametrize("name", ["detail", "ssim", "flicker"])
def test_what_is_not_published_counts_where_it_is_asked_for(name):
    batch = batch_of()
    losses = {}
    for weight in (0.0, 3.0):  # none as published
        torch.manual_seed(0)
        losses[weight] = Refiner(TINY, LossWeights(**{name: weight})).generator_losses(batch)
    assert losses[3.0].keys() - losses[0.0].keys() == {f"{name}_loss"}
    torch.testing.assert_close(losses[3.0]["l1_loss"], losses[0.0]["l1_loss"])
    refiner = Refiner(TINY, LossWeights(**{name: 3.0}))
    refiner.generator_losses(batch)[f"{name}_loss"].backward()  # it reaches the painter
    assert refiner.generator.colour.weight.grad.abs().sum() > 0


def test_the_area_holds_all_faces_and_the_rest_stays():
    from nerfstudio_talking.refiner.roi import face_roi, roi_pixels

    boxes = torch.tensor([[20.0, 10, 60, 50], [30, 20, 80, 60]])
    roi = face_roi(boxes, 100, 200)  # the union with 0.15 of its sides: 20 - 9 to 80 + 9, 10 - 7.5 to 60 + 7.5
    np.testing.assert_allclose(roi, (11 / 200, 2.5 / 100, 89 / 200, 67.5 / 100), rtol=1e-6)
    assert face_roi(torch.tensor([[0.0, 0, 200, 100]]), 100, 200) == (0, 0, 1, 1)
    assert roi_pixels((0.25, 0.5, 0.75, 1.0), 10, 20) == (slice(5, 10), slice(5, 15))
    assert roi_pixels((0.99, 0.99, 0.99, 0.99), 10, 10) == (slice(9, 10), slice(9, 10))
    torch.manual_seed(0)
    refiner, window = Refiner(TINY).eval(), batch_of(size=64).window
    roi = (0.25, 0.0, 0.75, 0.5)
    refined = refiner.refine(window, roi)
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[:32, 16:48] = True
    change = (refined.output - window[:, -3:]).abs().sum((0, 1))
    assert (change[~inside] == 0).all()
    assert (refined.mask[..., ~inside] == 0).all()
    # in the middle and at the image's own border it is the generator's, at the other borders next to nothing of it
    part = window[..., :32, 16:48]
    alone = refiner.generator(part, refiner.identity_of(part))
    torch.testing.assert_close(refined.output[..., :28, 20:44], alone.output[..., :28, 4:28])
    full = (alone.output - part[:, -3:]).abs().sum((0, 1))
    assert (change[:28, 16] < 0.3 * full[:28, 0]).all()
    assert (change[31, 16:48] < 0.3 * full[31]).all()
    whole = refiner.refine(window)
    torch.testing.assert_close(whole.output, refiner.generator(window, refiner.identity_of(window)).output)


def test_only_the_generators_turn_writes_the_memory():
    refiner = Refiner(TINY)
    assert refiner.memory is not None
    refiner.discriminator_losses(batch_of())
    assert len(refiner.memory) == 0
    losses = refiner.generator_losses(batch_of())
    assert len(refiner.memory) == 2
    shared = {"adversarial_loss", "l1_loss", "mask_loss", "mask_variation_loss"}
    assert losses.keys() == {*shared, "triplet_loss"}
    found = refiner.identity_of(batch_of().window)
    assert found.shape == (2, TINY.identity_dim)
    assert found.abs().sum() > 0


def test_the_memory_may_be_written_before_the_way_back():
    refiner = Refiner(replace(TINY, margin=2.0))  # so large that the loss of an untrained memory is never zero
    assert refiner.key_encoder is not None
    for _ in range(2):  # the second time both identities are found, and their slots written again
        losses = refiner.generator_losses(batch_of())
        losses["triplet_loss"].backward()
    assert losses["triplet_loss"] > 0
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in refiner.key_encoder.parameters())


def test_without_a_memory_no_identity_is_told():
    refiner = Refiner(RefinerSettings(width=4, levels=3, patch_layers=2, identity_dim=6, memory_slots=0))
    batch = batch_of()
    other = batch._replace(identity=batch.identity.flip(0))
    a, b = (refiner.generator_losses(x) for x in (batch, other))
    assert "triplet_loss" not in a
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert torch.equal(refiner.identity_of(batch.window), torch.zeros(2, 1))


# ------------------------------------------------------------------------------------------------- identity


def test_alignment_puts_the_face_where_arcface_expects_it():
    rng = np.random.default_rng(0)
    points = rng.uniform(60, 70, (68, 2))
    for group, place in (((36, 39), (60, 60)), ((42, 45), (100, 60)), ((30,), (80, 83)), ((48,), (64, 107)),
                         ((54,), (97, 107))):  # fmt: skip
        points[list(group)] = place
    image = np.zeros((160, 160, 3), np.uint8)
    image[57:63, 57:63] = (255, 0, 0)
    face = align_face(image, points)
    assert face.shape == (CROP, CROP, 3)
    rows, columns = np.nonzero(face[..., 0] > 128)
    assert abs(columns.mean() - 38.3) < 2.5
    assert abs(rows.mean() - 51.7) < 2.5
    with pytest.raises(ValueError, match="478 or 68"):
        align_face(image, points[:5])


def test_identity_encoder_tells_people_apart_and_sees_no_mouth():
    rng = np.random.default_rng(0)
    people = rng.integers(0, 255, (2, 1, 7, 7, 3)).repeat(16, 2).repeat(16, 3)
    faces = (
        np.clip(people + rng.normal(0, 12, (2, 12, CROP, CROP, 3)), 0, 255).astype(np.uint8).reshape(24, CROP, CROP, 3)
    )
    clips, seconds = np.repeat([0, 1], 12), np.tile(np.arange(12) / 25, 2)
    encoder = train_identity(faces, clips, seconds, dim=8, steps=25)
    features = encode_faces(encoder, faces)
    likeness = features @ features.T
    same = clips[:, None] == clips[None]
    assert likeness[same].min() > likeness[~same].max()
    speaking = faces.copy()
    speaking[:, 80:] = 0
    assert torch.equal(encode_faces(encoder, speaking), features)
    state = torch.get_rng_state()
    again = train_identity(faces, clips, seconds, dim=8, steps=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(
        again.parameters(), train_identity(faces, clips, seconds, dim=8, steps=2).parameters()))  # fmt: skip


def test_arcface_from_torchscript(tmp_path):
    network = nn.Sequential(nn.AvgPool2d(56), nn.Flatten(), nn.Linear(12, 5)).eval()
    path = tmp_path / "arcface.pt"
    torch.jit.trace(network, torch.zeros(1, 3, CROP, CROP)).save(str(path))
    faces = np.random.default_rng(0).integers(0, 256, (3, CROP, CROP, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = F.normalize(network(torch.from_numpy(faces).permute(0, 3, 1, 2) / 127.5 - 1), dim=1)
    torch.testing.assert_close(arcface_features(path, faces), expected)


def test_bad_identity_weights_are_told(tmp_path):
    faces = np.zeros((1, CROP, CROP, 3), np.uint8)
    for name, content in (("no.onnx", None), ("bad.onnx", b"x"), ("bad.pt", b"x")):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(TalkingError, match=name):
            arcface_features(path, faces)


# --------------------------------------------------------------------------------------- frames and the mesh


def test_rendered_frames_are_resumed_and_checked(tmp_path):
    made = []

    def render(frame: int) -> np.ndarray:
        made.append(frame)
        return np.full((4, 6, 3), 10 * frame, np.uint8)

    fill_folder(tmp_path / "r", 3, render)
    (tmp_path / "r" / "000001.png").unlink()
    fill_folder(tmp_path / "r", 3, render)
    assert made == [0, 1, 2, 1]
    frames = read_rendered(tmp_path / "r", 3, 4, 6)
    assert frames[:, 0, 0, 0].tolist() == [0, 10, 20]
    for count, height, message in ((4, 4, "3 images"), (3, 5, "6x4")):
        with pytest.raises(TalkingError, match=message):
            read_rendered(tmp_path / "r", count, height, 6)
    with pytest.raises(TalkingError, match="no such file"):
        read_rendered(tmp_path / "none", 3, 4, 6)


def test_rendered_video(tmp_path):
    from nerfstudio_talking.media.writing import VideoWriter

    with VideoWriter(tmp_path / "r.mp4", 25, 16, 16) as writer:
        for level in (20, 120, 220):
            writer.write(np.full((16, 16, 3), level, np.uint8))
    frames = read_rendered(tmp_path / "r.mp4", 3, 16, 16)
    np.testing.assert_allclose(frames.mean((1, 2, 3)), (20, 120, 220), atol=4)
    for count in (2, 4):
        with pytest.raises(TalkingError, match=r"r\.mp4"):
            read_rendered(tmp_path / "r.mp4", count, 16, 16)


def test_rasteriser_against_the_plane_it_draws():
    points = np.array([(2.0, 2.0), (2.0, 30.0), (28.0, 30.0), (28.0, 2.0), (15.0, 16.0)])
    square = np.array([(0, 1, 2), (0, 2, 3)])
    assert (signed_areas(points, square) > 0).all()
    coverage = rasterise(points, np.ones(5), square, 32, 32)
    at = interpolate(coverage, square, points)
    rows, columns = np.nonzero(coverage.triangle >= 0)
    inside = (rows > 2) & (rows < 29) & (columns > 2) & (columns < 27)
    assert inside.sum() == 26 * 24
    expected = np.stack([columns, rows], 1)[inside] + 0.5
    np.testing.assert_allclose(at[rows, columns][inside], expected, atol=0.01)
    # nearer covers farther; what faces away is not drawn
    near = np.concatenate([square, [(1, 2, 4)]])
    depth = np.array([5.0, 5, 5, 5, -9])
    assert rasterise(points, depth, near, 32, 32).triangle[27, 15] == 2
    assert (rasterise(points, depth, square[:, ::-1], 32, 32).triangle == -1).all()


def test_mesh_is_closed_over_eyes_and_mouth():
    from nerfstudio_talking.face.linear_face_model import canonical_face
    from nerfstudio_talking.mesh_rendering.textured_face import mesh_triangles, texture_positions

    triangles, skin = mesh_triangles()
    _, open_mesh = canonical_face()
    assert skin == len(open_mesh) + 2 * 14  # two eyes, rings of 16
    assert len(triangles) == skin + 18  # the mouth, a ring of 20
    edges = {(int(t[k]), int(t[(k + 1) % 3])) for t in triangles for k in range(3)}
    assert len(edges) == 3 * len(triangles)  # every one is run along once in each direction at most
    assert sum((b, a) not in edges for a, b in edges) == 36  # the rim of the face is the only border
    rois = signed_areas(texture_positions(), triangles[:skin])
    assert (rois > 0).mean() > 0.97


def test_backdrops_are_other_frames_posed_alike():
    from nerfstudio_talking.mesh_rendering.textured_face import backdrop_frames

    poses = np.zeros((100, 6))
    poses[:, 1] = np.tile(np.arange(50), 2) / 50
    lent = backdrop_frames(poses, np.arange(100))
    assert (lent == (np.arange(100) + 50) % 100).all()
    assert backdrop_frames(poses[:5], np.arange(4)).max() < 4


def test_affine_maps_between_points_and_between_bodies():
    from nerfstudio_talking.mesh_rendering.reference_warp import affine_between, body_between

    rng = np.random.default_rng(0)
    points, motion = rng.normal(size=(30, 2)), np.array([[1.1, 0.2, 5], [-0.1, 0.9, -3]])
    moved = points @ motion[:, :2].T + motion[:, 2]
    np.testing.assert_allclose(affine_between(points, moved), motion, atol=1e-12)
    # [-1, 1] over 200 x 100 pixels: a tenth to the right is 10 pixels, a fifth down is 10, too
    start, end = np.eye(2, 3), np.array([[1, 0, 0.1], [0, 1, 0.2]])
    np.testing.assert_allclose(body_between(start, end, 200, 100), [[1, 0, 10], [0, 1, 10]], atol=1e-9)
    np.testing.assert_allclose(body_between(end, start, 200, 100), [[1, 0, -10], [0, 1, -10]], atol=1e-9)
    # twice as large about the middle of the image
    twice = np.array([[2.0, 0, 0], [0, 2, 0]])
    np.testing.assert_allclose(body_between(start, twice, 200, 100), [[2, 0, -100], [0, 2, -50]], atol=1e-9)


def test_lent_head_and_body_go_where_they_are_carried():
    from nerfstudio_talking.mesh_rendering.reference_warp import carried, person_layers

    background = np.full((64, 64, 3), (0, 0, 200), np.uint8)
    parsing = np.zeros((64, 64), np.uint8)
    parsing[10:30, 20:40], parsing[40:, 10:50] = CLASS_ID["hair"], CLASS_ID["cloth"]
    parsing[30:40, 25:35] = CLASS_ID["neck"]
    image = background.copy()
    colours = {"hair": (60, 40, 20), "cloth": (0, 120, 0), "neck": (220, 170, 140)}
    for name, colour in colours.items():
        image[parsing == CLASS_ID[name]] = colour
    layers = person_layers(image, parsing)
    still = np.eye(2, 3)
    away = cv2.morphologyEx(parsing, cv2.MORPH_GRADIENT, np.ones((7, 7))) == 0  # from every outline
    assert away.sum() > 1500
    same = carried(layers, background, still, still)
    assert np.abs(same.astype(int) - image)[away].max() <= 2
    # head 6 to the right, body 5 down: where they were the background shows, and no hole between them
    head, body = np.array([[1.0, 0, 6], [0, 1, 0]]), np.array([[1.0, 0, 0], [0, 1, 5]])
    apart = carried(layers, background, head, body)
    assert np.abs(apart[20, 43].astype(int) - colours["hair"]).max() <= 2
    assert np.abs(apart[20, 21].astype(int) - background[0, 0]).max() <= 2
    assert np.abs(apart[42, 14].astype(int) - background[0, 0]).max() <= 2
    assert np.abs(apart[50, 14].astype(int) - colours["cloth"]).max() <= 2
    assert apart[31:40, 30, 2].max() < 180  # neck, not the blue behind it


def test_mesh_stage_draws_the_person():
    from nerfstudio_talking.face.linear_face_model import FaceBasis, FaceModel, canonical_face
    from nerfstudio_talking.mesh_rendering.textured_face import TexturedFace, draw_face

    points, _ = canonical_face()
    basis = FaceBasis(np.zeros((1, 478, 3)), np.zeros((478, 3)))
    texture = np.full((256, 256, 3), (200, 150, 120), np.uint8)
    face = TexturedFace(FaceModel(points, basis), texture, np.array((50, 0, 0), np.uint8))
    pose = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.8]])
    drawn = draw_face(face, points, pose, PinholeCamera(300.0, 128, 128), np.zeros((128, 128, 3), np.uint8))
    nose = np.round((64 + 300 * points[1, 0] / 0.8, 64 - 300 * points[1, 1] / 0.8)).astype(int)
    assert drawn[nose[1], nose[0]].tolist() == [200, 150, 120]
    assert drawn[2, 2].tolist() == [0, 0, 0]


# ------------------------------------------------------------------------------------- under nerfstudio's trainer


def run(config) -> Path:
    from nerfstudio.utils import writer

    writer.EVENT_WRITERS.clear()
    writer.EVENT_STORAGE.clear()
    torch.manual_seed(0)
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.train()
    return sorted(config.get_checkpoint_dir().iterdir())[-1]


@pytest.fixture(scope="module")
def trained(talking_dataset, blurred, tmp_path_factory) -> Path:
    config = trainer_config(talking_dataset, blurred, tmp_path_factory.mktemp("refiner"), 6)
    run(config)
    return config.get_base_dir() / "config.yml"


@pytest.mark.slow
def test_resumed_training_equals_an_uninterrupted_one(trained, talking_dataset, blurred, tmp_path):
    whole = torch.load(next((trained.parent / "nerfstudio_models").iterdir()), weights_only=True)
    half = run(trainer_config(talking_dataset, blurred, tmp_path / "a", 3))
    rest = run(trainer_config(talking_dataset, blurred, tmp_path / "b", 3, half.parent))
    resumed = torch.load(rest, weights_only=True)
    assert resumed["step"] == whole["step"] == 5
    assert resumed["pipeline"].keys() == whole["pipeline"].keys()
    assert any("memory.keys" in name for name in whole["pipeline"])
    assert not any("rendered" in name and "rendered_by" not in name for name in whole["pipeline"])
    for name, value in whole["pipeline"].items():
        assert torch.equal(value, resumed["pipeline"][name]), name


@pytest.mark.slow
def test_evaluation_measures_refined_and_given(trained):
    from nerfstudio.utils.eval_utils import eval_setup

    _, pipeline, _, _ = eval_setup(trained)
    metrics = pipeline.get_average_eval_image_metrics()
    assert {"psnr", "ssim", "rendered_psnr", "rendered_ssim"} <= metrics.keys()
    # after three turns the painter is still near what it was given
    assert abs(metrics["psnr"] - metrics["rendered_psnr"]) < 3
    assert metrics["psnr"] != metrics["rendered_psnr"]


@pytest.mark.slow
def test_drive_refines(trained, talking_dataset, tmp_path):
    import soundfile

    from nerfstudio_talking.cli.main import entrypoint
    from nerfstudio_talking.media.reading import read_frames
    from nerfstudio_talking.method_configs.talking_portrait import talking_portrait_small

    config = copy.deepcopy(talking_portrait_small.config)
    config.data = config.pipeline.datamanager.data = talking_dataset
    config.output_dir, config.experiment_name, config.timestamp, config.vis = tmp_path, "p", "t", "tensorboard"
    config.machine.device_type, config.max_num_iterations = "cpu", 2
    config.pipeline.datamanager.train_num_rays_per_batch = 128
    run(config)
    portrait = config.get_base_dir() / "config.yml"
    soundfile.write(tmp_path / "voice.wav", 0.1 * np.ones(16000 // 5), 16000)
    videos = []
    for name, options in (("plain", []), ("refined", ["--refine", str(trained)])):
        output = tmp_path / f"{name}.mp4"
        arguments = ["--load-config", str(portrait), "--audio", str(tmp_path / "voice.wav"), "--output", str(output)]
        entrypoint(["drive", *arguments, *options])
        videos.append(np.stack(list(read_frames(output))))
    assert videos[0].shape == videos[1].shape == (5, 48, 48, 3)
    assert not np.array_equal(*videos)
    with pytest.raises(SystemExit):
        entrypoint(["drive", *arguments, "--refine", str(portrait)])


def test_another_clips_landmarks_or_no_checkpoint_are_told(talking_dataset, tmp_path):
    from nerfstudio_talking.inference.refiner import load_refiner

    with pytest.raises(TalkingError, match="no such file"):
        load_refiner(tmp_path / "config.yml", tmp_path / "config.yml", "")
    # 68 landmarks make no mesh
    with pytest.raises(TalkingError, match="478 FaceMesh"):
        trainer_config(talking_dataset, None, tmp_path, 1).setup().setup()
    config = trainer_config(talking_dataset, None, tmp_path, 1)
    config.pipeline.datamanager.also = (talking_dataset, talking_dataset)
    config.pipeline.datamanager.also_rendered = (talking_dataset,)
    with pytest.raises(TalkingError, match="also-rendered"):
        config.setup().setup()


@pytest.mark.slow
def test_a_refiner_of_two_people_knows_both_clips(talking_dataset, blurred, tmp_path, capsys):
    from nerfstudio_talking.dataset_io.sequence import load_sequence
    from nerfstudio_talking.inference.refiner import load_refiner

    other = tmp_path / "other"
    shutil.copytree(talking_dataset, other)
    record = json.loads((other / "track.json").read_text())
    (other / "track.json").write_text(json.dumps({**record, "digest": "b" * 64}))
    config = trainer_config(talking_dataset, blurred, tmp_path, 2)
    config.pipeline.datamanager.also = (other,)
    config.pipeline.datamanager.also_rendered = (blurred,)
    run(config)
    shutil.rmtree(other)  # a refiner that is used needs no dataset
    path = config.get_base_dir() / "config.yml"
    capsys.readouterr()
    for digest in (load_sequence(talking_dataset).track.digest, "b" * 64):
        assert 0 < load_refiner(path, None, digest).roi[0] < 0.5
        assert "another clip" not in capsys.readouterr().out
    assert load_refiner(path, None, "c" * 64).roi == (0, 0, 1, 1)
    assert "another clip" in capsys.readouterr().out
