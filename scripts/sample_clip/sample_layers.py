"""The photograph split into layers: head, torso, background and the inside of mouth and eyes, each as a texture.

Textures are square, `SIDE` pixels, RGB and alpha in [0, 1], float32, with straight alpha. Positions in the photograph
were read off by eye and are in its own pixels, (0, 0) its upper left corner.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.interpolate import PchipInterpolator

SIDE = 512
CROP = (101.0, 0.0, 242.0)
"""Left, top and side of the part of the photograph that becomes the clip."""
SCALE = SIDE / CROP[2]

MOUTH_X = (202.9, 206.0, 210.0, 214.0, 218.0, 222.0, 226.0, 230.0, 234.0, 238.0, 242.0, 244.5)
UPPER_LIP = (139.8, 140.4, 141.4, 142.3, 143.0, 143.4, 143.4, 143.1, 142.3, 141.4, 140.7, 140.9)
LOWER_LIP = (139.8, 143.0, 146.2, 148.4, 149.6, 150.0, 150.0, 149.6, 147.9, 145.8, 142.9, 140.9)
"""Inner edges of the lips at the columns MOUTH_X."""
RIGHT_EYE = (
    (194.8, 197.0, 199.5, 203.0, 206.5, 210.0, 212.5, 213.7),
    (101.2, 99.4, 98.4, 98.0, 98.5, 100.2, 102.0, 103.8),
    (194.8, 196.5, 198.0, 200.0, 203.5, 207.0, 210.5, 213.7),
    (101.2, 102.4, 103.4, 104.3, 104.9, 104.8, 104.3, 103.8),
)
LEFT_EYE = (
    (237.3, 238.5, 241.5, 245.0, 248.8, 252.5, 254.6, 256.4),
    (105.4, 103.9, 102.0, 100.3, 100.0, 100.9, 102.4, 104.5),
    (237.3, 240.5, 243.7, 247.0, 250.5, 253.0, 254.7, 256.4),
    (105.4, 106.1, 106.7, 107.1, 107.0, 106.5, 105.8, 104.5),
)
"""The person's eyes: x and y along the edge of the upper lid, then of the lower."""
_COLLAR = ((187.7, 180), (196, 185), (208, 187.5), (222, 189.5), (236, 190.5), (245, 189), (252.7, 185))
_HEAD_INSIDE = (
    (163, 70), (168, 53), (180, 46), (190, 40), (196, 32), (210, 24), (235, 21), (270, 36), (293, 65), (296, 95),
    (283, 115), (272, 125), (262, 140), (256, 155), (252, 168), (249, 180), (243, 185), (222, 184), (200, 181),
    (190, 174), (188, 155), (187, 140), (184, 128), (176, 118), (164, 108),
)  # fmt: skip
_HEAD_OUTSIDE = (
    (146, 70), (150, 45), (180, 18), (225, 6), (270, 12), (303, 45), (309, 85), (302, 118), (280, 141), (270, 145),
    (265, 156), (261, 168), (259, 180), (256, 188), (245, 193), (222, 194), (206, 192), (192, 188), (184, 183),
    (181, 165), (180, 150), (178, 142), (170, 130), (150, 115),
)  # fmt: skip
_RIM = ((184.0, 148.6), (200.0, 149.9), (220.0, 154.5), (240.0, 162.8), (259.0, 175.7))
"""Course of the suit's ring behind the neck."""
_RIM_THICKNESS = 5.0


@dataclass(frozen=True)
class Layers:
    """Textures from back to front. The head has holes where mouth and eyes open; `inside` lies behind them."""

    background: np.ndarray
    torso: np.ndarray
    inside: np.ndarray
    head: np.ndarray


def above_collar() -> np.ndarray:
    """1 in the texture where the head's layer is head or neck, 0 where it is the black cloth below."""
    x, y = texel_positions()
    collar = np.array(_COLLAR, dtype=np.float64)
    return (y < np.interp(x, collar[:, 0], collar[:, 1])).astype(np.float32)


