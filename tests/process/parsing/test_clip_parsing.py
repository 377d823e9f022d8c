"""Parsing of a drawn person whose every pixel's class is known, and of a real clip."""

import cv2
import numpy as np
import pytest
from helpers.faces import draw_landmarks_478, ellipse
from helpers.paths import needs_clips, shared_file

from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID, PARSING_CLASSES
from nerfstudio_talking.face.landmark_sets import FACE_OVAL
from nerfstudio_talking.face.outlines import fill_polygon
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.process.parsing.clip_parsing import parse_clip
from nerfstudio_talking.process.parsing.face_features import paint_features

SIZE, FRAMES = 192, 12
COLOURS = {
    "background": (90, 130, 100),
    "skin": (205, 160, 135),
    "ears": (205, 160, 135),
    "neck": (165, 122, 100),
    "hair": (52, 40, 34),
    "cloth": (45, 60, 120),
    "brows": (70, 50, 40),
    "eyes": (235, 235, 235),
    "nose": (200, 150, 125),
    "lips": (170, 70, 75),
    "inner_mouth": (70, 20, 25),
}


def draw_person(shift, rng):
    """Image, class ids and landmarks of a person whose head is moved by `shift` pixels and whose body stays."""
    points = draw_landmarks_478(shift)
    x, y = 96 + shift[0], 82 + shift[1]
    ids = np.zeros((SIZE, SIZE), dtype=np.uint8)

    def draw(name, outline):
        fill_polygon(ids, np.asarray(outline, dtype=np.float32), CLASS_ID[name])

    draw("cloth", [(20, 192), (45, 150), (147, 150), (172, 192)])
    draw("neck", [(76, 110), (116, 110), (116, 150), (96, 165), (76, 150)])
    draw("ears", ellipse((x - 35, y + 1), (6, 11), 24))
    draw("ears", ellipse((x + 35, y + 1), (6, 11), 24))
    draw("hair", ellipse((x, y - 22), (39, 38), 40))
    draw("skin", points[list(FACE_OVAL)])
    # the hairline lies a little above the oval
    draw("skin", [(x - 15, y - 30), (x - 12, y - 49), (x + 12, y - 49), (x + 15, y - 30)])
    paint_features(ids, points)
    table = np.array([COLOURS[name] for name in PARSING_CLASSES], dtype=np.float32)
    image = table[ids]
    rows, columns = np.mgrid[:SIZE, :SIZE]
    image[ids == 0] += (30 * np.sin(columns / 9) + 20 * np.cos(rows / 13))[ids == 0, None]
    image = cv2.GaussianBlur(image, (0, 0), 0.6) + rng.normal(0, 3, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), ids, points


def coarse_mask(ids, rng):
    """A person mask such as a small network gives: soft, and off by a pixel or two."""
    mask = cv2.resize((ids > 0).astype(np.float32), (SIZE // 4, SIZE // 4), interpolation=cv2.INTER_AREA)
    mask = cv2.resize(mask, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    mask = cv2.GaussianBlur(np.roll(mask, rng.integers(-1, 2, size=2), axis=(0, 1)), (0, 0), 1.5)
    return np.clip(255 * mask, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    shifts = [(6 * np.sin(i / 2), 2 * np.cos(i / 3)) for i in range(FRAMES)]
    scene = [draw_person(shift, rng) for shift in shifts]
    frames, gt, points = (np.stack(part) for part in zip(*scene))
    masks = np.stack([coarse_mask(ids, rng) for ids in gt])
    return frames, gt, points, masks


@pytest.fixture(scope="module")
def parsed(drawn):
    frames, _, points, masks = drawn
    return np.stack(list(parse_clip(lambda: iter(frames), points, masks)))


def overlap(a, b):
    """Intersection over union."""
    return (a & b).sum() / max((a | b).sum(), 1)


def test_every_class_is_found(drawn, parsed):
    gt = drawn[1]
    assert (parsed == gt).mean() > 0.985
    least = {"background": 0.98, "skin": 0.95, "hair": 0.9, "neck": 0.85, "cloth": 0.95, "ears": 0.75}
    for name in PARSING_CLASSES:
        assert overlap(parsed == CLASS_ID[name], gt == CLASS_ID[name]) > least.get(name, 0.99), name


def test_the_outline_is_better_than_the_mask(drawn, parsed):
    _, gt, _, masks = drawn
    assert ((parsed > 0) != (gt > 0)).sum() < 0.6 * ((masks > 127) != (gt > 0)).sum()


def test_a_still_image_does_not_flicker(drawn):
    frames, _, points, masks = drawn
    rng = np.random.default_rng(1)
    still = np.clip(frames[:1] + rng.normal(0, 2, (8, *frames.shape[1:])), 0, 255).astype(np.uint8)
    maps = np.stack(list(parse_clip(lambda: iter(still), np.repeat(points[:1], 8, 0), np.repeat(masks[:1], 8, 0))))
    assert (maps[1:] != maps[:-1]).mean() < 0.002


def test_frames_larger_than_the_working_size(drawn):
    frames, gt, points, masks = drawn
    large = [cv2.resize(frame, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC) for frame in frames[:4]]
    large_masks = np.stack([cv2.resize(mask, None, fx=3, fy=3) for mask in masks[:4]])
    maps = list(parse_clip(lambda: iter(large), points[:4] * 3, large_masks))
    assert maps[0].shape == (3 * SIZE, 3 * SIZE)
    assert (maps[3] == np.kron(gt[3], np.ones((3, 3), np.uint8))).mean() > 0.98


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_input_is_reported(drawn):
    frames, _, points, masks = drawn
    with pytest.raises(TalkingError, match="one per frame"):
        next(parse_clip(lambda: iter(frames), points, masks[:3]))
    broken = points.copy()
    broken[2, 5] = np.nan
    with pytest.raises(TalkingError, match="finite"):
        next(parse_clip(lambda: iter(frames), broken, masks))
    with pytest.raises(TalkingError, match="person masks"):
        next(parse_clip(lambda: iter(frames), points, masks[:, :100]))
    with pytest.raises(TalkingError, match="frames"):
        list(parse_clip(lambda: iter(frames[:5]), points, masks))
    with pytest.raises(TalkingError, match="found none"):
        next(parse_clip(lambda: iter([]), points, masks))


@pytest.mark.slow
@needs_clips("clips/obama.mp4")
def test_a_real_clip():
    from nerfstudio_talking.face.tracking import person_masks, track_faces
    from nerfstudio_talking.media.reading import read_frames

    clip = shared_file("clips/obama.mp4")
    frames = [cv2.resize(f, (256, 256), interpolation=cv2.INTER_AREA) for f in read_frames(clip, 25.0, 0, 24)]
    points = track_faces(frames).landmarks[..., :2]
    maps = np.stack(list(parse_clip(lambda: iter(frames), points, np.stack(list(person_masks(frames))))))
    assert set(np.unique(maps)) == set(range(len(PARSING_CLASSES)))
    share = np.bincount(maps.ravel(), minlength=len(PARSING_CLASSES)) / maps.size
    for name, low, high in (("hair", 0.03, 0.12), ("neck", 0.01, 0.08), ("cloth", 0.1, 0.3), ("ears", 0.008, 0.04)):
        assert low < share[CLASS_ID[name]] < high, (name, share[CLASS_ID[name]])
    shirt, lapel, wall, crown = maps[:, 225, 105], maps[:, 230, 40], maps[:, 20, 20], maps[:, 35, 135]
    for column, name in ((shirt, "cloth"), (lapel, "cloth"), (wall, "background"), (crown, "hair")):
        assert (column == CLASS_ID[name]).all(), name
