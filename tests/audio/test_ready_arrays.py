"""Ready arrays in all the layouts that the family's scripts write, and in some that they do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nerfstudio_talking.audio.extract import extract_features
from nerfstudio_talking.audio.ready_arrays import read_feature_array
from nerfstudio_talking.io.errors import TalkingError

N = 120


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("exact", [True, False])
def test_hidden_states_at_50_a_second(tmp_path, exact):
    rows = random(2 * N, 1024)
    for array in (rows, rows.T):
        windows, kind, note = read_feature_array(saved(tmp_path / "aud_hu.npy", array), N, exact=exact)
        assert kind == "hubert-array" and note is not None and "50 a second" in note
        np.testing.assert_array_equal(windows, rows.reshape(N, 2, 1024))  # ER-NeRF's own


@pytest.mark.parametrize("channels", [29, 44])
def test_raw_logits_become_windows_as_the_family_cuts_them(tmp_path, channels):
    logits = random(2 * N, channels)
    windows, kind, _ = read_feature_array(saved(tmp_path / "aud.npy", logits), N)
    padded = np.pad(logits, ((8, 8), (0, 0)))  # AD-NeRF: eight rows of zeros on both sides, a stride of two
    expected = np.stack([padded[2 * frame : 2 * frame + 16] for frame in range(N)])
    np.testing.assert_array_equal(windows, expected)
    assert kind == {29: "deepspeech", 44: "esperanto"}[channels]


@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 2, 1), (1, 2, 0), (2, 1, 0), (1, 0, 2), (2, 0, 1)])
def test_axes_in_any_order(tmp_path, axes):
    array = random(N, 16, 29)
    windows, kind, note = read_feature_array(saved(tmp_path / "aud.npy", array.transpose(axes)), N)
    np.testing.assert_array_equal(windows, array)
    assert kind == "deepspeech" and (note is None) == (axes in ((0, 1, 2), (0, 2, 1)))


def test_windows_at_50_a_second_and_other_frame_rates(tmp_path):
    array = random(2 * N, 16, 29)
    windows, _, note = read_feature_array(saved(tmp_path / "aud.npy", array), N)
    np.testing.assert_array_equal(windows, array[::2])
    assert note is not None and "50 a second" in note
    rows = random(200, 1024)  # four seconds at 30 frames per second
    windows, _, _ = read_feature_array(saved(tmp_path / "hu.npy", rows), 120, fps=30.0)
    np.testing.assert_array_equal(windows[3], rows[[5, 6]])


@pytest.mark.parametrize("shape", [(N, 512), (N, 1, 512)])
def test_one_vector_per_frame(tmp_path, shape):
    array = random(*shape)
    windows, kind, note = read_feature_array(saved(tmp_path / "aud_ave.npy", array), N)
    assert kind == "ave" and note is None
    np.testing.assert_array_equal(windows[:, 0], array.reshape(N, 512))


@pytest.mark.parametrize(
    ("shape", "exact"),
    [
        ((3 * N, 16, 29), False),
        ((N // 2, 16, 29), False),
        ((N - 10, 16, 29), False),
        ((N + 3, 16, 29), True),
        ((4 * N, 1024), False),
        ((N // 2, 2, 1024), True),
        ((3 * N, 29), True),
        ((29, 29), True),
    ],
)
def test_other_lengths_are_refused_with_the_shapes_that_would_fit(tmp_path, shape, exact):
    with pytest.raises(
        TalkingError, match=rf"\({N}, 16, 29\) deepspeech.*\({2 * N}, 29 or 44 or 1024\); found \({shape[0]},"
    ):
        read_feature_array(saved(tmp_path / "aud.npy", random(*shape)), N, exact=exact)


def test_what_fits_twice_is_refused(tmp_path):
    with pytest.raises(TalkingError, match="may be"):
        read_feature_array(saved(tmp_path / "aud.npy", random(16, 29, 16)), 16)


def test_a_part_of_a_clip_takes_the_rows_of_the_whole(tmp_path):
    array = random(140, 16, 29)
    windows, _, note = read_feature_array(saved(tmp_path / "aud.npy", array), N, exact=False)
    np.testing.assert_array_equal(windows, array[:N])
    assert note is None
    windows, _, note = read_feature_array(saved(tmp_path / "aud.npy", array[: N - 3]), N, exact=False)
    assert note is not None and "3 rows fewer" in note and (windows[N - 3 :] == array[N - 4]).all()


def test_ready_arrays_of_another_length(tmp_path: Path) -> None:
    path = tmp_path / "aud.npy"
    array = np.arange(20 * 16 * 29, dtype=np.float32).reshape(20, 16, 29)
    np.save(path, array)
    features, _, note = read_feature_array(path, 22)
    assert note is not None and "2 rows fewer" in note
    np.testing.assert_array_equal(features[20], array[19])
    np.testing.assert_array_equal(features[21], array[19])
    features, _, note = read_feature_array(path, 19)
    assert note is not None and "1 rows more" in note and len(features) == 19
    assert read_feature_array(path, 20)[2] is None
    with pytest.raises(TalkingError, match=r"\(23, 16, 29\) deepspeech.*found \(20, 16, 29\)"):
        read_feature_array(path, 23)
    with pytest.warns(UserWarning, match="repeated"):
        extract_features(np.zeros(1), 25, 21, str(path))


def test_arrays_that_are_none(tmp_path: Path) -> None:
    text, words, flat, holes = (tmp_path / f"{name}.npy" for name in ("text", "words", "flat", "holes"))
    text.write_text("no array")
    np.save(words, np.array(["a", "b"]))
    np.save(flat, np.zeros(5))
    np.save(holes, np.full((5, 16, 29), np.nan))
    for path in (tmp_path / "none.npy", text, words, flat, holes):
        with pytest.raises(TalkingError, match=path.name):
            read_feature_array(path, 5)
