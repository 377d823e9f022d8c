import numpy as np
from scipy.spatial.transform import Rotation
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel

from nerfstudio_talking.audio.kernel_regression import fit_audio_regression
from nerfstudio_talking.cameras.image_plane import intersect_depth_plane
from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.face.landmark_sets import LIPS_478, mouth_points
from nerfstudio_talking.face.mouth_shape import inner_lip_gap, mouth_shape_basis


def test_head_motion_drops_out():
    """Points fixed in the head at the lips' depth come back to where they are, whatever the pose."""
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(-0.05, 0.05, (6, 2)), np.full((6, 1), 0.05)], 1)
    poses, landmarks = [], []
    for _ in range(4):
        rotation = Rotation.from_euler("yx", rng.uniform(-0.3, 0.3, 2)).as_matrix()
        position = rotation @ np.array([0.01, 0.02, 0.8])
        local = (points - position) @ rotation
        poses.append(np.concatenate([rotation, position[:, None]], 1))
        landmarks.append(np.stack([50 - 300 * local[:, 0] / local[:, 2], 40 + 300 * local[:, 1] / local[:, 2]], 1))
    found = intersect_depth_plane(np.array(landmarks), np.array(poses), PinholeCamera(300.0, 100, 80))
    np.testing.assert_allclose(found, np.broadcast_to(points[:, :2], found.shape), atol=1e-12)


def test_lip_gap():
    shapes = np.zeros((1, len(mouth_points(478)), 2))
    shapes[0, mouth_points(478).index(13)] = (0.0, 0.004)
    shapes[0, mouth_points(478).index(14)] = (0.003, 0.0)
    assert np.isclose(inner_lip_gap(shapes.reshape(1, -1), 478)[0], 0.005)
    assert len(set(LIPS_478)) == 40


def test_first_coefficient_is_the_gap_and_the_rest_ignores_it():
    rng = np.random.default_rng(1)
    gap, other = rng.random(80), rng.standard_normal(80)
    direction, second = rng.standard_normal((2, 30))
    shapes = gap[:, None] * direction + other[:, None] * second + 1e-3 * rng.standard_normal((80, 30))
    basis = mouth_shape_basis(shapes, gap, 3)
    code = basis.encode(shapes, gap)
    np.testing.assert_allclose(code[:, 0], (gap - gap.mean()) / gap.std(), atol=1e-9)
    assert abs(np.corrcoef(code[:, 1], gap)[0, 1]) < 1e-6
    np.testing.assert_allclose(code.std(0)[:2], 1, atol=0.05)


def test_regression_finds_what_audio_tells_and_leaves_the_rest():
    rng = np.random.default_rng(2)
    audio = rng.standard_normal((300, 40))
    predicted = audio[:, 0] - audio[:, 1] + 0.1 * rng.standard_normal(300)
    targets = np.stack([predicted, rng.standard_normal(300)], 1)
    fit, _ = fit_audio_regression(audio, targets)
    assert fit.correlation[0] > 0.95
    assert fit.correlation[1] < 0.3
    fresh = rng.standard_normal((200, 40))
    predicted = fit.predict(fresh)
    assert np.corrcoef(predicted[:, 0], fresh[:, 0] - fresh[:, 1])[0, 1] > 0.95
    assert predicted[:, 1].std() < 0.6


def test_regression_is_kernel_ridge():
    rng = np.random.default_rng(3)
    audio, predicted = rng.standard_normal((60, 8)), rng.standard_normal((60, 1))
    predicted[:, 0] += 2 * audio[:, 0]
    fit, _ = fit_audio_regression(audio, predicted, max_gain=1.0)
    x = (audio - audio.mean(0)) / (audio.std(0) + 1e-3)
    kernel = rbf_kernel(x, gamma=0.5 / 8) + 0.3 * linear_kernel(x) / 8
    references = [
        KernelRidge(alpha=alpha, kernel="precomputed").fit(kernel, predicted - predicted.mean(0)).predict(kernel)
        + predicted.mean(0)
        for alpha in np.logspace(-2, 2, 9)
    ]
    assert min(np.abs(fit.predict(audio) - reference).max() for reference in references) < 1e-8


def test_held_out_frames_are_told_by_the_others():
    """Each block's prediction is scikit-learn's ridge without the block and its guard, of a thinned clip too."""
    rng = np.random.default_rng(4)
    audio, predicted = rng.standard_normal((90, 6)), rng.standard_normal((90, 1))
    predicted[:, 0] += 2 * audio[:, 0]
    for most in (90, 45):
        _, held_out = fit_audio_regression(audio, predicted, folds=3, guard=4, max_gain=1.0, most=most)
        keep = np.unique(np.linspace(0, 89, most).round().astype(int))
        x, y = (audio - audio.mean(0)) / (audio.std(0) + 1e-3), predicted - predicted[keep].mean(0)
        kernel = rbf_kernel(x, gamma=0.5 / 6) + 0.3 * linear_kernel(x) / 6
        misses = []
        for alpha in np.logspace(-2, 2, 9):
            expected = np.zeros_like(predicted)
            for first in (0, 30, 60):
                rest = keep[(keep < first - 4) | (keep > first + 29 + 4)]
                ridge = KernelRidge(alpha=alpha, kernel="precomputed").fit(kernel[np.ix_(rest, rest)], y[rest])
                expected[first : first + 30] = ridge.predict(kernel[first : first + 30][:, rest])
            misses.append(np.abs(held_out - expected - predicted[keep].mean(0)).max())
        assert min(misses) < 1e-8


def test_only_the_first_are_stretched():
    rng = np.random.default_rng(3)
    inputs = rng.standard_normal((400, 3))
    predicted = inputs[:, :1] + rng.standard_normal((400, 2))
    both = fit_audio_regression(inputs, predicted)[0].predict(inputs)
    one = fit_audio_regression(inputs, predicted, stretched=1)[0].predict(inputs)
    np.testing.assert_allclose(one[:, 0], both[:, 0])
    assert one[:, 1].std() < 0.9 * both[:, 1].std()


def test_held_out_error_is_told():
    """What is pure noise is missed by its own spread; what audio tells exactly, by next to nothing."""
    rng = np.random.default_rng(6)
    inputs = rng.standard_normal((300, 4))
    targets = np.stack([inputs[:, 0], rng.standard_normal(300)], 1)
    fit, _ = fit_audio_regression(inputs, targets)
    assert fit.error[0] < 0.3
    assert 0.8 < fit.error[1] < 1.3
