"""Steadiness: torso jitter, flicker, blinks, and whether lips rest while the audio does."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8

from nerfstudio_talking.face.landmark_sets import RIGID_POINTS
from nerfstudio_talking.face.measurements import fill_gaps
from nerfstudio_talking.media.optical_flow import flow_field, warp

GRID = 16
"""Cells of the motion grid on each side of the image."""
_FULL_CELL = 0.8
_FEWEST_STEPS = 20
"""Accelerations below which a regression on six numbers says nothing."""


def cell_motion(
    flow: Float32[np.ndarray, "height width 2"], mask: Bool[np.ndarray, "height width"]
) -> Float32[np.ndarray, "256 2"]:
    """Mean motion of each cell of a 16x16 grid, NaN for cells that are not four fifths inside the mask."""
    rows, columns = (np.linspace(0, side, GRID + 1).round().astype(int) for side in mask.shape)
    cells = np.full((GRID, GRID, 2), np.nan, dtype=np.float32)
    for i, (top, bottom) in enumerate(itertools.pairwise(rows)):
        for j, (left, right) in enumerate(itertools.pairwise(columns)):
            inside = mask[top:bottom, left:right]
            if inside.size and inside.mean() >= _FULL_CELL:
                cells[i, j] = flow[top:bottom, left:right][inside].mean(axis=0)
    return cells.reshape(-1, 2)


def cell_texture(image: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, " 256"]:
    """How well motion can be seen in each cell of the grid: the smaller eigenvalue of its structure tensor, in squared
    levels per pixel. A plain cloth has none, and an edge shows motion across itself only (Shi & Tomasi 1994)."""
    import cv2

    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    right, down = (cv2.Sobel(grey, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    products: np.ndarray = np.stack([right * right, right * down, down * down], axis=-1)
    xx, xy, yy = np.moveaxis(cv2.resize(products, (GRID, GRID), interpolation=cv2.INTER_AREA), -1, 0)
    return ((xx + yy) / 2 - np.hypot((xx - yy) / 2, xy)).astype(np.float32).ravel()


def head_motion(
    before: Float[np.ndarray, "points xy"], after: Float[np.ndarray, "points xy"]
) -> Float64[np.ndarray, " 6"]:
    """The affine motion of the face's rigid points from one frame to the next: shift of their mean in pixels, then the
    change of the 2x2 matrix about it. Turning and nodding are affine to first order. NaN where a face is missing."""
    a, b = (np.asarray(points, np.float64)[list(RIGID_POINTS), :2] for points in (before, after))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return np.full(6, np.nan)
    centre, shift = a.mean(axis=0), b.mean(axis=0) - a.mean(axis=0)
    matrix = np.linalg.lstsq(a - centre, b - b.mean(axis=0), rcond=None)[0]
    return np.concatenate([shift, (matrix - np.eye(2)).ravel()])


def torso_jitter(
    cells: Float[np.ndarray, "steps cells 2"],
    head: Float[np.ndarray, "steps 6"],
    texture: Float[np.ndarray, " cells"],
) -> float:
    """Acceleration of the torso that the head's does not explain, in pixels per frame squared.

    A person's torso speeds up smoothly and with the head; what jumps to and fro between frames is the renderer's. Each
    cell's change of motion is regressed on the head's (six numbers and a constant), and the root mean square of the
    residual is taken, degrees of freedom made up for. The answer is the median over the half of the cells that has most
    texture in the ground truth: blur and noise leave it as it is. Recordings have jitter too: read it beside the ground
    truth's.

    Args:
        cells: motion of the torso's cells between successive frames (`cell_motion`), NaN where there is no torso; a
            row of NaN marks a break.
        head: the head's motion at the same steps (`head_motion`).
        texture: of each cell in the ground truth (`cell_texture`), the same for rendering and ground truth.

    Returns:
        NaN where no cell is seen at 20 successive steps or more.
    """
    change = np.diff(np.asarray(cells, np.float64), axis=0)
    drive = np.diff(np.asarray(head, np.float64), axis=0)
    seen_head = np.isfinite(drive).all(axis=1)
    residuals, textures = [], []
    for cell in range(change.shape[1]):
        seen = seen_head & np.isfinite(change[:, cell]).all(axis=1)
        if seen.sum() < _FEWEST_STEPS:
            continue
        inputs = drive[seen] / (drive[seen].std(axis=0) + 1e-9)
        inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
        weights = np.linalg.lstsq(inputs, change[seen, cell], rcond=None)[0]
        square = ((change[seen, cell] - inputs @ weights) ** 2).sum()
        residuals.append(np.sqrt(square / (seen.sum() - inputs.shape[1])))
        textures.append(texture[cell])
    if not residuals:
        return float("nan")
    clearest = np.argsort(textures)[len(textures) // 2 :]
    return float(np.median(np.array(residuals)[clearest]))


def temporal_error(
    rendered: tuple[np.ndarray, np.ndarray],
    gt: tuple[np.ndarray, np.ndarray],
    mask: Bool[np.ndarray, "height width"],
) -> float:
    """Mean |change of the rendering - change of the ground truth| from a frame to the next, over a mask, in levels of
    255.

    A constant error, however large, does not count; what comes and goes does. 0 for identical videos.

    Args:
        rendered: two successive uint8 frames.
        gt: the same two of the ground truth.
        mask: where; NaN where it is empty.
    """
    import cv2

    if not mask.any():
        return float("nan")
    changes = [np.subtract(after, before, dtype=np.int16) for before, after in (rendered, gt)]
    return float(np.mean(cv2.mean(cv2.absdiff(*changes), mask.astype(np.uint8))[:3]))


def warping_error(
    before: UInt8[np.ndarray, "height width 3"],
    after: UInt8[np.ndarray, "height width 3"],
    mask: Bool[np.ndarray, "height width"],
) -> float:
    """Mean |frame - the one before, carried along by the motion between them| over a mask, in levels of 255.

    What changes without moving: a sharp image that moves has next to none, and noise has all of its own. After Lai
    et al. 2018 (Learning Blind Video Temporal Consistency), without their mask of what was covered: read it beside the
    ground truth's.

    Args:
        before: a frame.
        after: the next one.
        mask: where in it; NaN where it is empty.
    """
    import cv2

    if not mask.any():
        return float("nan")
    back = flow_field(after, before)
    return float(np.mean(cv2.mean(cv2.absdiff(warp(before, back), after), mask.astype(np.uint8))[:3]))


def flicker(frames: tuple[np.ndarray, np.ndarray], mask: Bool[np.ndarray, "height width"]) -> float:
    """Mean change of a video from a frame to the next over a mask, in levels of 255: of a background, its flicker."""
    still = (frames[0], frames[0])
    return temporal_error(frames, still, mask)


def blinks(eyes: Float[np.ndarray, "frames eyes"], closed: float = 0.4, opened: float = 0.7) -> int:
    """Blinks in a video: the eyes' mean opening falls below `closed` and is seen above `opened` before the next one.

    Args:
        eyes: opening of each eye, 0 closed, 1 as open as usual (`process.measure.eye_opening`); NaN is bridged.
        closed: opening below which eyes are shut.
        opened: opening above which they are open again.
    """
    opening = fill_gaps(np.asarray(eyes, np.float64).reshape(len(eyes), -1)).mean(axis=1)
    count, shut = 0, bool(len(opening)) and bool(opening[0] < closed)
    for value in opening:
        if not shut and value < closed:
            count, shut = count + 1, True
        elif shut and value > opened:
            shut = False
    return count


def silent_frames(
    samples: Float[np.ndarray, " samples"], fps: float, num_frames: int, rate: int = 16000, below_db: float = 35.0
) -> Bool[np.ndarray, " frames"]:
    """Frames in a pause: their audio, and that of two frames on either side, is quieter than speech by 35 dB or more.

    Lips close after the audio ends and open before it starts, hence the margin. Speech is the 95th percentile of the
    frames' power; of a silent recording every frame is silent.
    """
    edges = (np.arange(num_frames + 1) / fps * rate).round().astype(int)
    power = np.zeros(num_frames)
    for frame, (first, last) in enumerate(itertools.pairwise(edges)):
        cut = samples[first:last]
        power[frame] = float(np.mean(np.square(cut, dtype=np.float64))) if len(cut) else 0.0
    loud = np.percentile(power, 95) if num_frames else 0.0
    speech = (power > loud * 10 ** (-below_db / 10)) & (power > 1e-9)
    return ~np.convolve(speech, np.ones(5))[2 : 2 + num_frames].astype(bool)


def closed_in_silence(
    lips: Float[np.ndarray, " frames"], silent: Bool[np.ndarray, " frames"], scale: float, share: float = 0.15
) -> float:
    """Share of the silent frames whose lips are closed, 0 to 1; NaN with fewer than five of them.

    Closed means under `share` of `scale`, the opening of a wide vowel of the same person: the 95th percentile of the
    true lips.
    """
    chosen = silent & np.isfinite(lips)
    if chosen.sum() < 5 or not scale > 0:
        return float("nan")
    return float((lips[chosen] < share * scale).mean())
