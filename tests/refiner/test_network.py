"""The steps of training, the memory in them, and refining a stream."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.refiners import TINY, random_batch

from nerfstudio_talking.refiner.losses import LossWeights, ssim_loss
from nerfstudio_talking.refiner.network import Refiner, StreamRefiner


@pytest.mark.parametrize("side", ["generator", "discriminator"])
def test_a_step_changes_its_own_side_alone(side):
    from nerfstudio.engine.optimizers import AdamOptimizerConfig, Optimizers
    from torch.amp.grad_scaler import GradScaler

    refiner = Refiner(TINY)
    groups = refiner.param_groups()
    config = {name: {"optimizer": AdamOptimizerConfig(lr=0.1), "scheduler": None} for name in groups}
    optimizers, scaler = Optimizers(config, groups), GradScaler("cpu", enabled=False)
    other = "generator" if side == "discriminator" else "discriminator"
    before = {}
    for name in (other, side):  # the other side has moved before: its optimiser has momentum
        before = {group: [p.detach().clone() for p in parameters] for group, parameters in groups.items()}
        # what nerfstudio's trainer does in an iteration
        optimizers.zero_grad_some(list(groups))
        sum(getattr(refiner, f"{name}_losses")(random_batch()).values()).backward()
        optimizers.optimizer_scaler_step_some(scaler, list(groups))
    assert all(torch.equal(a, b) for a, b in zip(before[other], groups[other]))
    assert any(not torch.equal(a, b) for a, b in zip(before[side], groups[side]))


def test_the_published_losses_have_the_published_weights():
    batch = random_batch()
    refiner = Refiner(TINY)
    losses = {name: float(value.detach()) for name, value in refiner.generator_losses(batch).items()}
    assert losses.keys() == {"adversarial_loss", "l1_loss", "mask_loss", "mask_variation_loss", "triplet_loss"}
    with torch.no_grad():
        refined = refiner.generator(batch.window, batch.identity)
        logits = refiner.discriminator(batch.window, refined.output).numpy()
    error = np.abs((refined.output - batch.gt).numpy()).mean()
    mask = refined.mask.numpy()
    steps = np.square(np.diff(mask, axis=2)).sum() + np.square(np.diff(mask, axis=3)).sum()
    assert losses["adversarial_loss"] == pytest.approx(np.log1p(np.exp(-logits)).mean(), rel=1e-5)
    assert losses["l1_loss"] == pytest.approx(100 * error, rel=1e-5)
    assert losses["mask_loss"] == pytest.approx(2 * (1 - mask.mean()), rel=1e-5)
    assert losses["mask_variation_loss"] == pytest.approx(1e-5 * steps / len(mask), rel=1e-4)


def test_the_discriminator_sees_ground_truth_as_real_and_refined_frames_as_fake():
    batch = random_batch()
    refiner = Refiner(TINY)
    loss = float(refiner.discriminator_losses(batch)["discriminator_loss"].detach())
    with torch.no_grad():
        refined = refiner.generator(batch.window, batch.identity).output
        real, fake = (refiner.discriminator(batch.window, x).numpy() for x in (batch.gt, refined))
    assert loss == pytest.approx((np.log1p(np.exp(-real)).mean() + np.log1p(np.exp(fake)).mean()) / 2, rel=1e-5)


def test_the_ssim_loss_counts_where_it_has_a_weight():
    batch = random_batch()
    refiner = Refiner(TINY, LossWeights(ssim=3.0))
    loss = refiner.generator_losses(batch)["ssim_loss"]
    refined = refiner.generator(batch.window, batch.identity).output
    torch.testing.assert_close(loss, 3 * ssim_loss(refined, batch.gt))
    loss.backward()
    assert refiner.generator.colour.weight.grad.abs().sum() > 0


def test_only_generator_steps_write_the_memory():
    refiner = Refiner(TINY)
    assert refiner.memory is not None
    refiner.discriminator_losses(random_batch())
    assert len(refiner.memory) == 0
    refiner.generator_losses(random_batch())
    assert len(refiner.memory) == 2
    found = refiner.retrieve_identity(random_batch().window)
    torch.testing.assert_close(found, random_batch().identity)


def test_the_memory_may_be_written_before_the_backward_pass():
    refiner = Refiner(replace(TINY, margin=2.0))  # so large that the loss of an untrained memory is never zero
    assert refiner.key_encoder is not None
    losses = {}
    for _ in range(2):  # in the second step both identities are found, and their slots written again
        losses = refiner.generator_losses(random_batch())
        losses["triplet_loss"].backward()
    assert losses["triplet_loss"] > 0
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in refiner.key_encoder.parameters())


def test_without_a_memory_the_generator_gets_no_identity():
    refiner = Refiner(replace(TINY, memory_slots=0))
    batch = random_batch()
    other = batch._replace(identity=batch.identity.flip(0))
    a, b = (refiner.generator_losses(x) for x in (batch, other))
    assert "triplet_loss" not in a
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert torch.equal(refiner.retrieve_identity(batch.window), torch.zeros(2, 1))


def test_a_region_is_refined_as_an_image_of_its_own_and_the_rest_stays():
    torch.manual_seed(0)
    refiner, window = Refiner(TINY).eval(), random_batch(size=64).window
    refined = refiner.refine(window, (0.25, 0.0, 0.75, 0.5))
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[:32, 16:48] = True
    change = (refined.output - window[:, -3:]).abs().sum((0, 1))
    assert (change[~inside] == 0).all()
    assert (refined.mask[..., ~inside] == 0).all()
    crop = window[..., :32, 16:48]
    alone = refiner.generator(crop, refiner.retrieve_identity(crop))
    torch.testing.assert_close(refined.output[..., :28, 20:44], alone.output[..., :28, 4:28])
    whole = refiner.refine(window)
    torch.testing.assert_close(whole.output, refiner.generator(window, refiner.retrieve_identity(window)).output)


def test_a_stream_keeps_size_and_type_and_refines_each_window():
    torch.manual_seed(0)
    refiner = Refiner(replace(TINY, memory_slots=0))
    stream, video = StreamRefiner(refiner), torch.randint(0, 256, (4, 10, 14, 3), dtype=torch.uint8)
    frames = [stream(frame) for frame in video]
    assert all(frame.shape == (10, 14, 3) and frame.dtype == torch.uint8 for frame in frames)
    window = torch.cat([video[k].permute(2, 0, 1) for k in (1, 2, 3)])[None].float() / 127.5 - 1
    with torch.no_grad():
        expected = ((refiner.refine(window).output[0].permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).round()
    torch.testing.assert_close(frames[3].float(), expected, atol=1.0, rtol=0)


def test_a_stream_gives_the_generator_the_mean_direction_of_the_retrieved_identities():
    refiner = Refiner(TINY)
    found = F.normalize(torch.randn(3, TINY.identity_dim, generator=torch.Generator().manual_seed(0)), dim=1)
    answers = iter(found)
    refiner.retrieve_identity = lambda _: next(answers)[None]
    given = []
    refiner.generator.register_forward_pre_hook(lambda _, inputs: given.append(inputs[1][0]))
    stream = StreamRefiner(refiner, (0.25, 0.25, 1.0, 1.0))
    for _ in range(3):
        stream(torch.zeros(16, 16, 3, dtype=torch.uint8))
    for count in range(1, 4):
        mean = found[:count].numpy().mean(0)
        np.testing.assert_allclose(given[count - 1].numpy(), mean / np.linalg.norm(mean), atol=1e-6)
    stream.reset()  # another video does not know the identities of the last
    answers = iter(found[2:])
    stream(torch.zeros(16, 16, 3, dtype=torch.uint8))
    torch.testing.assert_close(given[-1], found[2])
