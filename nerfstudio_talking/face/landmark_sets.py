"""The one table of landmark indices: FaceMesh (468 points, 478 with irises) and their 68-point counterparts.

Right and left are the person's. Where both sides are listed, the right one comes first. Outlines are closed: the last
point joins the first.
"""

from __future__ import annotations

NUM_MESH_POINTS = 468
"""Points of the FaceMesh surface."""
NUM_LANDMARKS = 478
"""FaceMesh points with irises: points 468 to 477 are the irises and belong to no triangle."""

# Single points.
FOREHEAD_TOP, CHIN_TIP = 10, 152
NOSE_BRIDGE, NOSE_BASE, UPPER_LIP_TOP, LOWER_LIP_BOTTOM = 168, 2, 0, 17

# Pairs of points: right, left.
OUTER_EYE_CORNERS = (33, 263)
INNER_EYE_CORNERS = (133, 362)
MOUTH_CORNERS = (61, 291)
NOSE_WINGS = (48, 278)
INNER_BROW_ENDS, OUTER_BROW_ENDS = (107, 336), (70, 300)

# Pairs of points: upper, lower.
INNER_LIP_PAIRS = ((82, 87), (13, 14), (312, 317))
"""Partners on the inner lip outline, about the middle of the mouth, whose distance measures how far it is open."""
MIDDLE_LIP_PAIR = INNER_LIP_PAIRS[1]
LID_PAIRS = (((160, 144), (159, 145), (158, 153)), ((387, 373), (386, 374), (385, 380)))
"""Partners on the lids, about the middle of each eye: the right eye, then the left."""

# Outlines.
OUTER_LIP_OUTLINE = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
INNER_LIP_CORNERS = (78, 308)
INNER_LIP_OUTLINE = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
RIGHT_EYE_OUTLINE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE_OUTLINE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_BROW_OUTLINE = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW_OUTLINE = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
NOSE_OUTLINE = (
    *(168, 193, 245, 188, 174, 217, 126, 209, 129, 64, 98, 97),
    *(2, 326, 327, 294, 358, 429, 355, 437, 399, 412, 465, 417),
)
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)

# Sets of points.
LIP_POINTS = OUTER_LIP_OUTLINE + INNER_LIP_OUTLINE
CHIN_POINTS = (152, 148, 377, 176, 400, 18, 200, 199, 175)
BROW_POINTS = RIGHT_BROW_OUTLINE + LEFT_BROW_OUTLINE
MIRROR_PAIRS = ((33, 263), (133, 362), (127, 356), (234, 454), (54, 284), (103, 332), (61, 291), (48, 278), (50, 280))
"""Right and left partners spread over the face: their mean direction is the face's horizontal."""
NOSE_FLOOR = (2, 98, 327)
"""The lower edge of the nose, below which the upper lip moves the skin."""
RIGID_POINTS = (6, 168, 8, 9, 151, 10, 33, 133, 263, 362, 127, 356, 234, 454, 1, 4)
"""A few points that mouth, brows and lids do not move: bridge and tip of the nose, forehead, eye corners, temples and
the line before the ears. `head_shape.rigid_points` chooses more of them on a person's own shape."""
ALIGNMENT_POINTS = tuple(
    sorted(
        {
            *FACE_OVAL[:10],
            *FACE_OVAL[26:],
            *NOSE_OUTLINE,
            *OUTER_EYE_CORNERS,
            *INNER_EYE_CORNERS,
            *BROW_POINTS,
            *(1, 4, 5, 6, 195, 197),
        }
    )
)
"""Points by which heads are aligned in the image: all but mouth, chin and lids, which speaking and blinking move."""

# Counterparts among the 68 points of the 300-W annotation.
OUTER_EYE_CORNERS_68 = (36, 45)
MIDDLE_LIP_PAIR_68 = (62, 66)
MOUTH_CORNERS_68, OUTER_LIP_PAIR_68 = (48, 54), (51, 57)
MOUTH_POINTS_68 = (*range(48, 68), *range(6, 11))
"""Lips, then chin."""
MOUTH_68_TO_MESH = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87)
"""FaceMesh counterparts of points 48 to 67 of the 68: outer lips from the right corner over the upper lip,
then the inner lips the same way round."""


def mouth_points(num_points: int) -> tuple[int, ...]:
    """Landmarks of lips and chin in a set of 478 (or 468) FaceMesh points or of 68 points.

    Raises:
        ValueError: for another set.
    """
    if num_points in (NUM_MESH_POINTS, NUM_LANDMARKS):
        return LIP_POINTS + CHIN_POINTS
    if num_points == 68:
        return MOUTH_POINTS_68
    raise ValueError(f"landmarks come as 478 or 68 points, not {num_points}")
