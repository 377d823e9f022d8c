from __future__ import annotations

import numpy as np
import pytest
from helpers.faces import face_mesh

from nerfstudio_talking.face.landmark_sets import RIGID_POINTS
from nerfstudio_talking.metrics.functional import torso_motion


def test_jitter_is_what_the_head_does_not_explain() -> None:
    rng = np.random.default_rng(0)
    head = np.cumsum(rng.standard_normal((400, 6)), axis=0)
    follows = np.einsum("sk,kci->sci", head, rng.standard_normal((6, 8, 2)))
    texture = np.arange(8.0)
    assert torso_motion.torso_jitter(follows, head, texture) == pytest.approx(0, abs=1e-9)
    noise = rng.standard_normal((400, 8, 2))
    noise[:, :4] *= 9  # plain cells, where motion cannot be seen, do not count
    # independent noise of unit variance in x and y: its differences have variance 2 each
    assert torso_motion.torso_jitter(follows + noise, head, texture) == pytest.approx(2.0, rel=0.05)
    assert torso_motion.torso_jitter(follows + 2 * noise, head, texture) == pytest.approx(4.0, rel=0.05)
    assert np.isnan(torso_motion.torso_jitter(follows[:15], head[:15], texture))


def test_cells_have_the_motion_of_what_lies_in_them() -> None:
    flow = np.broadcast_to(np.float32([2, 1]), (128, 128, 2)).copy()
    flow[64:] *= 3
    mask = np.zeros((128, 128), bool)
    mask[32:96, 32:96] = True
    cells = torso_motion.cell_motion(flow, mask).reshape(16, 16, 2)
    assert np.isnan(cells[3]).all() and np.isnan(cells[:, 12]).all()
    np.testing.assert_allclose(cells[4:8, 4:12], np.broadcast_to([2, 1], (4, 8, 2)))
    np.testing.assert_allclose(cells[8:12, 4:12], np.broadcast_to([6, 3], (4, 8, 2)))


def test_texture_is_where_both_directions_change() -> None:
    flat = np.full((64, 64, 3), 90, np.uint8)
    edge, spots = flat.copy(), flat.copy()
    edge[:, 33:] = 200
    spots[::5, ::5] = 200
    assert torso_motion.cell_texture(flat).max() == pytest.approx(0, abs=1e-3)
    assert torso_motion.cell_texture(edge).max() == pytest.approx(0, abs=1e-2)
    assert np.median(torso_motion.cell_texture(spots)) > 10


def test_head_motion_by_hand() -> None:
    before = face_mesh()
    centre = before[list(RIGID_POINTS)].mean(axis=0)
    moved = torso_motion.head_motion(before, (before - centre) * 1.1 + centre + (3, -2))
    np.testing.assert_allclose(moved, (3, -2, 0.1, 0, 0, 0.1), atol=1e-9)
    assert np.isnan(torso_motion.head_motion(before, before * np.nan)).all()