def to_texture(points: object) -> np.ndarray:
    """Positions in the photograph as positions in the textures."""
    return (np.asarray(points, dtype=np.float64) - CROP[:2]) * SCALE


def split_photograph(photograph: np.ndarray) -> Layers:
    """Split the photograph (RGB, uint8) into layers."""
    affine = np.array(
        [[SCALE, 0, -CROP[0] * SCALE + 0.5 * SCALE - 0.5], [0, SCALE, -CROP[1] * SCALE + 0.5 * SCALE - 0.5]]
    )
    image = cv2.warpAffine(photograph, affine, (SIDE, SIDE), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
    colour = image.astype(np.float32) / 255.0

    head_cut = _grab_cut(image, _cover_polygon(_HEAD_INSIDE), _cover_polygon(_HEAD_OUTSIDE))
    head_alpha = _matte(colour, head_cut)
    collar = to_texture(_COLLAR)
    band = np.concatenate([collar - (0, 12), collar[::-1] - (0, -16)])
    band[0, 0] += 3
    below = _blur(_polygon(band), 2.5)
    head_colour = _extend(colour, head_alpha > 0.97)
    # below the collar's edge the layer shows the suit's black cloth, which fades into the torso
    cloth = np.clip(_blur(below > 0.004, 1.0) * 2.0 - 1.0, 0, 1)[..., None]
    head_colour = np.where(head_alpha[..., None] > 0.97, colour, head_colour * (1 - cloth) + colour * cloth)
    head_alpha = np.maximum(head_alpha, below)

    suit = _suit(image, head_cut)
    suit_alpha = _blur(suit, 1.0)
    torso_colour = _behind_the_neck(colour, head_cut, suit)
    person = cv2.dilate(np.maximum(head_cut, suit), np.ones((41, 41), np.uint8)) > 0
    background = _backdrop(colour, person)

    holes = _holes()
    inside, coverage = _inside(colour)
    return Layers(
        _rgba(background, np.ones((SIDE, SIDE))),
        _rgba(torso_colour, suit_alpha),
        _rgba(inside, coverage),
        _rgba(head_colour, head_alpha * (1.0 - holes)),
    )


def _rgba(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.dstack([np.clip(colour, 0, 1), alpha]).astype(np.float32)


def _cover_polygon(points: object) -> np.ndarray:
    """Coverage of a polygon of the photograph, in the texture, 0 to 1."""
    supersample = 4
    mask = _polygon(to_texture(points) * supersample, SIDE * supersample)
    return cv2.resize(mask.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def _polygon(points: np.ndarray, side: int = SIDE) -> np.ndarray:
    """1 inside a polygon of the texture, 0 elsewhere."""
    return cv2.fillPoly(np.zeros((side, side), np.uint8), [np.round(points - 0.5).astype(np.int32)], (1.0,))


def _blur(mask: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma)


def _grab_cut(image: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Graph cut between a polygon surely inside the region and one that surely encloses it; 0 or 1."""
    labels = np.full((SIDE, SIDE), cv2.GC_BGD, np.uint8)
    labels[outside > 0.5] = cv2.GC_PR_FGD
    labels[inside > 0.5] = cv2.GC_FGD
    cv2.setRNGSeed(0)
    cv2.grabCut(image[..., ::-1].copy(), labels, None, np.zeros((1, 65)), np.zeros((1, 65)), 6, cv2.GC_INIT_WITH_MASK)  # pyright: ignore
    cut = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    cut = cv2.morphologyEx(cut, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    return cv2.morphologyEx(cut, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9)))


def _matte(colour: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """A soft edge that follows the image's edge (guided filter, He et al. 2010) within a few pixels of the cut."""
    # part of opencv-contrib: the type stubs of other OpenCV packages do not have it
    guided = cv2.ximgproc.guidedFilter(colour, cut.astype(np.float32), 5, 1e-3)  # pyright: ignore
    near = cv2.GaussianBlur(cut.astype(np.float32), (0, 0), 1.2)
    return np.clip((0.6 * guided + 0.4 * near - 0.12) / 0.8, 0.0, 1.0)


def _extend(colour: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Extrapolate colours over the unknown part, in more detail where it is near (a pyramid of normalised blurs)."""
    filled, weight = np.zeros_like(colour), np.zeros((*colour.shape[:2], 1), np.float32)
    mask = known.astype(np.float32)
    for sigma in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0):
        share = cv2.GaussianBlur(mask, (0, 0), sigma)[..., None]
        mean = cv2.GaussianBlur(colour * mask[..., None], (0, 0), sigma) / np.maximum(share, 1e-6)
        gain = np.clip(share * 6.0, 0.0, 1.0) * (1.0 - weight)
        filled, weight = filled + gain * mean, weight + gain
    return np.where(known[..., None], colour, filled / np.maximum(weight, 1e-6))


def _backdrop(colour: np.ndarray, person: np.ndarray) -> np.ndarray:
    """The studio's backdrop without the person: smooth colour, with grain like the rest."""
    smooth = _extend(colour, ~person)
    smooth = np.where(person[..., None], cv2.GaussianBlur(smooth, (0, 0), 6.0), smooth)
    grain = (colour - cv2.GaussianBlur(colour, (0, 0), 3.0))[~person].std()
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32), (0, 0), 1.2)
    cover = _blur(person, 3.0)[..., None]
    return smooth + cover * (noise * (0.7 * grain / noise.std()))[..., None]


def _suit(image: np.ndarray, head: np.ndarray) -> np.ndarray:
    """The suit, its ring completed behind the neck; 0 or 1."""
    inside_points = (
        (100, 222), (100, 242), (306, 242), (297, 228), (290, 212), (278, 197), (262, 187), (240, 192), (200, 188),
        (165, 165), (145, 175), (130, 190), (122, 208),
    )  # fmt: skip
    outside_points = (
        (95, 250), (95, 205), (108, 190), (112, 180), (122, 165), (132, 155), (150, 144), (180, 143), (262, 160),
        (290, 185), (303, 205), (308, 225), (330, 243), (330, 250),
    )  # fmt: skip
    inside, outside = _cover_polygon(inside_points) * (1 - head), _cover_polygon(outside_points)
    suit = _grab_cut(image, inside, outside * (1 - head))
    rim = to_texture(_RIM)
    below = np.concatenate([rim, [[rim[-1, 0], SIDE], [rim[0, 0], SIDE]]])
    filled = _polygon(below)
    return np.maximum(suit * (1 - head), filled * cv2.dilate(head, np.ones((5, 5), np.uint8)))


def _behind_the_neck(colour: np.ndarray, head: np.ndarray, suit: np.ndarray) -> np.ndarray:
    """The suit's colours, with its ring and the dark within it painted where the neck hides them."""
    hidden = cv2.dilate(head, np.ones((7, 7), np.uint8)) > 0
    known = (suit > 0) & ~hidden & (cv2.erode(suit, np.ones((5, 5), np.uint8)) > 0)
    out = _extend(colour, known)
    rim = to_texture(_RIM)
    columns = np.arange(SIDE) + 0.5
    top = np.interp(columns, rim[:, 0], rim[:, 1])[None]
    depth = (np.arange(SIDE)[:, None] + 0.5 - top) / SCALE
    along = np.clip((columns - rim[0, 0]) / (rim[-1, 0] - rim[0, 0]), 0, 1)[None, :, None]
    lilac = (1 - along) * np.array([0.39, 0.34, 0.38]) + along * np.array([0.54, 0.49, 0.57])
    dark = np.array([0.012, 0.006, 0.006])
    ring = np.clip((_RIM_THICKNESS - depth) / 1.0 + 0.5, 0, 1)[..., None]
    between = (columns > rim[0, 0]) & (columns < rim[-1, 0])
    painted = lilac * ring + dark * (1 - ring)
    cover = _blur(hidden & between[None] & (depth < 40), 1.5)[..., None]
    return (painted * cover + out * (1 - cover)).astype(np.float32)


def lip_edges(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inner edge of the upper and the lower lip at columns of the photograph; equal at and beyond the corners."""
    return _curve(x, MOUTH_X, UPPER_LIP), _curve(x, MOUTH_X, LOWER_LIP)


def lid_edges(x: np.ndarray, eye: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Edge of the upper and the lower lid of one eye at columns of the photograph; equal beyond the corners."""
    return _curve(x, eye[0], eye[1]), _curve(x, eye[2], eye[3])


def _curve(x: np.ndarray, knots: object, values: object) -> np.ndarray:
    columns = np.asarray(knots, dtype=np.float64)
    return PchipInterpolator(columns, np.asarray(values, dtype=np.float64))(np.clip(x, columns[0], columns[-1]))


def texel_positions() -> tuple[np.ndarray, np.ndarray]:
    """Position in the photograph of each texture pixel's centre."""
    x, y = np.meshgrid(np.arange(SIDE) + 0.5, np.arange(SIDE) + 0.5)
    return x / SCALE + CROP[0], y / SCALE + CROP[1]


def _holes() -> np.ndarray:
    """Coverage of the mouth and eye openings of the photograph, 0 to 1."""
    x, y = texel_positions()
    holes = np.zeros((SIDE, SIDE))
    for upper, lower in (lip_edges(x), lid_edges(x, RIGHT_EYE), lid_edges(x, LEFT_EYE)):
        holes = np.maximum(
            holes,
            np.clip((y - upper) * SCALE + 0.5, 0, 1)
            * np.clip((lower - y) * SCALE + 0.5, 0, 1)
            * (lower > upper + 0.02),
        )
    return holes


def _inside(colour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours and coverage of the inside: the photograph's eyes and teeth, with a painted cavity, gums and tongue."""
    x, y = texel_positions()
    upper, lower = lip_edges(x)
    middle, half = 0.5 * (MOUTH_X[0] + MOUTH_X[-1]), 0.5 * (MOUTH_X[-1] - MOUTH_X[0])
    across = (x - middle) / half
    cavity = np.array([0.13, 0.035, 0.03]) * np.clip(1.0 - 0.6 * across**2, 0.2, 1)[..., None]
    tongue = np.exp(-(((x - middle) / 12) ** 2) - ((y - 164) / 6.5) ** 2)[..., None]
    paint = cavity * (1 - 0.8 * tongue) + 0.8 * tongue * np.array([0.50, 0.20, 0.18])
    gum = np.array([0.55, 0.27, 0.25]) * np.clip(1.0 - 0.7 * across**2, 0.2, 1)[..., None]
    top = np.clip((upper + 0.3 - y) * 1.5 + 0.5, 0, 1)[..., None]
    paint = paint * (1 - top) + gum * top
    edge = np.minimum(lower + 0.2, 149.8 - 2.5 * across**2)
    teeth = np.clip((edge - y) * 1.4 + 0.5, 0, 1) * np.clip((y - upper - 0.2) * 1.4 + 0.5, 0, 1)
    teeth = (teeth * (np.abs(across) < 0.97))[..., None]
    mouth = paint * (1 - teeth) + colour * teeth
    around = ((np.abs(across) < 1.05) & (y > upper - 8) & (y < 176)).astype(np.float32)
    out = np.where(around[..., None] > 0, mouth, colour)
    coverage = around
    for eye in (RIGHT_EYE, LEFT_EYE):
        left, right, top, bottom = min(eye[0]) - 1.5, max(eye[0]) + 1.5, min(eye[1]) - 1.5, max(eye[3]) + 1.5
        coverage = np.maximum(coverage, ((x > left) & (x < right) & (y > top) & (y < bottom)).astype(np.float32))
    return out.astype(np.float32), coverage
