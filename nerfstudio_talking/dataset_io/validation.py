"""Validation of a dataset folder: all problems at once, before training starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nerfstudio_talking.dataset_io.ad_nerf import is_ad_nerf, load_ad_nerf_sequence
from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID
from nerfstudio_talking.dataset_io.sequence import TalkingSequence, load_parsing, load_sequence
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.images import image_size, read_image


def load_any_sequence(folder: Path) -> TalkingSequence:
    """Read a dataset folder of either layout.

    Raises:
        TalkingError: it has neither layout, or a file is missing.
    """
    return load_ad_nerf_sequence(folder) if is_ad_nerf(folder) else load_sequence(folder)


def sequence_problems(sequence: TalkingSequence, images: bool = True) -> list[str]:
    """Problems of a sequence that could be loaded, one sentence each; an empty list where there is none.

    Args:
        sequence: the sequence.
        images: decode every image too, which finds truncated ones.
    """
    track = sequence.track
    problems = []
    for name in ("camera_to_worlds", "audio", "eyes"):
        if not np.isfinite(getattr(track, name)).all():
            problems.append(f"track.{name} holds values that are not finite.")
    rotation = track.camera_to_worlds[:, :, :3].astype(np.float64)
    if np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation).min() < 0:
        problems.append("camera_to_worlds holds matrices that are not rotations.")
    distance = np.linalg.norm(track.camera_to_worlds[:, :, 3], axis=1)
    if distance.min() < 0.1 or distance.max() > 10:
        problems.append(
            f"The camera is {distance.min():.2f} to {distance.max():.2f} m from the head: are the poses in metres?"
        )
    if (track.camera_to_worlds[:, 2, 3] <= 0).any():
        problems.append("The camera stands behind the head: z must come out of the face towards it.")
    if track.audio.std() < 1e-6:
        problems.append("The audio features are constant: is the audio silent?")
    if sequence.background is None:
        problems.append("There is no background image.")
    elif sequence.background.shape[:2] != (track.height, track.width):
        problems.append(f"The background is {sequence.background.shape[1]}x{sequence.background.shape[0]}.")
    if sequence.parsing_paths is None:
        problems.append("There are no parsing maps.")
    if images:
        problems += _image_problems(sequence)
    return problems


def _image_problems(sequence: TalkingSequence) -> list[str]:
    problems, heads = [], 0
    size = (sequence.track.width, sequence.track.height)
    for frame, path in enumerate(sequence.image_paths):
        try:
            found = image_size(path)
            read_image(path)
            if found != size:
                problems.append(f"{path.name} is {found[0]}x{found[1]}, not {size[0]}x{size[1]}.")
            if sequence.parsing_paths is not None:
                heads += bool((load_parsing(sequence, frame) == CLASS_ID["skin"]).any())
        except TalkingError as error:
            problems.append(str(error))
    if sequence.parsing_paths is not None and heads < 0.5 * len(sequence.image_paths):
        problems.append(f"Only {heads} of {len(sequence.image_paths)} parsing maps show a face.")
    return problems
