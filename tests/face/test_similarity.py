import numpy as np
from scipy.spatial.transform import Rotation

from nerfstudio_talking.face.similarity import fit_rotation


def test_rotation_is_that_of_scipy():
    """Kabsch's rotation of each noisy set; scipy's maps row vectors by its transpose."""
    rng = np.random.default_rng(0)
    target = rng.standard_normal((20, 3))
    target -= target.mean(0)
    sources = np.stack([3.0 * Rotation.random(random_state=seed).apply(target) for seed in range(4)])
    sources += 0.1 * rng.standard_normal(sources.shape)
    sources -= sources.mean(1, keepdims=True)
    found = fit_rotation(sources, target)
    for source, rotation in zip(sources, found):
        expected, _ = Rotation.align_vectors(target, source)
        np.testing.assert_allclose(rotation, expected.as_matrix().T, atol=1e-9)
        np.testing.assert_allclose(fit_rotation(source, target), rotation, atol=1e-12)


def test_a_mirrored_set_gives_a_rotation_still():
    target = np.random.default_rng(1).standard_normal((20, 3))
    target -= target.mean(0)
    assert np.linalg.det(fit_rotation(target * (-1, 1, 1), target)) > 0
