"""Two video files to scores: frames brought to one size, rate and length, and what was done about it said."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from nerfstudio_talking.dataset_io.frame_range import parse_frame_range
from nerfstudio_talking.face.measurements import lip_opening
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.reading import VideoInfo, probe_video, read_audio, read_frames
from nerfstudio_talking.metrics import action_units
from nerfstudio_talking.metrics.suite import PortraitScores

_RATE = 16000
_SHORTEST = 2
_SAME_SHAPE = 0.01

Tracker = Callable[[str, int | None], Callable[[], Any]]
"""Starts a progress bar of that title and total, and returns what advances it."""


@dataclass(frozen=True)
class ScoreSettings:
    """What to measure beyond what needs nothing."""

    audio: Path | None = None
    """The audio that the lips should follow; the rendering's own where None, else the ground truth's."""
    gt_frames: str | None = None
    """A:B, the frames of the ground truth that were rendered; all where None."""
    face_landmarker: Path | None = None
    """MediaPipe's face_landmarker.task, for AUE by blendshapes."""
    openface: tuple[Path, Path] | None = None
    """OpenFace's csv of the rendering and of the ground truth (whole videos), for AUE as papers give it."""
    syncnet: Path | None = None
    """syncnet_v2.model, for LSE-C and LSE-D."""
    lpips_weights: Path | None = None
    """Torchvision's AlexNet, where it is not in the torch cache."""
    fid_weights: Path | None = None
    """FID's Inception, where it is not in the torch cache."""


@dataclass(frozen=True)
class VideoScores:
    """What was measured."""

    scores: dict[str, float]
    """Flat floats; `gt_` in front: the ground truth's own."""
    left_out: dict[str, str]
    """Scores that could not be had, and why."""
    notes: list[str]
    """What was done to make the videos comparable."""
    fps: float
    per_frame: dict[str, Float[np.ndarray, " frames"]] = field(repr=False)
    """Image scores and LMD of each frame, lip opening of both videos; NaN where a frame has none."""


@dataclass(frozen=True)
class Pair:
    """Two videos brought to the ground truth's rate and size."""

    rendered: Path
    gt: Path
    fps: float
    height: int
    width: int
    first: int
    """Frame of the ground truth beside which the rendering's first stands."""
    num_frames: int
    """In common."""
    notes: tuple[str, ...]

    def frames(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Frame of the rendering and of the ground truth, uint8 RGB of the ground truth's size."""
        last = self.first + self.num_frames
        images = read_frames(self.rendered, self.fps, 0, self.num_frames)
        for a, b in zip(images, read_frames(self.gt, self.fps, self.first, last)):
            yield fitted(a, self.height, self.width), b


def make_pair(rendered: Path, gt: Path, gt_frames: str | None = None) -> Pair:
    """Look at two videos and settle how they are compared: at the ground truth's rate and size, over their common
    length.

    Raises:
        TalkingError: a file is no video, or fewer than two frames are in common.
    """
    info, true_info = probe_video(rendered), probe_video(gt)
    fps = true_info.fps
    notes = []
    total = _count(true_info, fps)
    try:
        first, stop = parse_frame_range(gt_frames, total)
    except TalkingError as error:
        hint = "Write --gt-frames A:B: the true frames that were rendered, up to, not including, frame B."
        what = f"--gt-frames {gt_frames}"
        raise TalkingError(what, expected=error.expected, found=error.found, hint=hint) from error
    if gt_frames is not None:
        notes.append(f"the rendering's first frame stands beside frame {first} of the ground truth (--gt-frames)")
    if abs(info.fps - fps) > 0.01:
        notes.append(
            f"the rendering has {info.fps:g} frames per second, the ground truth {fps:g}: the nearest frames were taken"
        )
    counts = _count(info, fps), (stop if stop is not None else total) - first
    num_frames = min(counts)
    if counts[0] != counts[1]:
        notes.append(f"{counts[0]} frames rendered, {counts[1]} true: the first {num_frames} were compared")
    if num_frames < _SHORTEST:
        raise TalkingError(
            rendered,
            expected=f"at least {_SHORTEST} frames in common with {gt}",
            found=str(max(num_frames, 0)),
            hint="Check the videos and --gt-frames.",
        )
    size, true_size = (info.width, info.height), (true_info.width, true_info.height)
    if size != true_size:
        text = f"the rendering was resized from {size[0]}x{size[1]} to the ground truth's {true_size[0]}x{true_size[1]}"
        if abs(size[0] * true_size[1] / (size[1] * true_size[0]) - 1) > _SAME_SHAPE:
            text += ", cut at the sides or above and below to its shape"
        notes.append(text)
    return Pair(rendered, gt, fps, true_info.height, true_info.width, first, num_frames, tuple(notes))


def fitted(image: UInt8[np.ndarray, "rows columns 3"], height: int, width: int) -> UInt8[np.ndarray, "height width 3"]:
    """An image scaled until it covers height x width, its middle cut out."""
    import cv2

    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image
    zoom = max(height / rows, width / columns)
    size = (max(round(columns * zoom), width), max(round(rows * zoom), height))
    kind = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(image, size, interpolation=kind)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width])


