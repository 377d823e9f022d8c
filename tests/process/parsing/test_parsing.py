"""Parsing on a drawn person whose every pixel's class is known, on a real clip, and maps made elsewhere."""

import cv2
import numpy as np
import pytest
from helpers.paths import needs_clips, real_file
from PIL import Image

from nerfstudio_talking.dataset_io.parsing_labels import AD_NERF_COLOURS, CLASS_ID, PARSING_CLASSES
from nerfstudio_talking.face import outlines
from nerfstudio_talking.face.outlines import align_heads, fill_polygon
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.process.crop import Crop
from nerfstudio_talking.process.parsing.clip_parsing import parse_clip
from nerfstudio_talking.process.parsing.colour_model import colour_cells, log_density
from nerfstudio_talking.process.parsing.folder import parsing_format, read_parsings

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


def ellipse(centre, radii, count, start=-np.pi / 2):
    angle = start + np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([centre[0] + radii[0] * np.cos(angle), centre[1] + radii[1] * np.sin(angle)], axis=1)


def drawn_landmarks(shift):
    """A face of FaceMesh points: its outlines on ellipses, in pixels."""
    x, y = 96 + shift[0], 82 + shift[1]
    points = np.tile(np.array([[x, y]], dtype=np.float32), (478, 1))
    points[list(outlines.FACE_OVAL)] = ellipse((x, y), (34, 44), 36)
    points[list(outlines.OUTER_LIPS)] = ellipse((x, y + 24), (13, 6), 20, np.pi)[::-1]
    points[list(outlines.INNER_LIPS)] = ellipse((x, y + 24), (9, 2.5), 20, np.pi)[::-1]
    points[list(outlines.RIGHT_EYE)] = ellipse((x - 14, y - 10), (6, 3), 16, np.pi)[::-1]
    points[list(outlines.LEFT_EYE)] = ellipse((x + 14, y - 10), (6, 3), 16, 0)
    points[list(outlines.RIGHT_BROW)] = ellipse((x - 14, y - 18), (8, 2), 10)
    points[list(outlines.LEFT_BROW)] = ellipse((x + 14, y - 18), (8, 2), 10)
    points[list(outlines.NOSE)] = ellipse((x, y + 3), (5, 12), len(outlines.NOSE))
    points[outlines.NOSE_BRIDGE] = (x, y - 9)
    return points


def drawn_frame(shift, rng):
    """Image, class ids and landmarks of a person whose head is moved by `shift` pixels and whose body stays."""
    points = drawn_landmarks(shift)
    x, y = 96 + shift[0], 82 + shift[1]
    ids = np.zeros((SIZE, SIZE), dtype=np.uint8)

    def draw(name, outline):
        fill_polygon(ids, np.asarray(outline, dtype=np.float32), CLASS_ID[name])

    draw("cloth", [(20, 192), (45, 150), (147, 150), (172, 192)])
    draw("neck", [(76, 110), (116, 110), (116, 150), (96, 165), (76, 150)])
    draw("ears", ellipse((x - 35, y + 1), (6, 11), 24))
    draw("ears", ellipse((x + 35, y + 1), (6, 11), 24))
    draw("hair", ellipse((x, y - 22), (39, 38), 40))
    draw("skin", points[list(outlines.FACE_OVAL)])
    # the hairline lies a little above the oval
    draw("skin", [(x - 15, y - 30), (x - 12, y - 49), (x + 12, y - 49), (x + 15, y - 30)])
    outlines.paint_features(ids, points)
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
    scene = [drawn_frame(shift, rng) for shift in shifts]
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
def test_bad_input_is_told(drawn):
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


def test_heads_are_aligned(drawn):
    points = drawn[2][:3].astype(np.float64)
    angle, scale = 0.4, 1.3
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points[1] = scale * (points[0] - 90) @ turn.T + (100, 70)
    heads = align_heads(points.astype(np.float32))
    for frame in range(3):
        matrix = heads.to_atlas(frame, 1.0)
        np.testing.assert_allclose(points[frame] @ matrix[:, :2].T + matrix[:, 2], heads.template, atol=1e-2)
    half = heads.to_atlas(1, 0.5)
    np.testing.assert_allclose(0.5 * points[1] @ half[:, :2].T + half[:, 2], heads.template, atol=1e-2)


def test_polygons_cover_pixel_centres():
    mask = np.zeros((10, 10), dtype=np.uint8)
    fill_polygon(mask, np.array([(2, 3), (7, 3), (7, 8), (2, 8)], dtype=np.float32), 1)
    assert mask[3:8, 2:7].all()
    assert mask.sum() <= 36  # OpenCV also paints the pixels that its border line touches


