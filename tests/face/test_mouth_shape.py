import numpy as np

from nerfstudio_talking.face.mouth_shape import fit_mouth_shape_basis


def test_first_coefficients_are_the_measures_and_the_others_are_independent_of_them():
    rng = np.random.default_rng(1)
    measures, other = rng.random((80, 3)), rng.standard_normal(80)
    directions, second = rng.standard_normal((3, 30)), rng.standard_normal(30)
    shapes = measures @ directions + other[:, None] * second + 1e-3 * rng.standard_normal((80, 30))
    code = fit_mouth_shape_basis(shapes, measures, 5).encode(shapes, measures)
    np.testing.assert_allclose(code[:, :3], (measures - measures.mean(0)) / measures.std(0), atol=1e-9)
    assert np.abs(np.corrcoef(code[:, 3], measures.T)[0, 1:]).max() < 1e-6
    np.testing.assert_allclose(code.std(0), 1, atol=0.05)


def test_fewer_coefficients_than_measures():
    rng = np.random.default_rng(3)
    shapes, measures = rng.standard_normal((40, 6)), rng.random((40, 3))
    code = fit_mouth_shape_basis(shapes, measures, 2).encode(shapes, measures)
    np.testing.assert_allclose(code, ((measures - measures.mean(0)) / measures.std(0))[:, :2], atol=1e-9)


def test_frames_without_a_face_do_not_count():
    rng = np.random.default_rng(2)
    shapes, measures = rng.standard_normal((40, 6)), rng.random((40, 3))
    torn = np.concatenate([shapes, np.full((3, 6), np.nan)]), np.concatenate([measures, np.full((3, 3), np.nan)])
    whole, found = fit_mouth_shape_basis(shapes, measures, 5), fit_mouth_shape_basis(*torn, 5)
    np.testing.assert_array_equal(found.encode(shapes, measures), whole.encode(shapes, measures))
