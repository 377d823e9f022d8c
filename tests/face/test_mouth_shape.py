import numpy as np

from nerfstudio_talking.face.mouth_shape import fit_mouth_shape_basis


def test_first_coefficient_is_the_lip_distance_and_the_others_are_independent_of_it():
    rng = np.random.default_rng(1)
    distance, other = rng.random(80), rng.standard_normal(80)
    direction, second = rng.standard_normal((2, 30))
    shapes = distance[:, None] * direction + other[:, None] * second + 1e-3 * rng.standard_normal((80, 30))
    basis = fit_mouth_shape_basis(shapes, distance, 3)
    code = basis.encode(shapes, distance)
    np.testing.assert_allclose(code[:, 0], (distance - distance.mean()) / distance.std(), atol=1e-9)
    assert abs(np.corrcoef(code[:, 1], distance)[0, 1]) < 1e-6
    np.testing.assert_allclose(code.std(0)[:2], 1, atol=0.05)


def test_frames_without_a_face_do_not_count():
    rng = np.random.default_rng(2)
    shapes, distance = rng.standard_normal((40, 6)), rng.random(40)
    torn = np.concatenate([shapes, np.full((3, 6), np.nan)]), np.concatenate([distance, np.full(3, np.nan)])
    whole, found = fit_mouth_shape_basis(shapes, distance, 3), fit_mouth_shape_basis(*torn, 3)
    np.testing.assert_array_equal(found.encode(shapes, distance), whole.encode(shapes, distance))
