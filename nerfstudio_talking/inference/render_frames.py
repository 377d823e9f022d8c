"""Rendering every frame of a sequence by its portrait, as the input of a refiner."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from nerfstudio_talking.inference.checkpoints import latest_checkpoint, load_portrait
from nerfstudio_talking.io.console import get_progress
from nerfstudio_talking.io.digests import file_digest
from nerfstudio_talking.media.frame_folder import RenderedRecord, fill_folder
from nerfstudio_talking.models.portrait_model import PortraitModel


def render_frames(load_config: Path, output: Path, data: Path | None = None) -> int:
    """Render the sequence of a portrait, training and evaluation frames, into a folder; an interrupted run resumes.

    Args:
        load_config: config.yml of a trained portrait.
        output: folder of the frames, 000000.png and so on, with a record of their origin (`RenderedRecord`), which is
            written last.
        data: where the dataset is now; None where it was in training.

    Returns:
        The number of frames.

    Raises:
        TalkingError: there is no such portrait, or the folder holds other images.
    """
    checkpoint = latest_checkpoint(load_config)
    _, model = load_portrait(load_config, data)
    track = model.track
    record = RenderedRecord(
        checkpoint=file_digest(checkpoint),
        sequence=track.digest,
        num_frames=track.num_frames,
        train_fraction=len(model.sequence.train_frames) / track.num_frames,
    )
    with get_progress("Rendering", suffix="frames/s") as progress:
        task = progress.add_task("Rendering", total=track.num_frames)
        fill_folder(output, record, lambda frame: render_frame(model, frame), lambda: progress.advance(task))
    return track.num_frames


def render_frame(model: PortraitModel, frame: int) -> UInt8[np.ndarray, "height width 3"]:
    """Render one frame of the model's track from its recording camera."""
    track = model.track
    one = slice(frame, frame + 1)
    camera = track.camera.to_nerfstudio(track.camera_to_worlds[one], track.times[one]).to(model.device)
    rgb = model.get_outputs_for_camera(camera)["rgb"]
    return (rgb * 255).round().to(torch.uint8).cpu().numpy()
