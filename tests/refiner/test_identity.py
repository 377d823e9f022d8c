"""Alignment of faces, the trained encoder, and ArcFace by path."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.refiner.identity import (
    CROP,
    align_face,
    align_faces,
    encode_faces,
    encode_with_arcface,
    train_identity_encoder,
)


def test_alignment_puts_the_face_where_arcface_expects_it():
    rng = np.random.default_rng(0)
    points = rng.uniform(60, 70, (68, 2))
    for group, place in (((36, 39), (60, 60)), ((42, 45), (100, 60)), ((30,), (80, 83)), ((48,), (64, 107)),
                         ((54,), (97, 107))):  # fmt: skip
        points[list(group)] = place
    image = np.zeros((160, 160, 3), np.uint8)
    image[57:63, 57:63] = (255, 0, 0)
    face = align_face(image, points)
    assert face.shape == (CROP, CROP, 3)
    rows, columns = np.nonzero(face[..., 0] > 128)
    assert abs(columns.mean() - 38.3) < 2.5
    assert abs(rows.mean() - 51.7) < 2.5
    np.testing.assert_array_equal(align_faces([image, image], np.stack([points, points])), [face, face])
    with pytest.raises(ValueError, match="478 or 68"):
        align_face(image, points[:5])


def test_the_encoder_tells_people_apart_and_does_not_see_the_mouth():
    rng = np.random.default_rng(0)
    people = rng.integers(0, 255, (2, 1, 7, 7, 3)).repeat(16, 2).repeat(16, 3)
    noisy = people + rng.normal(0, 12, (2, 12, CROP, CROP, 3))
    faces = np.clip(noisy, 0, 255).astype(np.uint8).reshape(24, CROP, CROP, 3)
    sequences, seconds = np.repeat([0, 1], 12), np.tile(np.arange(12) / 25, 2)
    encoder = train_identity_encoder(faces, sequences, seconds, dim=8, steps=25)
    features = encode_faces(encoder, faces)
    likeness = features @ features.T
    same = sequences[:, None] == sequences[None]
    assert likeness[same].min() > likeness[~same].max()
    speaking = faces.copy()
    speaking[:, 80:] = 0
    assert torch.equal(encode_faces(encoder, speaking), features)


def test_encoder_training_is_repeatable_and_leaves_the_random_state():
    faces = np.random.default_rng(0).integers(0, 256, (4, CROP, CROP, 3), dtype=np.uint8)
    state = torch.get_rng_state()
    first, again = (
        train_identity_encoder(faces, np.zeros(4, int), np.arange(4) / 25, dim=8, steps=2) for _ in range(2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters()))


def test_arcface_from_torchscript(tmp_path):
    network = nn.Sequential(nn.AvgPool2d(56), nn.Flatten(), nn.Linear(12, 5)).eval()
    path = tmp_path / "arcface.pt"
    torch.jit.trace(network, torch.zeros(1, 3, CROP, CROP)).save(str(path))
    faces = np.random.default_rng(0).integers(0, 256, (3, CROP, CROP, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = F.normalize(network(torch.from_numpy(faces).permute(0, 3, 1, 2) / 127.5 - 1), dim=1)
    torch.testing.assert_close(encode_with_arcface(path, faces), expected)


@pytest.mark.parametrize(("name", "content"), [("no.onnx", None), ("bad.onnx", b"x"), ("bad.pt", b"x")])
def test_bad_arcface_weights_are_refused(tmp_path, name, content):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TalkingError, match=name):
        encode_with_arcface(path, np.zeros((1, CROP, CROP, 3), np.uint8))
