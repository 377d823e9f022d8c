"""`TalkingSequence`: a talking track with the images that belong to it, whatever their layout on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64, UInt8

from nerfstudio_talking.dataset_io.dataset_options import load_options
from nerfstudio_talking.dataset_io.parsing_labels import PARSING_CLASSES, from_ad_nerf, from_bisenet
from nerfstudio_talking.dataset_io.track import (
    BACKGROUND_NAME,
    IMAGE_DIR,
    PARSING_DIR,
    TORSO_DIR,
    TORSO_JSON,
    TalkingTrack,
    load_track,
)
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.images import image_size, read_image

TRAIN_FRACTION = 10 / 11
"""Share of the frames that the field trains on."""
ParsingFormat = Literal["ids", "ad-nerf", "bisenet"]
_HINT = "Process the video again: `ns-talking process VIDEO --output DIR`."


@dataclass(frozen=True)
class TalkingSequence:
    """A dataset in memory, except for its images, which stay on disk."""

    track: TalkingTrack
    """Everything that is per frame, except images."""
    image_paths: list[Path]
    """One RGB image per frame of the track."""
    train_frames: Int64[np.ndarray, " train"]
    """Positions in the track of the frames to train on."""
    eval_frames: Int64[np.ndarray, " eval"]
    """Positions in the track of the frames to evaluate on."""
    parsing_paths: list[Path] | None = None
    """One parsing map per frame."""
    parsing_format: ParsingFormat = "ids"
    """Format of the parsing maps: our class ids, AD-NeRF's four colours, or nineteen BiSeNet ids."""
    background: UInt8[np.ndarray, "height width 3"] | None = None
    """The scene without the person."""
    torso_references: UInt8[np.ndarray, "references height width 4"] | None = None
    """RGBA images of the torso."""
    torso_frames: Int64[np.ndarray, " references"] | None = None
    """Positions in the track of the torso references."""


def split_frames(num_frames: int, train_fraction: float = TRAIN_FRACTION) -> tuple[np.ndarray, np.ndarray]:
    """Split frames as the field does: the first int(N * 10/11) train, the rest evaluate. Neither part is empty.

    The only frame of a clip of one is in both parts.
    """
    frames = np.arange(num_frames, dtype=np.int64)
    count = min(max(int(num_frames * train_fraction + 1e-9), 1), max(num_frames - 1, 1))
    return frames[:count], frames[count:] if num_frames > 1 else frames


def load_parsing(sequence: TalkingSequence, frame: int) -> UInt8[np.ndarray, "height width"]:
    """Class ids of a frame of the track.

    Raises:
        TalkingError: the map cannot be read or holds other ids.
    """
    assert sequence.parsing_paths is not None
    path = sequence.parsing_paths[frame]
    image = read_image(path, "RGB" if sequence.parsing_format == "ad-nerf" else None)
    if sequence.parsing_format == "ad-nerf":
        return from_ad_nerf(image)
    if image.ndim == 3:
        image = image[..., 0]
    if sequence.parsing_format == "bisenet":
        return from_bisenet(image)
    if image.max(initial=0) >= len(PARSING_CLASSES):
        raise TalkingError(
            path, expected=f"class ids 0 to {len(PARSING_CLASSES) - 1}", found=f"id {image.max()}", hint=_HINT
        )
    return image


def load_sequence(folder: Path, train_fraction: float | None = None) -> TalkingSequence:
    """Read a dataset folder of our own layout (see `dataset_io.track`).

    Args:
        folder: the dataset folder.
        train_fraction: share of the frames that are trained on; where None, that of the folder's options
            (`dataset_options`), else 10/11.

    Raises:
        TalkingError: a file is missing, truncated or of another size.
    """
    track = load_track(folder)
    images = [folder / IMAGE_DIR / f"{i:06d}.jpg" for i in range(track.num_frames)]
    parsing = [folder / PARSING_DIR / f"{i:06d}.png" for i in range(track.num_frames)]
    missing = [path for path in (*images, *parsing) if not path.is_file()]
    if missing:
        raise TalkingError(
            missing[0],
            expected=f"{track.num_frames} images and as many parsing maps",
            found=f"{len(missing)} of them missing",
            hint=_HINT,
        )
    for path in (images[0], images[-1], parsing[0], parsing[-1]):
        if image_size(path) != (track.width, track.height):
            raise TalkingError(
                path,
                expected=f"{track.width}x{track.height}",
                found="{}x{}".format(*image_size(path)),
                hint=_HINT,
            )
    record_path = folder / TORSO_DIR / TORSO_JSON
    try:
        torso_frames = np.array(json.loads(record_path.read_text(encoding="utf-8"))["frames"], dtype=np.int64)
        if torso_frames.ndim != 1 or not len(torso_frames):
            raise ValueError(f"frames of shape {torso_frames.shape}")
        if torso_frames.min() < 0 or torso_frames.max() >= track.num_frames:
            raise ValueError(f"frames {torso_frames.min()} to {torso_frames.max()} of {track.num_frames}")
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise TalkingError(record_path, expected="the references' frames", found=str(error), hint=_HINT) from error
    share = train_fraction or load_options(folder).train_fraction or TRAIN_FRACTION
    train, evaluate = split_frames(track.num_frames, share)
    return TalkingSequence(
        track=track,
        image_paths=images,
        train_frames=train,
        eval_frames=evaluate,
        parsing_paths=parsing,
        background=read_image(folder / BACKGROUND_NAME, "RGB"),
        torso_references=np.stack(
            [read_image(folder / TORSO_DIR / f"{i:02d}.png", "RGBA") for i in range(len(torso_frames))]
        ),
        torso_frames=torso_frames,
    )
