"""Files of eyes and landmarks as users have them: cut off, with holes, in other encodings."""

from __future__ import annotations

import numpy as np
import pytest

from nerfstudio_talking.dataset_io.ad_nerf_faces import read_eyes, read_landmarks
from nerfstudio_talking.io.errors import TalkingError

IDS = np.arange(6)
HEAD = "frame, timestamp, AU45_r, confidence\n"


def table(*values: str) -> str:
    return HEAD + "\n".join(f"{i + 1}, {i / 25}, {value}, 0.9" for i, value in enumerate(values))


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        (table("0", "0", "2", "2", "0", "0"), [1, 1, 0, 0, 1, 1]),
        (table("0", "", "2", "nan", "0", "0"), [1, 0.5, 0, 0.5, 1, 1]),  # interpolated
        (table("0", "0", "2", "2", "0", "0") + "\n7, 0.2", [1, 1, 0, 0, 1, 1]),  # cut off within a row
        (table("0", "0", "2", "2"), [1, 1, 0, 0, 0, 0]),  # held at the end
        ("﻿" + table("0", "0", "2", "2", "0", "0"), [1, 1, 0, 0, 1, 1]),
    ],
)
def test_tables_with_holes(tmp_path, text, opening):
    (tmp_path / "au.csv").write_text(text, encoding="utf-8")
    np.testing.assert_allclose(read_eyes(tmp_path, IDS)[:, 0], opening)


def test_other_encodings(tmp_path):
    (tmp_path / "au.csv").write_bytes((table("0", "2") + "\n# José, ").encode("latin-1"))
    np.testing.assert_allclose(read_eyes(tmp_path, IDS[:2])[:, 0], [1, 0])


@pytest.mark.parametrize("ends", ["\r", "\r\n"])
def test_line_ends_of_other_systems(tmp_path, ends):
    text = table("0", "0", "2", "2", "0", "0").replace("\n", ends)
    (tmp_path / "au.csv").write_bytes(text.encode())
    np.testing.assert_allclose(read_eyes(tmp_path, IDS)[:, 0], [1, 1, 0, 0, 1, 1])


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEAD,
        "a;b\n1;2",
        table("", "", "1", ""),
        table("x", "y", "z"),
        HEAD + "one, 0, 1, 1\ntwo, 0, 1, 1",
        HEAD + "1" * 200_000,
    ],
)
def test_tables_that_hold_nothing(tmp_path, text):
    (tmp_path / "au.csv").write_text(text)
    with pytest.raises(TalkingError, match=r"au\.csv"):
        read_eyes(tmp_path, IDS)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((6, 53)),
        np.zeros((6, 4)),
        np.zeros(6),
        np.zeros((0, 52)),
        np.array([["a"] * 52]),
        np.full((6, 52), np.nan),
    ],
)
def test_blendshapes_of_other_sizes(tmp_path, array):
    np.save(tmp_path / "bs.npy", array)
    with pytest.raises(TalkingError, match=r"bs\.npy: expected an array \(frames, 52\)"):
        read_eyes(tmp_path, IDS)


def test_blendshapes(tmp_path):
    shapes = np.zeros((5, 52))
    shapes[2, 8:10] = 1, 0.5
    np.save(tmp_path / "bs.npy", shapes)
    np.testing.assert_allclose(read_eyes(tmp_path, IDS)[:, 0], [1, 1, 0.25, 1, 1, 1])
    (tmp_path / "bs.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(TalkingError, match=r"bs\.npy"):
        read_eyes(tmp_path, IDS)
    (tmp_path / "bs.npy").unlink()
    np.testing.assert_array_equal(read_eyes(tmp_path, IDS), 1)


@pytest.mark.parametrize("text", [b"face 1\n", b"1 2\n3\n", b"", b"\xff\xfe\x00", b"1 2\n" * 67, b"nan nan\n" * 68])
def test_landmarks_that_are_none(tmp_path, text):
    (tmp_path / "ori_imgs").mkdir()
    for i in IDS:
        (tmp_path / f"ori_imgs/{i}.lms").write_bytes(text if i == 3 else b"1 2\n" * 68)
    with pytest.raises(TalkingError, match=r"3\.lms: expected 68 rows"):
        read_landmarks(tmp_path, IDS)
