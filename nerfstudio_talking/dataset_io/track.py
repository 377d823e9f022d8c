"""`TalkingTrack`: everything that is per frame in a clip of one person speaking, except images, and its file format.

A dataset folder (what `ns-talking process` writes, schema version 1):

    track.json      schema, fps, image size, intrinsics, audio kind, provenance, digest of the clip
    track.npz       the per-frame arrays of `TalkingTrack`, same names; audio_mean, audio_std, audio_levels: what the
                    audio features were normalised with (optional)
    images/         000000.jpg ...  one RGB image per frame, named by position in the track
    parsing/        000000.png ...  one 8-bit class id per pixel (`parsing_labels.PARSING_CLASSES`)
    background.png  RGB, the background of the clip without the person
    torso/          00.png ...      RGBA torso reference images; torso.json names the frame of each
    audio.wav       16 kHz mono, starting with the first frame and as long as the video

`track.json` is written last: a folder without it is not a dataset.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64

from nerfstudio_talking.audio.normalization import FeatureNormalization
from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.io.arrays import load_archive
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import new_file, write_json

SCHEMA_VERSION = 1
TRACK_JSON, TRACK_NPZ = "track.json", "track.npz"
IMAGE_DIR, PARSING_DIR, TORSO_DIR = "images", "parsing", "torso"
BACKGROUND_NAME, AUDIO_NAME, TORSO_JSON = "background.png", "audio.wav", "torso.json"

_COLUMNS = (
    *("audio", "eyes", "lips", "expression", "landmarks", "body", "mouth_activity"),
    *("mouth_adaptation", "frame_ids", "audio_ids"),
)
_ARRAYS = ("camera_to_worlds", *_COLUMNS)
_SIZES: dict[str, tuple[int | None, ...]] = {
    "camera_to_worlds": (3, 4),
    "audio": (None, None),
    "eyes": (None,),
    "lips": (),
    "expression": (None,),
    "landmarks": (None, 2),
    "body": (2, 3),
    "mouth_activity": (),
    "mouth_adaptation": (2, None),
    "frame_ids": (),
    "audio_ids": (),
}
"""Sizes of arrays after the frames; None stands for any."""
_NORMALIZATION = ("audio_levels", "audio_mean", "audio_std")


@dataclass(frozen=True)
class TalkingTrack:
    """A clip, frame by frame. World = the head, OpenGL axes, metres; see docs/conventions.md.

    Frame i shows the audio in [i/fps, (i+1)/fps) seconds. Arrays are read-only by convention.
    """

    fps: float
    """Frames per second."""
    camera: PinholeCamera
    """The recording camera; the principal point is the centre of the image."""
    camera_to_worlds: Float32[np.ndarray, "frames 3 4"]
    """The recording camera in the head's frame, OpenGL axes, metres."""
    audio: Float32[np.ndarray, "frames window channels"]
    """Audio features around each frame, normalised as `audio_kind` says."""
    audio_kind: str
    """Name of the feature model: 'logmel', 'mfcc', 'deepspeech', 'esperanto', 'wav2vec2', 'hubert', 'ave' ..."""
    eyes: Float32[np.ndarray, "frames eyes"]
    """Eye opening, one column per eye (person's right, left) or one for both; 0 closed, about 1 wide open."""
    lips: Float32[np.ndarray, " frames"] | None = None
    """Lip opening (`face.measurements.lip_opening`): inner-lip gap over the distance of the outer eye corners, from 0.
    NaN where no face is seen."""
    expression: Float32[np.ndarray, "frames blendshapes"] | None = None
    """The 52 blendshapes of MediaPipe in [0, 1], or the expression vector of another dataset."""
    landmarks: Float32[np.ndarray, "frames points 2"] | None = None
    """Landmarks in pixels (x right, y down): 478 FaceMesh points or 68. NaN where no face is seen."""
    body: Float32[np.ndarray, "frames 2 3"] | None = None
    """Motion of the body in the image: the affine map from a position at rest to the position in this frame, both in
    [-1, 1] (x right, y down; -1 and 1 are the image's edges). At rest throughout where None."""
    mouth_activity: Float32[np.ndarray, " frames"] | None = None
    """How far the mouth leaves its rest for the mouth shape that is predicted from the audio: 0 at rest, in silence, 1
    as predicted, in speech (`audio.voice_activity`); more under a mouth gain. 1 throughout where None."""
    mouth_adaptation: Float32[np.ndarray, "frames 2 count"] | None = None
    """Factor of each coefficient of the mouth shape that is predicted for another voice, and what is added to it
    (`audio.amplitude.VoiceAdaptation`)."""
    frame_ids: Int64[np.ndarray, " frames"] | None = None
    """Number of each frame in the source video; positions in the track where None."""
    audio_ids: Int64[np.ndarray, " frames"] | None = None
    """Frame of `audio_path` whose audio belongs to each frame, counted at `fps`; positions in the track where None."""
    audio_normalization: FeatureNormalization | None = None
    """What the audio features were normalised with; None where other programs made them, or unknown."""
    audio_path: Path | None = None
    """The audio of the clip."""
    digest: str = ""
    """SHA-256 of the source video and of what was made of it (range, crop, size, poses ...): two tracks of one digest
    show the same clip in the same way."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """How each column was made, and measurements for the report."""

    def __post_init__(self) -> None:
        for name in _COLUMNS:
            value = getattr(self, name)
            if value is not None and len(value) != self.num_frames:
                raise ValueError(f"track.{name} has {len(value)} rows for {self.num_frames} frames")

    @property
    def width(self) -> int:
        """Image width, pixels."""
        return self.camera.width

    @property
    def height(self) -> int:
        """Image height, pixels."""
        return self.camera.height

    @property
    def num_frames(self) -> int:
        """Number of frames in the clip."""
        return len(self.camera_to_worlds)

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.num_frames / self.fps

    @property
    def audio_starts(self) -> Float64[np.ndarray, " frames"]:
        """Second of `audio_path` at which the audio of each frame starts."""
        return (np.arange(self.num_frames) if self.audio_ids is None else self.audio_ids) / self.fps

    @property
    def times(self) -> Float32[np.ndarray, " frames"]:
        """The time of each frame across nerfstudio's API: i/(N-1), in [0, 1]."""
        return np.linspace(0.0, 1.0, max(self.num_frames, 2), dtype=np.float32)[: self.num_frames]

    def replace(self, **changes: Any) -> TalkingTrack:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def first(self, count: int) -> TalkingTrack:
        """The track's first frames."""
        return self.span(0, count)

    def span(self, start: int, stop: int) -> TalkingTrack:
        """The track's frames from `start` up to, not including, `stop`."""
        columns = {name: getattr(self, name) for name in _ARRAYS}
        chosen = slice(start, stop)
        return self.replace(**{name: None if column is None else column[chosen] for name, column in columns.items()})


