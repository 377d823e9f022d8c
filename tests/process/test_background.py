"""The clean background of a scene whose background is known."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.process.background import clean_background

SIZE = 96


def wall():
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return np.stack([60 + columns, 200 - rows, 90 + 20 * np.sin(columns / 7)], axis=2)


def scene(count, travel, noise=2.0):
    """A black disc that sways in front of the wall; its hair, one pixel wide, is missing from the maps."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    frames, maps, hidden = [], [], np.ones((SIZE, SIZE), dtype=bool)
    for index in range(count):
        radius = np.hypot(columns - 48 - travel * np.sin(index / 4), rows - 60)
        frame = wall() + rng.normal(0, noise, (SIZE, SIZE, 3))
        frame[radius < 19] = 0
        frames.append(np.clip(np.rint(frame), 0, 255).astype(np.uint8))
        maps.append(np.where(radius < 18, CLASS_ID["hair"], 0).astype(np.uint8))
        hidden &= radius < 19
    return frames, maps, hidden


def test_what_was_seen_is_recovered():
    frames, maps, hidden = scene(200, travel=30)
    assert not hidden.any()
    found = clean_background(lambda: iter(frames), lambda: iter(maps)).astype(float)
    error = np.abs(found - wall())
    assert error.mean() < 0.6
    assert error.max() <= 4  # the median of 24 samples of noise 2 has a deviation of 0.5


def test_what_was_never_seen_is_filled_from_the_wall_not_from_the_person():
    frames, maps, hidden = scene(60, travel=8)
    assert hidden.sum() > 300
    found = clean_background(lambda: iter(frames), lambda: iter(maps)).astype(float)
    near = binary_dilation(hidden, iterations=4)
    assert np.abs(found - wall())[~near].max() <= 5
    assert np.abs(found - wall())[near].mean() < 8
    assert found[near].min() > 40  # the disc is black


def test_memory_does_not_grow_with_the_clip():
    """Far more frames than slots, one after the other: the answer is still the median over all of them."""
    values = np.repeat(np.random.default_rng(0).permutation(np.arange(50, 150)), 5)
    frames = (np.full((4, 4, 3), value, dtype=np.uint8) for value in values)
    found = clean_background(lambda: frames, lambda: (np.zeros((4, 4), dtype=np.uint8) for _ in values))
    assert abs(float(found.mean()) - 99.5) < 8


def test_a_person_who_fills_the_image_leaves_no_background():
    frame, ids = np.full((16, 16, 3), 200, dtype=np.uint8), np.full((16, 16), 1, dtype=np.uint8)
    assert (clean_background(lambda: iter([frame]), lambda: iter([ids])) == 0).all()


def test_bad_input_is_reported():
    frame = np.zeros((16, 16, 3), dtype=np.uint8)
    with pytest.raises(TalkingError, match="parsing map 0"):
        clean_background(lambda: iter([frame]), lambda: iter([np.zeros((8, 8), dtype=np.uint8)]))
    with pytest.raises(TalkingError, match="at least one frame"):
        clean_background(lambda: iter([]), lambda: iter([]))
