"""Two video files to scores: frames are brought to one size, rate and length, and what was done about it is noted."""

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
from nerfstudio_talking.metrics.audio_sync import SyncNetScore
from nerfstudio_talking.metrics.faces import BlendshapeActionUnitError, OpenFaceActionUnitError
from nerfstudio_talking.metrics.functional.action_units import read_openface
from nerfstudio_talking.metrics.functional.syncnet import SyncNet, face_crops, load_syncnet
from nerfstudio_talking.metrics.registry import score_infos
from nerfstudio_talking.metrics.settings import ScoreSettings
from nerfstudio_talking.metrics.suite import TOO_SHORT, PortraitScores

_RATE = 16000
_SHORTEST = 2
_SAME_SHAPE = 0.01

StartProgress = Callable[[str, int | None], Callable[[], Any]]
"""Starts a progress bar of that title and total, and returns what advances it."""


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
class VideoPair:
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
            yield resize_to_cover(a, self.height, self.width), b


def pair_videos(rendered: Path, gt: Path, gt_frames: str | None = None) -> VideoPair:
    """Look at two videos and settle how they are compared: at the ground truth's rate and size, over their common
    length.

    Raises:
        TalkingError: a file is no video, or fewer than two frames are in common.
    """
    info, true_info = probe_video(rendered), probe_video(gt)
    fps = true_info.fps
    notes = [
        f"the {name}: {note}" for name, of in (("rendering", info), ("ground truth", true_info)) for note in of.notes
    ]
    total = _count(true_info, fps)
    try:
        first, stop = parse_frame_range(gt_frames, total)
    except TalkingError as error:
        hint = (
            "Write --gt-frames A:B: the frames of the ground truth that were rendered, up to, not including, frame B."
        )
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
    return VideoPair(rendered, gt, fps, true_info.height, true_info.width, first, num_frames, tuple(notes))


def resize_to_cover(
    image: UInt8[np.ndarray, "rows columns 3"], height: int, width: int
) -> UInt8[np.ndarray, "height width 3"]:
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
    rendered: Path, gt: Path, settings: ScoreSettings | None = None, progress: StartProgress | None = None
) -> VideoScores:
    """Score a rendered video against the ground truth.

    Args:
        rendered: the rendering of any method, of any container and size.
        gt: the ground truth video.
        settings: audio, frames, weights.
        progress: called at the start of each pass over the frames.

    Raises:
        TalkingError: a file is missing or not what it should be.
    """
    settings = settings or ScoreSettings()
    pair = pair_videos(rendered, gt, settings.gt_frames)
    samples, audio_note = _read_audio(pair, settings.audio)
    notes = [*pair.notes, audio_note]
    # weights and tables are read before the long pass: bad ones are reported at once
    video = PortraitScores(
        pair.fps,
        None if samples is None else (samples, _RATE),
        settings.lpips_weights,
        settings.fid_weights,
        person_masks=True,
    )
    network = None
    if settings.syncnet is not None:
        network = load_syncnet(settings.syncnet)
    tables = None if settings.openface is None else [read_openface(path) for path in settings.openface]
    advance = _start(progress, "Scores", pair.num_frames)
    for index, (image, gt_image) in enumerate(pair.frames()):
        images = [torch.from_numpy(frame).float() / 255 for frame in (image, gt_image)]
        video.update(images[0], images[1], frame=index)
        advance()
    video.close()
    scores, landmarks = video.compute(), video.tracks
    left_out = dict(video.left_out)
    if settings.face_landmarker is not None:
        scores |= _blendshape_error(pair, settings.face_landmarker, progress)
    else:
        left_out["aue_blendshapes"] = "no face_landmarker.task given"
    if tables is not None:
        scores |= _openface_error(pair, tables[0], tables[1])
    else:
        left_out["aue_openface"] = "no csv of OpenFace given"
    if network is None or samples is None or len(landmarks[0]) == 0:
        left_out["syncnet"] = "no syncnet_v2.model given" if network is None else "no audio, or no face"
    else:
        scores |= _syncnet_scores(pair, landmarks, samples, network, progress)
    for name in [name for name, value in scores.items() if not np.isfinite(value)]:
        left_out[name] = TOO_SHORT
        del scores[name]
    if len(video.rows) < pair.num_frames:
        notes.append(f"only {len(video.rows)} frames could be decoded")
    if scores.get("sync_score", np.inf) <= scores.get("sync_null_max", -np.inf):
        notes.append("lips and audio agree no better than by chance: the lag between them means nothing")
    per_frame = _to_columns(video.rows)
    if len(landmarks[0]):
        per_frame |= {"lips": lip_opening(landmarks[0]), "gt_lips": lip_opening(landmarks[1])}
    return VideoScores(scores, left_out, notes, pair.fps, per_frame)