def score_videos(
    rendered: Path, gt: Path, settings: ScoreSettings | None = None, progress: Tracker | None = None
) -> VideoScores:
    """Measure a rendered video against the true one.

    Args:
        rendered: ours or a peer's, any container and size.
        gt: the recording.
        settings: audio, frames, weights.
        progress: called at the start of each pass over the frames.

    Raises:
        TalkingError: a file is missing or not what it should be.
    """
    settings = settings or ScoreSettings()
    pair = make_pair(rendered, gt, settings.gt_frames)
    samples, audio_note = _audio(pair, settings.audio)
    notes = [*pair.notes, audio_note]
    measure = PortraitScores(
        pair.fps,
        None if samples is None else (samples, _RATE),
        settings.lpips_weights,
        settings.fid_weights,
        person_masks=True,
    )
    network = None
    if settings.syncnet is not None:  # read before the long pass: bad weights are told at once
        from nerfstudio_talking.metrics.syncnet import load_syncnet

        network = load_syncnet(settings.syncnet)
    tables = None if settings.openface is None else [action_units.read_openface(path) for path in settings.openface]
    advance = _advance(progress, "Scores", pair.num_frames)
    for index, (image, true_image) in enumerate(pair.frames()):
        images = [torch.from_numpy(frame).float() / 255 for frame in (image, true_image)]
        measure.update(images[0], images[1], frame=index)
        advance()
    scores = measure.compute()
    left_out = dict(measure.left_out)
    points, true_points = measure.tracks
    measure.close()
    if settings.face_landmarker is not None:
        scores |= _blendshape_error(pair, settings.face_landmarker, progress)
    else:
        left_out["aue_blendshapes"] = "no face_landmarker.task given"
    if tables is not None:
        count = min(len(tables[0]), len(tables[1]) - pair.first, pair.num_frames)
        scores |= _unit_error(tables[0][:count], tables[1][pair.first : pair.first + count], "openface")
    else:
        left_out["aue_openface"] = "no csv of OpenFace given"
    if network is None or samples is None or len(points) == 0:
        left_out["syncnet"] = "no syncnet_v2.model given" if network is None else "no audio, or no face"
    else:
        scores |= _syncnet(pair, (points, true_points), samples, network, progress)
    for name in [name for name, value in scores.items() if not np.isfinite(value)]:
        left_out[name] = "too few frames, or nothing there to measure"
        del scores[name]
    if len(measure.rows) < pair.num_frames:
        notes.append(f"only {len(measure.rows)} frames could be decoded")
    if scores.get("sync_score", np.inf) <= scores.get("sync_null_max", -np.inf):
        notes.append("lips and audio agree no better than by chance: the lag between them means nothing")
    per_frame = _columns(measure.rows)
    if len(points):
        per_frame |= {"lips": lip_opening(points), "gt_lips": lip_opening(true_points)}
    return VideoScores(scores, left_out, notes, pair.fps, per_frame)


