"""Indices of the FaceMesh (468 or 478 points) and 68-point landmark sets."""

from __future__ import annotations

OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
"""FaceMesh points of the outer lip line, a closed outline."""


INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
"""FaceMesh points of the inner lip line, a closed outline."""


LIPS_478 = OUTER_LIPS + INNER_LIPS


CHIN_478 = (152, 148, 377, 176, 400, 18, 200, 199, 175)


MOUTH_68 = (*range(48, 68), *range(6, 11))


def mouth_points(num_points: int) -> tuple[int, ...]:
    """Landmarks of the mouth and chin in a set of 478 (FaceMesh) or 68 points.

    Raises:
        ValueError: for another set.
    """
    if num_points in (468, 478):
        return LIPS_478 + CHIN_478
    if num_points == 68:
        return MOUTH_68
    raise ValueError(f"landmarks come as 478 or 68 points, not {num_points}")
