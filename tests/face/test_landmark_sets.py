"""The table of landmarks against MediaPipe's own connections and by its symmetry."""

import numpy as np
import pytest
from mediapipe.python.solutions import face_mesh_connections as mediapipe_sets

from nerfstudio_talking.face import landmark_sets as sets
from nerfstudio_talking.face.linear_face_model import canonical_face


def points_of(connections):
    return {point for pair in connections for point in pair}


def test_outlines_are_mediapipes():
    assert set(sets.FACE_OVAL) == points_of(mediapipe_sets.FACEMESH_FACE_OVAL)
    assert set(sets.LIP_POINTS) == points_of(mediapipe_sets.FACEMESH_LIPS)
    assert set(sets.RIGHT_EYE_OUTLINE) == points_of(mediapipe_sets.FACEMESH_RIGHT_EYE)
    assert set(sets.LEFT_EYE_OUTLINE) == points_of(mediapipe_sets.FACEMESH_LEFT_EYE)
    assert set(sets.RIGHT_BROW_OUTLINE) == points_of(mediapipe_sets.FACEMESH_RIGHT_EYEBROW)
    assert set(sets.LEFT_BROW_OUTLINE) == points_of(mediapipe_sets.FACEMESH_LEFT_EYEBROW)


@pytest.mark.parametrize("name", ["FACE_OVAL", "OUTER_LIP_OUTLINE", "INNER_LIP_OUTLINE"])
def test_outlines_run_along_mediapipes_lines(name):
    outline = getattr(sets, name)
    lines = {frozenset(pair) for pair in (*mediapipe_sets.FACEMESH_FACE_OVAL, *mediapipe_sets.FACEMESH_LIPS)}
    steps = [frozenset(step) for step in zip(outline, (*outline[1:], outline[0]))]
    assert all(step in lines for step in steps)


def test_pairs_are_mirrored_on_the_canonical_face():
    """The right partner lies left in the image (x < 0), its left partner at the same height."""
    points, _ = canonical_face()
    pairs = (
        *sets.MIRROR_PAIRS, sets.OUTER_EYE_CORNERS, sets.INNER_EYE_CORNERS, sets.MOUTH_CORNERS, sets.NOSE_WINGS,
        sets.INNER_BROW_ENDS, sets.OUTER_BROW_ENDS,
    )  # fmt: skip
    for right, left in pairs:
        assert points[right, 0] < 0 < points[left, 0]
        assert abs(points[right, 1] - points[left, 1]) < 0.012


def test_upper_points_lie_above_lower_ones():
    points, _ = canonical_face()
    for upper, lower in (*sets.INNER_LIP_PAIRS, *sets.LID_PAIRS[0], *sets.LID_PAIRS[1]):
        assert points[upper, 1] > points[lower, 1]
    assert set(np.ravel(sets.INNER_LIP_PAIRS)) <= set(sets.INNER_LIP_OUTLINE)
    assert set(np.ravel(sets.LID_PAIRS[0])) <= set(sets.RIGHT_EYE_OUTLINE)
    assert set(np.ravel(sets.LID_PAIRS[1])) <= set(sets.LEFT_EYE_OUTLINE)


def test_points_that_count_as_rigid_or_aligned_leave_mouth_chin_and_lids_out():
    lids = {point for side in sets.LID_PAIRS for pair in side for point in pair}
    moving = {*sets.LIP_POINTS, *sets.CHIN_POINTS, *lids}
    assert not moving & set(sets.RIGID_POINTS)
    assert not moving & set(sets.ALIGNMENT_POINTS)


def test_mouth_points_of_each_set():
    assert len(set(sets.LIP_POINTS)) == 40
    assert sets.mouth_points(478) == sets.mouth_points(468) == sets.LIP_POINTS + sets.CHIN_POINTS
    assert sets.mouth_points(68)[:20] == tuple(range(48, 68))
    assert len(set(sets.MOUTH_68_TO_MESH)) == 20 and set(sets.MOUTH_68_TO_MESH) <= set(sets.LIP_POINTS)
    with pytest.raises(ValueError, match="not 70"):
        sets.mouth_points(70)