def save_track(track: TalkingTrack, folder: Path) -> None:
    """Write track.npz, then track.json, each atomically. The folder must exist."""
    arrays = {name: getattr(track, name) for name in _ARRAYS if getattr(track, name) is not None}
    if track.audio_normalization is not None:
        arrays |= normalization_arrays(track.audio_normalization)
    with new_file(folder / TRACK_NPZ) as file:
        np.savez(file, **arrays)
    record = {
        "schema": SCHEMA_VERSION,
        "fps": track.fps,
        "num_frames": track.num_frames,
        "width": track.width,
        "height": track.height,
        "focal": track.camera.focal,
        "audio_kind": track.audio_kind,
        "digest": track.digest,
        "provenance": track.provenance,
    }
    write_json(record, folder / TRACK_JSON)


def load_track(folder: Path) -> TalkingTrack:
    """Read the track of a dataset folder.

    Raises:
        TalkingError: the folder is no dataset, is half-written, or was written under another schema.
    """
    hint = f"Run `ns-talking process VIDEO --output {folder}`; it resumes where it stopped."
    json_path, npz_path = folder / TRACK_JSON, folder / TRACK_NPZ
    if not json_path.is_file():
        found = "no such folder" if not folder.is_dir() else f"no {TRACK_JSON} in it: never finished, or not a dataset"
        if (folder / "transforms_train.json").is_file():
            found = "one of the AD-NeRF family"
            hint = "Add ad-nerf-data at the end of the command."
        raise TalkingError(folder, expected="a dataset folder", found=found, hint=hint)
    try:
        record = json.loads(json_path.read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise ValueError(f"a {type(record).__name__} in {TRACK_JSON}")
    except (OSError, ValueError, RecursionError) as error:
        found = f"{type(error).__name__}: {error}"
        raise TalkingError(folder, expected="a readable track", found=found, hint=hint) from error
    archive = load_archive(npz_path, "a readable track", hint)
    arrays = {name: archive[name] for name in _ARRAYS if name in archive}
    if record.get("schema") != SCHEMA_VERSION:
        raise TalkingError(
            json_path, expected=f"schema {SCHEMA_VERSION}", found=f"schema {record.get('schema')}", hint=hint
        )
    missing = [name for name in ("camera_to_worlds", "audio", "eyes") if name not in arrays]
    if missing:
        raise TalkingError(npz_path, expected="arrays " + ", ".join(missing), found="none of that name", hint=hint)
    rows = {name: value.shape[0] if value.ndim else 0 for name, value in arrays.items()}
    if (
        not isinstance(record.get("num_frames"), int)
        or set(rows.values()) != {record["num_frames"]}
        or not rows["camera_to_worlds"]
    ):
        expected = f"{record.get('num_frames')} rows in each array, one at least"
        raise TalkingError(npz_path, expected=expected, found=str(rows), hint=hint)
    for name, sizes in _SIZES.items():
        if name in arrays and not _has_sizes(arrays[name], sizes, "iu" if name.endswith("_ids") else "fiu"):
            wanted = ", ".join(["frames", *("any" if size is None else str(size) for size in sizes)])
            found = f"{arrays[name].dtype} {arrays[name].shape}"
            raise TalkingError(npz_path, expected=f"{name}: numbers ({wanted})", found=found, hint=hint)
    for name, size in zip(_NORMALIZATION, (2, *arrays["audio"].shape[2:] * 2)):
        if name in archive and not (archive[name].shape == (size,) and np.isfinite(_numbers(archive[name])).all()):
            found = f"{archive[name].dtype} {archive[name].shape}"
            raise TalkingError(npz_path, expected=f"{name}: {size} finite numbers", found=found, hint=hint)
    audio_path = folder / AUDIO_NAME
    try:
        fps, focal = float(record["fps"]), float(record["focal"])
        if not (0 < fps < 1e4 and 0 < focal < 1e7):
            raise ValueError(f"fps {fps}, focal {focal}")
        return TalkingTrack(
            fps=fps,
            camera=PinholeCamera(focal, int(record["width"]), int(record["height"])),
            audio_kind=str(record["audio_kind"]),
            audio_normalization=normalization_of(archive),
            digest=str(record["digest"]),
            provenance=dict(record["provenance"]),
            audio_path=audio_path if audio_path.is_file() else None,
            **arrays,
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        found = f"{type(error).__name__}: {error}"
        raise TalkingError(json_path, expected="fps, sizes, kind, digest", found=found, hint=hint) from error


def _numbers(array: np.ndarray) -> np.ndarray:
    """The array, or NaN where it holds no numbers."""
    return array if array.dtype.kind in "fiu" else np.array(np.nan)


def _has_sizes(array: np.ndarray, sizes: tuple[int | None, ...], kinds: str) -> bool:
    """Whether an array of numbers has these sizes after the frames; None stands for any but 0."""
    return (
        array.dtype.kind in kinds
        and array.ndim == len(sizes) + 1
        and all(size > 0 if wanted is None else size == wanted for size, wanted in zip(array.shape[1:], sizes))
    )


def normalization_arrays(normalization: FeatureNormalization) -> dict[str, np.ndarray]:
    """A feature normalisation as arrays for an .npz file."""
    levels = np.array([normalization.reference_db, normalization.level_db])
    return dict(zip(_NORMALIZATION, (levels, normalization.mean, normalization.std)))


def normalization_of(arrays: Mapping[str, np.ndarray]) -> FeatureNormalization | None:
    """The feature normalisation among arrays as of `normalization_arrays`; None where one is missing."""
    if not all(name in arrays for name in _NORMALIZATION):
        return None
    levels, mean, std = (arrays[name] for name in _NORMALIZATION)
    return FeatureNormalization(float(levels[0]), float(levels[1]), mean, std)
