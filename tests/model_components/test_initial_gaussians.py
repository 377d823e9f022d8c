"""Where the Gaussians of a portrait begin."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nerfstudio_talking.dataset_io.parsing_labels import HEAD_CLASSES, TORSO_CLASSES, class_mask
from nerfstudio_talking.dataset_io.sequence import load_parsing, load_sequence
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.model_components.initial_gaussians import (
    _spread,
    detail_weights,
    initial_portrait,
    motion_of_points,
)


def test_motion_is_the_least_squares_slope():
    generator = np.random.default_rng(0)
    eyes, audio = generator.normal(size=(200, 2)), generator.normal(size=(200, 3))
    slopes = generator.normal(size=(5, 4, 3))
    shapes = np.einsum("fk,kpx->fpx", np.concatenate([eyes, audio], 1), slopes) + generator.normal(size=(4, 3))
    shapes[17] = np.nan
    found = motion_of_points(shapes, {"eyes": eyes, "audio": audio})
    assert np.allclose(found["eyes"], slopes[:2], rtol=0.01, atol=0.01)
    assert np.allclose(found["audio"], slopes[2:], rtol=0.01, atol=0.01)


def test_positions_are_spread_by_weight():
    weights = np.zeros((10, 20))
    weights[2, :10], weights[7, 10:] = 1.0, 3.0
    pixels, (rows, columns) = _spread(weights, 400, np.random.default_rng(0))
    assert (rows == 2).sum() == 100
    assert (rows == 7).sum() == 300
    counts = np.bincount(columns, minlength=20)
    assert np.all(np.abs(counts[:10] - 10) <= 1)
    assert np.all(np.abs(counts[10:] - 30) <= 1)
    assert np.all((pixels >= np.stack([columns, rows], 1)) & (pixels <= np.stack([columns, rows], 1) + 1))


def test_more_positions_where_the_image_has_detail():
    image = np.full((40, 40, 3), 90, np.uint8)
    image[:, 20:] += (np.indices((40, 20))[1] // 2 % 2 * 60).astype(np.uint8)[..., None]
    weights = detail_weights(image, np.ones((40, 40), bool))
    assert weights.mean() == pytest.approx(1, rel=0.02)
    assert weights[20, 32] > 2 * weights[20, 5] > 0
    assert detail_weights(np.zeros_like(image), np.ones((40, 40), bool)) == pytest.approx(np.ones((40, 40)))


def test_a_portrait_begins_on_the_person(talking_dataset):
    sequence = load_sequence(talking_dataset)
    track = sequence.track
    distance = float(np.median(np.linalg.norm(track.camera_to_worlds[:, :, 3], axis=1)))
    conditions = {"eyes": track.eyes.astype(np.float64)}
    head, mouth, torso = initial_portrait(sequence, conditions, (500, 20, 300), distance, 0)
    assert [len(part.means) for part in (head, mouth, torso)] == [500, 20, 300]
    frame = int(np.argmin(np.abs(track.camera_to_worlds[:, :, 3] - track.camera_to_worlds[:, :, 3].mean(0)).sum(1)))
    pixels = track.camera.project(head.means, track.camera_to_worlds[[frame]].astype(np.float64))[0]
    inside = class_mask(load_parsing(sequence, frame), HEAD_CLASSES)
    column, row = np.clip(pixels.astype(int), 0, np.array(track.camera.size) - 1).T
    assert inside[row, column].mean() > 0.8
    assert np.linalg.norm(head.means, axis=1).max() < 0.4
    local = -torso.means / torso.means[:, 2:]
    assert np.all(torso.means[:, 2] < -distance)
    seen = np.stack([local[:, 0], -local[:, 1]], 1) * track.camera.focal + np.array(track.camera.size) / 2
    column, row = np.clip(seen.astype(int), 0, np.array(track.camera.size) - 1).T
    assert class_mask(load_parsing(sequence, frame), TORSO_CLASSES)[row, column].mean() > 0.5
    for part in (head, mouth, torso):
        assert np.all((part.colors >= 0) & (part.colors <= 1))
        assert np.all((part.radii > 0) & (part.radii < 0.02))


def test_a_dataset_without_parsing_is_refused(talking_dataset):
    sequence = dataclasses.replace(load_sequence(talking_dataset), parsing_paths=None)
    with pytest.raises(TalkingError, match="parsing maps"):
        initial_portrait(sequence, {}, (10, 2, 5), 0.9, 0)
