"""Reader of AD-NeRF-family folders (AD-NeRF, RAD-NeRF, ER-NeRF, SyncTalk, TalkingGaussian), unchanged on disk.

Their `transform_matrix` is a camera-to-world matrix in OpenGL axes with the head as the world; its translation is the
tracker's divided by ten, in metres: our own convention. Variants of the layout, and differences between what the
family's scripts write and its loaders read, are accepted.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64
from rich.markup import escape

from nerfstudio_talking.audio.extract import AudioFeatures, extract_features
from nerfstudio_talking.audio.features.registry import ready_arrays
from nerfstudio_talking.audio.features.streams import RATE
from nerfstudio_talking.audio.ready_arrays import read_feature_array
from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.ad_nerf_faces import read_eyes, read_landmarks
from nerfstudio_talking.dataset_io.dataset_options import load_options
from nerfstudio_talking.dataset_io.sequence import TalkingSequence
from nerfstudio_talking.dataset_io.track import TRACK_JSON, TalkingTrack
from nerfstudio_talking.face.measurements import lip_opening_68
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.digests import file_digest
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.images import image_size, read_image

IMAGE_FOLDERS = ("gt_imgs", "com_imgs", "ori_imgs")
_FPS = 25.0
_GIVE = "Give an AD-NeRF dataset."
_TORSO_REFERENCES = 3
_HIGHEST_ID = 10_000_000
"""Four days at 25 frames per second."""
_LONGEST_FOCAL = 1e7
"""Pixels."""


def is_ad_nerf(folder: Path) -> bool:
    """Whether a folder has the layout of this family."""
    return (folder / "transforms_train.json").is_file()


def load_ad_nerf_sequence(folder: Path, audio: str | None = None, fps: float | None = None) -> TalkingSequence:
    """Read an AD-NeRF-family folder.

    Frames of transforms_train.json and transforms_val.json are joined in the order of their ids and share one clock;
    the files' own split is used.

    Args:
        folder: the dataset folder.
        audio: file name of the audio features; where None, that of the folder's options (`dataset_options`), else the
            first of `ready_arrays` that exists, else log-mel features of aud.wav.
        fps: frames per second; where None, those of the folder's options, else 25, which the family assumes.

    Raises:
        TalkingError: a file is missing or does not fit the others.
    """
    options = load_options(folder)
    audio, fps = audio or options.audio, float(fps or options.fps or _FPS)
    splits = {name: _read_transforms(folder / f"transforms_{name}.json", name == "train") for name in ("train", "val")}
    header = splits["train"]
    entries: dict[int, dict[str, Any]] = {}
    for record in splits.values():
        entries.update({int(entry["img_id"]): entry for entry in record.get("frames", [])})
    if not entries:
        raise TalkingError(
            folder / "transforms_train.json", expected="frames", found="none", hint="Run the family's process.py again."
        )
    ids = np.array(sorted(entries), dtype=np.int64)
    train_ids = {int(entry["img_id"]) for entry in splits["train"]["frames"]}
    in_train = np.array([int(i) in train_ids for i in ids])
    images = _image_paths(folder, ids)
    width, height = image_size(images[0])
    poses = np.array([np.array(entries[int(i)]["transform_matrix"], dtype=np.float64)[:3] for i in ids])
    audio_ids = np.array([int(entries[int(i)].get("aud_id", i)) for i in ids], dtype=np.int64)
    features = _audio_features(folder, audio, audio_ids, fps)
    landmarks = read_landmarks(folder, ids)
    parsing = _parsing_paths(folder, ids)
    background = next((folder / name for name in ("bc.jpg", "bc.png") if (folder / name).is_file()), None)
    torso_frames, torso = _torso_references(folder, ids, poses, in_train)
    wav = next((folder / name for name in ("aud.wav", "audio.wav") if (folder / name).is_file()), None)
    track = TalkingTrack(
        fps=fps,
        camera=PinholeCamera(_focal(header, width, folder), width, height),
        camera_to_worlds=poses.astype(np.float32),
        audio=features.windows,
        audio_kind=features.kind,
        audio_normalization=features.normalization,
        mouth_activity=features.mouth_activity,
        eyes=read_eyes(folder, ids),
        lips=None if landmarks is None else lip_opening_68(landmarks),
        landmarks=landmarks,
        frame_ids=ids,
        audio_ids=audio_ids,
        audio_path=wav,
        digest=_digest(folder, width, height),
        provenance={"layout": "ad-nerf", "parsing": parsing is not None},
    )
    evaluate = np.flatnonzero(~in_train)
    return TalkingSequence(
        track=track,
        image_paths=images,
        train_frames=np.flatnonzero(in_train),
        eval_frames=evaluate if len(evaluate) else np.flatnonzero(in_train)[-1:],
        parsing_paths=parsing,
        parsing_format="ad-nerf",
        background=None if background is None else read_image(background, "RGB"),
        torso_references=torso,
        torso_frames=torso_frames,
    )


def _digest(folder: Path, width: int, height: int) -> str:
    """Digest of the poses of both splits and of the image size."""
    paths = [path for path in (folder / f"transforms_{name}.json" for name in ("train", "val")) if path.is_file()]
    text = " ".join([*(file_digest(path) for path in paths), f"{width}x{height}"])
    return hashlib.sha256(text.encode()).hexdigest()


def _read_transforms(path: Path, needed: bool) -> dict[str, Any]:
    if not path.is_file():
        if needed:
            ours = (path.parent / TRACK_JSON).is_file()
            hint = "Leave ad-nerf-data out: it is a dataset of `ns-talking process`." if ours else _GIVE
            raise TalkingError(path, expected="camera poses", found="no such file", hint=hint)
        return {"frames": []}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        for entry in record["frames"]:
            matrix = np.array(entry["transform_matrix"], dtype=np.float64)
            if matrix.shape not in ((4, 4), (3, 4)) or not np.isfinite(matrix).all():
                raise ValueError(f"a transform_matrix {matrix.tolist()!r:.60}")
            for name in ("img_id", "aud_id"):
                if name in entry and not 0 <= int(entry[name]) <= _HIGHEST_ID:
                    raise ValueError(f"{name} {entry[name]}")
            int(entry["img_id"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise TalkingError(
            path,
            expected="frames with img_id and transform_matrix",
            found=f"{type(error).__name__}: {error}",
            hint="Run the family's process.py again.",
        ) from error
    return record


def _focal(header: dict[str, Any], width: int, folder: Path) -> float:
    """Focal length in pixels of the images, whatever the image size at which the poses were solved."""
    found = ", ".join(sorted(map(str, header)))
    try:
        for name in ("focal_len", "fl_x", "fl_y", "camera_angle_x"):
            if name not in header:
                continue
            if name == "camera_angle_x":
                focal = width / (2 * np.tan(float(header[name]) / 2))
            else:
                solved = header.get("w") or 2 * header.get("cx", width / 2)
                focal = float(header[name]) * width / float(solved)
            if 0 < focal < _LONGEST_FOCAL:
                return focal
            found = f"{name} {header[name]}, {focal:g} pixels"
            break
    except (ValueError, TypeError, ZeroDivisionError, OverflowError) as error:
        found = str(error)
    raise TalkingError(
        folder / "transforms_train.json",
        expected="focal_len, fl_x or camera_angle_x",
        found=found[:200],
        hint="Add the focal length in pixels as focal_len.",
    )


def _image_paths(folder: Path, ids: Int64[np.ndarray, " frames"]) -> list[Path]:
    best: tuple[int, Path | None] = (len(ids) + 1, None)
    for name in IMAGE_FOLDERS:
        for ending in ("jpg", "png"):
            paths = [folder / name / f"{i}.{ending}" for i in ids]
            missing = [path for path in paths if not path.is_file()]
            if not missing:
                return paths
            best = min(best, (len(missing), missing[0]), key=lambda pair: pair[0])
    raise TalkingError(
        best[1] or folder,
        expected=f"an image for each of the {len(ids)} frames in {', '.join(IMAGE_FOLDERS)}",
        found=f"{best[0]} of them missing",
        hint="The ids in transforms_*.json must be the numbers of the images.",
    )


def _parsing_paths(folder: Path, ids: Int64[np.ndarray, " frames"]) -> list[Path] | None:
    """The parsing map of each frame, .png or .jpg; None where there is none at all.

    Raises:
        TalkingError: some are missing.
    """
    choices = [[folder / "parsing" / f"{i}.{ending}" for ending in ("png", "jpg")] for i in ids]
    found = [next((path for path in paths if path.is_file()), None) for paths in choices]
    paths = [path for path in found if path is not None]
    if not paths:
        return None
    if len(paths) < len(ids):
        raise TalkingError(
            choices[found.index(None)][0],
            expected=f"a parsing map for each of the {len(ids)} frames",
            found=f"{len(ids) - len(paths)} of them missing",
            hint="Make them, or move the folder parsing/ away to train without parsing maps.",
        )
    return paths


def _audio_features(
    folder: Path, name: str | None, audio_ids: Int64[np.ndarray, " frames"], fps: float
) -> AudioFeatures:
    wav = folder / "aud.wav"
    for file in [name] if name else [file for file, _ in ready_arrays()]:
        path = folder / file
        if path.is_file():
            return _ready_features(path, wav if wav.is_file() else None, audio_ids, fps)
    if name or not wav.is_file():
        raise TalkingError(
            folder,
            expected=name or ", ".join(file for file, _ in ready_arrays()) + " or aud.wav",
            found="none",
            hint="Extract audio features, or put the audio there as aud.wav.",
        )
    from nerfstudio_talking.media.reading import read_audio

    features = extract_features(read_audio(wav), fps, int(audio_ids.max()) + 1, "logmel")
    assert features.mouth_activity is not None
    return replace(features, windows=features.windows[audio_ids], mouth_activity=features.mouth_activity[audio_ids])


def _ready_features(path: Path, wav: Path | None, audio_ids: Int64[np.ndarray, " frames"], fps: float) -> AudioFeatures:
    """A ready array, which describes the whole audio; the dataset may use a part of it. Voice activity where there is
    audio."""
    used, samples = int(audio_ids.max()) + 1, None
    if wav is not None:
        from nerfstudio_talking.media.reading import read_audio

        samples = read_audio(wav)
    count = used if samples is None else max(used, round(len(samples) / RATE * fps))
    windows, kind, note = read_feature_array(path, count, fps, exact=False)
    if note is not None:
        CONSOLE.print(f"[yellow]{escape(note)}", soft_wrap=True)
    activity = None
    if samples is not None:
        from nerfstudio_talking.audio.voice_activity import voice_activity

        activity = voice_activity(samples, fps, used)[audio_ids]
    return AudioFeatures(windows[audio_ids], kind, mouth_activity=activity)


def _torso_references(
    folder: Path, ids: Int64[np.ndarray, " frames"], poses: Float[np.ndarray, "frames 3 4"], in_train: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Torso images of training frames spread over the head's yaw; their transparent pixels have no colour."""
    yaw = np.arctan2(poses[:, 0, 3], poses[:, 2, 3])
    available = [k for k in np.flatnonzero(in_train) if (folder / "torso_imgs" / f"{ids[k]}.png").is_file()]
    if not available:
        return None, None
    order = np.array(available)[np.argsort(yaw[available])]
    spread = (np.arange(_TORSO_REFERENCES) + 0.5) / _TORSO_REFERENCES * len(order)
    chosen = np.unique(order[spread.astype(int)])
    return chosen, np.stack([read_image(folder / "torso_imgs" / f"{ids[k]}.png", "RGBA") for k in chosen])
