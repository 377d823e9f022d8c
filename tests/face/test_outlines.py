import numpy as np
from helpers.faces import draw_landmarks_478

from nerfstudio_talking.face.landmark_sets import FACE_OVAL
from nerfstudio_talking.face.outlines import align_heads, fill_polygon, oval_mask


def test_heads_are_aligned():
    """A shifted, rotated and scaled face lands on the clip's median face."""
    points = np.stack([draw_landmarks_478((3 * i, i)) for i in range(3)]).astype(np.float64)
    angle, scale = 0.4, 1.3
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points[1] = scale * (points[0] - 90) @ rotation.T + (100, 70)
    heads = align_heads(points.astype(np.float32))
    for frame in range(3):
        matrix = heads.to_atlas(frame, 1.0)
        np.testing.assert_allclose(points[frame] @ matrix[:, :2].T + matrix[:, 2], heads.template, atol=1e-2)
    half = heads.to_atlas(1, 0.5)
    np.testing.assert_allclose(0.5 * points[1] @ half[:, :2].T + half[:, 2], heads.template, atol=1e-2)


def test_polygons_cover_pixel_centres():
    mask = np.zeros((10, 10), dtype=np.uint8)
    fill_polygon(mask, np.array([(2, 3), (7, 3), (7, 8), (2, 8)], dtype=np.float32), 1)
    assert mask[3:8, 2:7].all()
    assert mask.sum() <= 36  # OpenCV also paints the pixels that its border line touches


def test_oval_mask_is_the_ellipse_that_was_drawn():
    points = draw_landmarks_478((0, 0))
    centre, radii = points[list(FACE_OVAL)].mean(0), np.ptp(points[list(FACE_OVAL)], axis=0) / 2
    rows, columns = np.mgrid[:192, :192] + 0.5
    expected = ((columns - centre[0]) / radii[0]) ** 2 + ((rows - centre[1]) / radii[1]) ** 2 < 1
    assert (oval_mask(points, 192, 192) != expected).mean() < 0.005
    assert abs(4 * oval_mask(points, 96, 96, scale=0.5).sum() / expected.sum() - 1) < 0.05