def worst_frames(
    per_frame: Mapping[str, Float[np.ndarray, " frames"]], fps: float, count: int = 6
) -> tuple[str, list[int]]:
    """The frames with the worst LPIPS, or PSNR where there is no LPIPS, at least half a second apart; in order."""
    name = "lpips" if "lpips" in per_frame else "psnr"
    values = per_frame[name] if score_infos()[name].higher_is_better else -per_frame[name]
    chosen: list[int] = []
    for frame in np.argsort(values, kind="stable"):
        if len(chosen) < count and all(abs(int(frame) - other) >= fps / 2 for other in chosen):
            chosen.append(int(frame))
    return name, sorted(chosen)


def pick_frames(pair: VideoPair, frames: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Some frames of both videos, in one pass."""
    last = max(frames, default=-1)
    wanted = set(frames)
    return [both for index, both in enumerate(itertools.islice(pair.frames(), last + 1)) if index in wanted]


def _count(info: VideoInfo, fps: float) -> int:
    if info.num_frames is not None and abs(info.fps - fps) <= 0.01 and not info.variable_frame_rate:
        return info.num_frames
    return max(round(info.duration * fps), 1)


def _read_audio(pair: VideoPair, audio: Path | None) -> tuple[Float32[np.ndarray, " samples"] | None, str]:
    """The audio from the rendering's first frame on, and where it is from."""
    if audio is not None:
        return read_audio(audio, _RATE), f"audio of {audio.name}"
    if probe_video(pair.rendered).has_audio:
        return read_audio(pair.rendered, _RATE), "audio of the rendering"
    if probe_video(pair.gt).has_audio:
        start = pair.first / pair.fps
        return read_audio(pair.gt, _RATE, start=start), "the rendering is silent: audio of the ground truth"
    return None, "neither video has audio"


def _start(progress: StartProgress | None, title: str, total: int) -> Callable[[], Any]:
    return (lambda: None) if progress is None else progress(title, total)


def _blendshape_error(pair: VideoPair, model: Path, progress: StartProgress | None) -> dict[str, float]:
    from nerfstudio_talking.face.tracking import blendshapes

    weights = []
    for side, title in enumerate(("Blendshapes, rendering", "Blendshapes, ground truth")):
        advance = _start(progress, title, pair.num_frames)
        weights.append(blendshapes((both[side] for both in pair.frames()), pair.fps, model, advance))
    error = BlendshapeActionUnitError()
    error.update(weights[0], weights[1])
    return error.compute()


def _openface_error(
    pair: VideoPair, rendered: Float[np.ndarray, "frames 17"], gt: Float[np.ndarray, "gt_frames 17"]
) -> dict[str, float]:
    count = max(min(len(rendered), len(gt) - pair.first, pair.num_frames), 0)
    error = OpenFaceActionUnitError()
    error.update(rendered[:count], gt[pair.first : pair.first + count])
    return error.compute()


def _syncnet_scores(
    pair: VideoPair,
    landmarks: tuple[np.ndarray, np.ndarray],
    samples: np.ndarray,
    network: SyncNet,
    progress: StartProgress | None,
) -> dict[str, float]:
    metric = SyncNetScore(pair.fps, samples, network)
    for side, (name, title) in enumerate((("rendered_crops", "rendering"), ("gt_crops", "ground truth"))):
        if np.isfinite(landmarks[side]).any():
            advance = _start(progress, f"SyncNet, {title}", 1)
            crops = face_crops((both[side] for both in pair.frames()), landmarks[side])
            metric.update(**{name: crops})
            advance()
    return metric.compute() if metric.update_called else {}


def _to_columns(rows: list[dict[str, float]]) -> dict[str, Float[np.ndarray, " frames"]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}
