from __future__ import annotations

import numpy as np
import pytest
from helpers.faces import face_mesh

from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID
from nerfstudio_talking.metrics.regions import (
    MOUTH_MARGIN,
    box_mask,
    box_pixels,
    mouth_box_from_landmarks,
    mouth_box_from_parsing,
    regions_from_landmarks,
    regions_from_parsing,
)


def test_box_pixelses() -> None:
    assert box_pixels((1.5, 2.0, 4.2, 5.0), 10, 10) == (slice(2, 5), slice(1, 5))
    assert box_pixels((-3, -3, 2, 2), 10, 10, least=4) == (slice(0, 4), slice(0, 4))
    assert box_pixels((8, 8, 20, 20), 10, 10, least=4) == (slice(6, 10), slice(6, 10))
    assert box_pixels((20, 20, 30, 30), 10, 10) is None
    assert box_pixels((0, 0, 5, 5), 10, 10, least=11) is None


def test_regions_by_parsing() -> None:
    ids = np.zeros((100, 100), np.uint8)
    ids[20:60, 30:70] = CLASS_ID["skin"]
    ids[45:55, 40:60] = CLASS_ID["lips"]
    ids[70:] = CLASS_ID["cloth"]
    regions = regions_from_parsing(ids)
    assert regions.face == pytest.approx((30, 20, 70, 60), abs=1.5)
    assert regions.mouth == pytest.approx((32, 37, 68, 63), abs=2)  # wider by 0.4 of 20 pixels on every side
    assert regions.torso is not None and regions.torso[71:].all() and not regions.torso[:71].any()
    assert (
        regions.background is not None and regions.background[:19].all() and not regions.background[19:60, 30:70].any()
    )
    nobody = regions_from_parsing(np.zeros((40, 40), np.uint8))
    assert nobody.face is None and nobody.mouth is None and not nobody.torso.any()  # type: ignore[union-attr]


def test_regions_by_landmarks_and_person() -> None:
    points = face_mesh()
    points[:, 0] = np.interp(points[:, 0], (points[:, 0].min(), points[:, 0].max()), (80, 220))
    person = np.zeros((320, 320), np.uint8)
    person[40:, 60:240] = 255
    regions = regions_from_landmarks(points, person)
    assert regions.face is not None and regions.face[0] == pytest.approx(80) and regions.face[2] == pytest.approx(220)
    chin = round(points[152, 1] + 0.1 * (regions.face[3] - regions.face[1]))
    assert regions.torso is not None and not regions.torso[:chin].any() and regions.torso[chin + 5, 150]
    assert regions.background is not None and regions.background[100, 10] and not regions.background[100, 100]
    nobody = regions_from_landmarks(points * np.nan, person)
    assert nobody.face is None and nobody.torso is None and nobody.background is not None


def test_the_mouth_box_is_one_by_parsing_and_by_landmarks() -> None:
    """Lips of 20 by 10 pixels: both boxes are wider by 0.4 of 20 on every side."""
    ids = np.zeros((100, 100), np.uint8)
    ids[45:55, 40:60] = CLASS_ID["lips"]
    by_parsing = mouth_box_from_parsing(ids)
    points = np.full((478, 2), 50.0)
    points[61], points[291], points[0], points[17] = (40, 50), (60, 50), (50, 45), (50, 55)
    by_landmarks = mouth_box_from_landmarks(points)
    assert by_landmarks == pytest.approx((32, 37, 68, 63))
    assert by_parsing == pytest.approx(by_landmarks, abs=1)
    assert MOUTH_MARGIN * 20 == 8
    assert (
        mouth_box_from_parsing(np.zeros((9, 9), np.uint8)) is None and mouth_box_from_landmarks(points * np.nan) is None
    )


def test_masks_of_boxes() -> None:
    assert np.argwhere(box_mask((1, 2, 3, 3), 5, 6)).tolist() == [[2, 1], [2, 2]]
    assert not box_mask(None, 5, 6).any() and not box_mask((8, 8, 9, 9), 5, 6).any()
