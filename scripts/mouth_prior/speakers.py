"""Speakers that the mouth prior is learned from: their sources, mouth measures and audio features."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from augmentation import NUM_VARIANTS, augment
from jaxtyping import Float, Float32

from nerfstudio_talking.audio.features.kind import ComputedKind
from nerfstudio_talking.audio.windows import frame_windows
from nerfstudio_talking.cameras.depth_plane import intersect_depth_plane
from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.face.head_shape import mean_shape, rigid_points
from nerfstudio_talking.face.landmark_sets import (
    CHIN_TIP,
    INNER_LIP_CORNERS,
    LOWER_LIP_BOTTOM,
    MIDDLE_LIP_PAIR,
    MOUTH_CORNERS,
    NOSE_BASE,
    NOSE_FLOOR,
    OUTER_EYE_CORNERS,
    UPPER_LIP_TOP,
)
from nerfstudio_talking.face.measurements import eye_corner_distance, frames_seen
from nerfstudio_talking.face.similarity import fit_rotation

SOURCES = Path(__file__).with_name("sources.csv")
_SPREAD_FRAMES = 60
"""Frames of the average speaker that a speaker's own standard deviation is mixed with: short clips vary by chance."""


@dataclass(frozen=True)
class Source:
    """One clip of one speaker."""

    clip: str
    """Name of the file without its suffix."""
    speaker: str
    language: str
    repository: str
    """Owner and name on GitHub."""
    file: str
    """Path in the repository."""
    licence: str
    """Licence of the repository."""
    lag: float
    """Frames by which the clip's audio is late."""


@dataclass
class Clip:
    """A clip ready to be learned from."""

    source: Source
    windows: list[Float[np.ndarray, "frames window channels"]]
    """Normalised windows of the audio as recorded, then of its augmented variants, in half precision."""
    measures: Float[np.ndarray, "frames measures"]
    """`mouth_prior.network.MEASURES`, each speaker's of zero mean and about unit variance; NaN where not seen."""


def read_sources() -> list[Source]:
    """The rows of sources.csv."""
    with SOURCES.open(newline="", encoding="utf-8") as file:
        return [Source(**{**row, "lag": float(row["lag"])}) for row in csv.DictReader(file)]


def load_clips(sources: list[Source], folder: Path, kind: ComputedKind, window: int) -> list[Clip]:
    """Clips with their features and measures.

    Args:
        sources: the clips.
        folder: what track_speakers.py wrote; features are kept there once they are extracted.
        kind: kind of the audio features.
        window: rows of a window, in steps of 20 ms.
    """
    measures = {source.clip: _clip_measures(folder / f"{source.clip}.npz") for source in sources}
    spread = np.nanmean([np.nanvar(values, axis=0) for values in measures.values()], axis=0)
    clips = []
    for group in _by_speaker(sources):
        own = np.concatenate([measures[source.clip] for source in group])
        mean, variance, share = np.nanmean(own, 0), np.nanvar(own, 0), len(own) / (len(own) + _SPREAD_FRAMES)
        scale = np.sqrt(share * variance + (1 - share) * spread)
        rows = [_clip_rows(source, folder, kind) for source in group]
        shift, width = _pooled_statistics(rows)
        for source, features in zip(group, rows):
            with np.load(folder / f"{source.clip}.npz") as tracked:
                fps, count = float(tracked["fps"]), len(tracked["landmarks"])
            windows = [
                frame_windows(
                    (variant.astype(np.float32) - shift[index]) / width[index],
                    kind.rate,
                    fps,
                    count,
                    window,
                    50.0,
                    start=-kind.lead / 16000 - source.lag / fps,
                ).astype(np.float16)
                for index, variant in enumerate(features.rows)
            ]
            clips.append(Clip(source, windows, (measures[source.clip] - mean) / scale))
    return clips