def worst_frames(
    per_frame: Mapping[str, Float[np.ndarray, " frames"]], fps: float, count: int = 6
) -> tuple[str, list[int]]:
    """The frames with the worst LPIPS, or PSNR where there is no LPIPS, at least half a second apart; in order."""
    kind = "lpips" if "lpips" in per_frame else "psnr"
    values = per_frame[kind] if kind == "lpips" else -per_frame[kind]
    chosen: list[int] = []
    for frame in np.argsort(-values, kind="stable"):
        if len(chosen) < count and all(abs(int(frame) - other) >= fps / 2 for other in chosen):
            chosen.append(int(frame))
    return kind, sorted(chosen)


def pick_frames(pair: Pair, frames: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Some frames of both videos, in one pass."""
    last = max(frames, default=-1)
    wanted = set(frames)
    return [both for index, both in enumerate(itertools.islice(pair.frames(), last + 1)) if index in wanted]


def _count(info: VideoInfo, fps: float) -> int:
    if info.num_frames is not None and abs(info.fps - fps) <= 0.01 and not info.variable_frame_rate:
        return info.num_frames
    return max(round(info.duration * fps), 1)


def _audio(pair: Pair, audio: Path | None) -> tuple[Float32[np.ndarray, " samples"] | None, str]:
    """The audio from the rendering's first frame on, and where it is from."""
    if audio is not None:
        return read_audio(audio, _RATE), f"audio of {audio.name}"
    if probe_video(pair.rendered).has_audio:
        return read_audio(pair.rendered, _RATE), "audio of the rendering"
    if probe_video(pair.gt).has_audio:
        start = pair.first / pair.fps
        return read_audio(pair.gt, _RATE, start=start), "the rendering is silent: audio of the ground truth"
    return None, "neither video has audio"


def _advance(progress: Tracker | None, title: str, total: int) -> Callable[[], Any]:
    return (lambda: None) if progress is None else progress(title, total)


def _blendshape_error(pair: Pair, model: Path, progress: Tracker | None) -> dict[str, float]:
    from nerfstudio_talking.face.tracking import blendshapes

    units = []
    for side, title in enumerate(("Blendshapes, rendering", "Blendshapes, ground truth")):
        advance = _advance(progress, title, pair.num_frames)
        images = (both[side] for both in pair.frames())
        units.append(action_units.from_blendshapes(blendshapes(images, pair.fps, model, advance)))
    return _unit_error(units[0], units[1], "blendshapes")


def _unit_error(rendered: np.ndarray, gt: np.ndarray, source: str) -> dict[str, float]:
    error = action_units.action_unit_error(rendered, gt, action_units.ACTION_UNITS)
    return {f"aue_{source}_upper": error.upper, f"aue_{source}_lower": error.lower}


def _syncnet(
    pair: Pair, points: tuple[np.ndarray, np.ndarray], samples: np.ndarray, network: Any, progress: Tracker | None
) -> dict[str, float]:
    from nerfstudio_talking.metrics.syncnet import face_crops, syncnet_score

    scores = {}
    for side, prefix in enumerate(("", "gt_")):
        if not np.isfinite(points[side]).any():
            continue
        advance = _advance(progress, f"SyncNet, {('rendering', 'gt')[side]}", 1)
        crops = face_crops((both[side] for both in pair.frames()), points[side])
        result = syncnet_score(crops, samples, pair.fps, network)
        lag = result.lag if np.isfinite(result.distance) else np.nan
        figures = {"confidence": result.confidence, "distance": result.distance, "lag": lag}
        scores |= {f"{prefix}syncnet_{name}": float(value) for name, value in figures.items()}
        advance()
    return scores


def _columns(rows: list[dict[str, float]]) -> dict[str, Float[np.ndarray, " frames"]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}
