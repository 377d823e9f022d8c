import cv2
import numpy as np
import pytest

from nerfstudio_talking.media.inpainting import center_map, fill_smoothly


@pytest.mark.parametrize("shape", [(64, 64), (37, 53)])
def test_filling_a_hole_in_a_plane_gives_the_plane(shape):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    plane = np.stack([columns, rows, columns + rows], axis=2).astype(np.float32)
    known = np.ones(shape, dtype=bool)
    known[12:30, 15:38] = False
    filled = fill_smoothly(np.where(known[..., None], plane, 255), known)
    np.testing.assert_array_equal(filled[known], plane[known])
    assert np.abs(filled - plane).max() < 3  # a membrane over a plane's hole is the plane


def test_filling_from_a_single_pixel_or_none():
    known = np.zeros((9, 7), dtype=bool)
    image = np.full((9, 7, 3), 80, dtype=np.uint8)
    assert (fill_smoothly(image, known) == 0).all()
    known[4, 2] = True
    np.testing.assert_allclose(fill_smoothly(image, known), 80, rtol=1e-5)


def test_maps_of_corner_coordinates_warp_pixel_centres():
    """Halving an image by its corners' coordinates averages pairs of pixels, as OpenCV's area resizing does."""
    image = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    half = np.array([[0.5, 0, 0], [0, 0.5, 0]])
    warped = cv2.warpAffine(image, center_map(half), (4, 4), flags=cv2.INTER_LINEAR)
    np.testing.assert_allclose(warped, cv2.resize(image, (4, 4), interpolation=cv2.INTER_AREA), atol=1e-5)
