"""Faces of FaceMesh points whose outlines are ellipses."""

from __future__ import annotations

import numpy as np

from nerfstudio_talking.face import landmark_sets as sets


def ellipse(centre, radii, count, start=-np.pi / 2):
    """Points on an ellipse, clockwise in the image."""
    angle = start + np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([centre[0] + radii[0] * np.cos(angle), centre[1] + radii[1] * np.sin(angle)], axis=1)


def draw_landmarks_478(shift):
    """FaceMesh points of a face in an image of 192 pixels, moved by `shift` pixels."""
    x, y = 96 + shift[0], 82 + shift[1]
    points = np.tile(np.array([[x, y]], dtype=np.float32), (478, 1))
    points[list(sets.FACE_OVAL)] = ellipse((x, y), (34, 44), 36)
    points[list(sets.OUTER_LIP_OUTLINE)] = ellipse((x, y + 24), (13, 6), 20, np.pi)[::-1]
    points[list(sets.INNER_LIP_OUTLINE)] = ellipse((x, y + 24), (9, 2.5), 20, np.pi)[::-1]
    points[list(sets.RIGHT_EYE_OUTLINE)] = ellipse((x - 14, y - 10), (6, 3), 16, np.pi)[::-1]
    points[list(sets.LEFT_EYE_OUTLINE)] = ellipse((x + 14, y - 10), (6, 3), 16, 0)
    points[list(sets.RIGHT_BROW_OUTLINE)] = ellipse((x - 14, y - 18), (8, 2), 10)
    points[list(sets.LEFT_BROW_OUTLINE)] = ellipse((x + 14, y - 18), (8, 2), 10)
    points[list(sets.NOSE_OUTLINE)] = ellipse((x, y + 3), (5, 12), len(sets.NOSE_OUTLINE))
    points[sets.NOSE_BRIDGE] = (x, y - 9)
    return points