def mouth_measures_of(
    landmarks: Float32[np.ndarray, "frames 478 3"],
    camera_to_worlds: Float[np.ndarray, "frames 3 4"],
    camera: PinholeCamera,
) -> Float[np.ndarray, "frames measures"]:
    """`mouth_prior.network.MEASURES` of each frame over the distance of the outer eye corners; NaN where not seen.

    Args:
        landmarks: FaceMesh points in pixels.
        camera_to_worlds: head poses.
        camera: the recording camera.
    """
    flat = intersect_depth_plane(landmarks[:, :, :2].astype(np.float64), camera_to_worlds, camera)[..., :2]

    def distance(a: int, b: int) -> np.ndarray:
        return np.linalg.norm(flat[:, a] - flat[:, b], axis=-1)

    def height(*points: int) -> np.ndarray:
        return flat[:, points, 1].mean(1) - flat[:, NOSE_BASE, 1]

    eyes = np.nanmedian(distance(*OUTER_EYE_CORNERS))
    gap = distance(*MIDDLE_LIP_PAIR)
    plane = [
        gap,
        distance(*MOUTH_CORNERS),
        np.maximum(distance(UPPER_LIP_TOP, LOWER_LIP_BOTTOM) - gap, 0),
        np.zeros_like(gap),
        height(MIDDLE_LIP_PAIR[0]),
        height(CHIN_TIP),
        height(*MOUTH_CORNERS),
        distance(*INNER_LIP_CORNERS),
    ]
    measures = np.stack(plane, axis=1) / eyes
    measures[:, 3] = _protrusion(landmarks.astype(np.float64))
    return measures


def _protrusion(landmarks: Float[np.ndarray, "frames 478 3"]) -> Float[np.ndarray, " frames"]:
    """How far the lips' middle lies in front of the nose's floor, over the distance of the outer eye corners."""
    seen = frames_seen(landmarks)
    shape = mean_shape(landmarks[seen])
    rigid = rigid_points(shape)
    points = landmarks[seen] * (1.0, -1.0, -1.0)
    points -= points[:, rigid].mean(axis=1, keepdims=True)
    target = shape[rigid] - shape[rigid].mean(axis=0)
    turned = np.einsum("fpi,fij->fpj", points, fit_rotation(points[:, rigid], target))
    turned *= (np.linalg.norm(target) / np.linalg.norm(turned[:, rigid], axis=(1, 2)))[:, None, None]
    lips = [UPPER_LIP_TOP, LOWER_LIP_BOTTOM, *MIDDLE_LIP_PAIR]
    protrusion = np.full(len(landmarks), np.nan)
    depth = turned[:, lips, 2].mean(axis=1) - turned[:, list(NOSE_FLOOR), 2].mean(axis=1)
    protrusion[seen] = depth / eye_corner_distance(shape)
    return protrusion


def _by_speaker(sources: list[Source]) -> Iterator[list[Source]]:
    """The clips of one speaker in one repository: they share a microphone and a voice."""
    names = {(source.speaker, source.repository) for source in sources}
    for name in sorted(names):
        yield [source for source in sources if (source.speaker, source.repository) == name]


def _clip_measures(path: Path) -> Float[np.ndarray, "frames measures"]:
    with np.load(path) as tracked:
        width, height = (int(side) for side in tracked["size"])
        camera = PinholeCamera(float(tracked["focal"]), width, height)
        return mouth_measures_of(tracked["landmarks"], tracked["c2w"], camera)


@dataclass(frozen=True)
class _Rows:
    """Features of a clip that are not normalised, of each variant of its audio, and what would normalise them."""

    rows: Float[np.ndarray, "variants rows channels"]
    mean: Float[np.ndarray, "variants channels"]
    std: Float[np.ndarray, "variants channels"]


def _clip_rows(source: Source, folder: Path, kind: ComputedKind) -> _Rows:
    path = folder / kind.name / f"{source.clip}.npz"
    if not path.is_file():
        with np.load(folder / f"{source.clip}.npz") as tracked:
            count = round(len(tracked["landmarks"]) / float(tracked["fps"]) * 16000) + 1600
            audio = np.pad(tracked["audio"], (0, max(count - len(tracked["audio"]), 0)))
        random = np.random.default_rng(zlib.crc32(source.clip.encode()))
        variants = [audio, *(augment(audio, index, random) for index in range(NUM_VARIANTS))]
        found = [kind.extract(np.pad(variant, kind.lead)) for variant in variants]
        rows = [(values * used.std + used.mean).astype(np.float16) for values, used in found]
        shortest = min(map(len, rows))
        path.parent.mkdir(exist_ok=True)
        np.savez(
            path,
            rows=np.stack([values[:shortest] for values in rows]),
            mean=np.stack([used.mean for _, used in found]),
            std=np.stack([used.std for _, used in found]),
        )
    with np.load(path) as archive:
        return _Rows(archive["rows"], archive["mean"], archive["std"])


def _pooled_statistics(clips: list[_Rows]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each variant's channels over a speaker's clips."""
    lengths = np.array([clip.rows.shape[1] for clip in clips], dtype=np.float64)
    share = (lengths / lengths.sum())[:, None, None]
    mean = (share * [clip.mean for clip in clips]).sum(0)
    square = (share * [clip.std**2 + clip.mean**2 for clip in clips]).sum(0)
    return mean, np.sqrt(np.maximum(square - mean**2, 1e-6))