def test_densities_add_up():
    lab = np.random.default_rng(0).integers(100, 150, size=(500, 3), dtype=np.uint8)
    density = np.exp(log_density(colour_cells(lab)).astype(np.float64))
    assert density.sum() * 8 * 3 * 3 == pytest.approx(1.0, abs=1e-3)
    assert density[colour_cells(lab)].mean() > 10 * density.mean()


@pytest.mark.slow
@needs_clips("clips/obama.mp4")
def test_a_real_clip():
    from nerfstudio_talking.face.tracking import person_masks, track_faces
    from nerfstudio_talking.media.reading import read_frames

    clip = read_frames(real_file("clips/obama.mp4"), 25.0, 0, 24)
    frames = [cv2.resize(frame, (256, 256), interpolation=cv2.INTER_AREA) for frame in clip]
    points = track_faces(frames).landmarks[..., :2]
    maps = np.stack(list(parse_clip(lambda: iter(frames), points, np.stack(list(person_masks(frames))))))
    assert set(np.unique(maps)) == set(range(len(PARSING_CLASSES)))
    share = np.bincount(maps.ravel(), minlength=len(PARSING_CLASSES)) / maps.size
    for name, low, high in (("hair", 0.03, 0.12), ("neck", 0.01, 0.08), ("cloth", 0.1, 0.3), ("ears", 0.008, 0.04)):
        assert low < share[CLASS_ID[name]] < high, (name, share[CLASS_ID[name]])
    shirt, lapel, wall, crown = maps[:, 225, 105], maps[:, 230, 40], maps[:, 20, 20], maps[:, 35, 135]
    for column, name in ((shirt, "cloth"), (lapel, "cloth"), (wall, "background"), (crown, "hair")):
        assert (column == CLASS_ID[name]).all(), name


def read(folder, num_frames, size):
    """Maps that show the whole image of a dataset of the given size; the video had another."""
    return read_parsings(folder, Crop(0, 0, 999, 999, *size), (999, 999), 0, num_frames)


def save(folder, maps):
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(maps):
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder


def test_own_ids_are_read(tmp_path):
    maps = np.random.default_rng(0).integers(0, 11, size=(3, 20, 30), dtype=np.uint8)
    folder = save(tmp_path / "ids", maps)
    assert parsing_format(folder) == "ids"
    np.testing.assert_array_equal(np.stack(list(read(folder, 3, (30, 20)))), maps)


@pytest.mark.parametrize("channels", [1, 3])
def test_bisenet_is_read(tmp_path, channels):
    ids = np.arange(20 * 30, dtype=np.uint8).reshape(20, 30) % 19
    maps = [ids if channels == 1 else np.repeat(ids[..., None], 3, axis=2)] * 12
    folder = save(tmp_path / "bisenet", maps)
    assert parsing_format(folder) == "bisenet"
    (first, *_) = read(folder, 12, (30, 20))
    for theirs, ours in ((0, "background"), (1, "skin"), (2, "brows"), (14, "neck"), (16, "cloth"), (17, "hair")):
        assert (first[ids == theirs] == CLASS_ID[ours]).all()


def test_ad_nerf_is_read_and_resized(tmp_path):
    image = np.zeros((20, 40, 3), dtype=np.uint8)
    for column, colour in enumerate(AD_NERF_COLOURS.values()):
        image[:, 10 * column : 10 * column + 10] = colour
    folder = save(tmp_path / "parsing", [image, image])
    assert parsing_format(folder) == "ad-nerf"
    ids = next(read(folder, 2, (80, 40)))
    assert ids.shape == (40, 80)
    for column, name in enumerate(AD_NERF_COLOURS):
        assert (ids[:, 20 * column : 20 * column + 20] == CLASS_ID[name]).all()


def test_bad_folders_are_told(tmp_path):
    with pytest.raises(TalkingError, match="no such folder"):
        next(read(tmp_path / "gone", 1, (8, 8)))
    ids = np.zeros((8, 8), dtype=np.uint8)
    with pytest.raises(TalkingError, match="3 parsing maps"):
        next(read(save(tmp_path / "few", [ids, ids]), 3, (8, 8)))
    with pytest.raises(TalkingError, match="images, 16x8"):
        next(read(save(tmp_path / "shape", [ids]), 1, (16, 8)))
    with pytest.raises(TalkingError, match="the value 200"):
        next(read(save(tmp_path / "grey", [ids + 200]), 1, (8, 8)))
    photo = np.random.default_rng(0).integers(0, 255, size=(8, 8, 3), dtype=np.uint8)
    with pytest.raises(TalkingError, match="other colours"):
        next(read(save(tmp_path / "photo", [photo]), 1, (8, 8)))
    folder = save(tmp_path / "torn", [ids, ids])
    (folder / "1.png").write_bytes((folder / "0.png").read_bytes()[:40])
    with pytest.raises(TalkingError, match=r"1\.png"):
        next(read(folder, 2, (8, 8)))
