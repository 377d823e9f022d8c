"""Curves that give predictions the amplitude of their targets."""

from __future__ import annotations

import numpy as np
import torch

from nerfstudio_talking.audio.amplitude import VoiceAdaptation, amplitude_curves, apply_curves, soft_limit


def test_predictions_get_the_distribution_of_their_targets():
    """Lips that touch a third of the time touch a third of the time; the order of the frames stays."""
    rng = np.random.default_rng(0)
    target = np.maximum(rng.standard_normal((3000, 1)), -0.43)
    predicted = 0.4 * target + 0.3 * rng.standard_normal(target.shape)
    curves = torch.from_numpy(amplitude_curves(predicted, target, 1))
    shown = apply_curves(torch.from_numpy(predicted), curves).numpy()
    assert (predicted <= -0.43).mean() < 0.15 and abs((shown <= -0.42).mean() - (target <= -0.42).mean()) < 0.02
    assert target.max() > shown.max() == np.quantile(target, 0.97), "single frames at the ends are left out"
    np.testing.assert_allclose(shown.std(), np.clip(target, None, shown.max()).std(), rtol=0.02)
    order = np.argsort(predicted[:, 0])
    assert (np.diff(shown[order, 0]) >= -1e-9).all()
    # numpy's own interpolation, within and beyond the ends
    values = np.linspace(-5, 5, 101)[:, None]
    expected = np.interp(values[:, 0], *curves[0].numpy())
    np.testing.assert_allclose(apply_curves(torch.from_numpy(values), curves).numpy()[:, 0], expected, atol=1e-12)


def test_noise_is_not_turned_up():
    rng = np.random.default_rng(1)
    target, predicted = rng.standard_normal((500, 3)), 0.1 * rng.standard_normal((500, 3))
    predicted[:, 1:] += target[:, 1:]
    predicted[:, 0] -= 0.1 * target[:, 0]
    curves = torch.from_numpy(amplitude_curves(predicted, 2 * target, num_measures=2))
    shown = apply_curves(torch.from_numpy(predicted), curves).numpy()
    np.testing.assert_allclose(shown[:, [0, 2]], predicted[:, [0, 2]], atol=1e-3)
    np.testing.assert_allclose(shown[:, 1].std(), 2.0, rtol=0.1)


def test_a_constant_prediction_stays_finite():
    curves = torch.from_numpy(amplitude_curves(np.zeros((60, 1)), np.random.default_rng(2).standard_normal((60, 1)), 1))
    assert torch.isfinite(apply_curves(torch.zeros(3, 1).double(), curves)).all()


def test_shapes_are_limited_beyond_their_range_alone():
    low, high = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 4.0])
    inside = torch.tensor([[-1.0, 0.0], [0.3, 2.0], [1.0, 4.0]])
    assert torch.equal(soft_limit(inside, low, high), inside)
    beyond = torch.tensor([[1.001, 100.0], [-50.0, -0.001]])
    torch.testing.assert_close(
        soft_limit(beyond, low, high), torch.tensor([[1.001, 5.0], [-1.5, -0.001]]), atol=1e-5, rtol=0
    )
    rising = soft_limit(torch.linspace(-3, 3, 200)[:, None], low[:1], high[:1])[:, 0]
    assert (rising.diff() >= 0).all() and rising.max() <= 1.5


def test_another_voice_is_brought_to_the_recordings_mean_and_spread():
    """Predictions that lie higher and are twice as wide; those like the recording's, skewed, stay as they are."""
    rng = np.random.default_rng(3)
    draw = lambda count: rng.gamma(2.0, 1.0, (count, 2))  # noqa: E731
    own = draw(4000)
    for offset, width in ((1.5, 2.0), (0.0, 1.0)):
        adaptation = VoiceAdaptation(own.mean(0), own.std(0))
        np.testing.assert_allclose(adaptation.values, [[1, 1], [0, 0]], atol=1e-9)
        shown = []
        for row in offset + width * draw(3000):
            adaptation.add(row)
            factor, shift = adaptation.values
            shown.append(row * factor + shift)
        late = np.array(shown[750:])
        np.testing.assert_allclose(late.mean(0), own.mean(0), atol=0.3 if width > 1 else 0.1)
        np.testing.assert_allclose(late.std(0), own.std(0), rtol=0.2 if width > 1 else 0.05)
