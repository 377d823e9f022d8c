"""What a refiner is given: frames of a clip as a trained portrait renders them, or the personal mesh drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from nerfstudio_talking.dataset_io.sequence import TalkingSequence
from nerfstudio_talking.io.console import CONSOLE, get_progress
from nerfstudio_talking.io.digests import file_digest
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.frame_folder import fill_folder, read_rendered


def rendered_frames(
    source: Path | None, sequence: TalkingSequence, cache: Path | None = None
) -> UInt8[np.ndarray, "frames height width 3"]:
    """Every frame of a clip as rendered.

    Args:
        source: config.yml of a portrait of this clip, rendered once and kept; a folder or video of rendered frames;
            or None for the personal mesh drawn with the person's texture.
        clip: the clip, whose size, number and order of frames the rendering has.
        cache: folder for a portrait's frames; beside its config.yml where None, by checkpoint.

    Raises:
        TalkingError: there is no such source, or it shows another clip.
    """
    track = sequence.track
    if source is None:
        from nerfstudio_talking.mesh_rendering.textured_face import mesh_frames

        with get_progress("Drawing the personal mesh", suffix="frames/s") as progress:
            task = progress.add_task("Drawing the personal mesh", total=track.num_frames)
            return mesh_frames(sequence, advance=lambda: progress.advance(task))
    if source.suffix.lower() in (".yml", ".yaml"):
        source = _render_portrait(source, sequence, cache)
    return read_rendered(source, track.num_frames, track.height, track.width)


def portrait_checkpoint(load_config: Path) -> Path:
    """The newest checkpoint of a training run.

    Raises:
        TalkingError: there is no run or no checkpoint.
    """
    from nerfstudio_talking.inference.checkpoints import read_run

    folder = read_run(load_config).get_checkpoint_dir()
    checkpoints = sorted(folder.glob("step-*.ckpt"))
    if not checkpoints:
        hint = "Train first; paths in config.yml count from the folder that ns-train ran in, so run from there."
        raise TalkingError(folder, expected="a checkpoint step-*.ckpt", found="none", hint=hint)
    return checkpoints[-1]


def _render_portrait(load_config: Path, sequence: TalkingSequence, cache: Path | None) -> Path:
    """The folder that a portrait's rendering of the clip lies in, rendered as far as it was not."""
    from nerfstudio_talking.inference.checkpoints import load_portrait, read_run

    checkpoint = portrait_checkpoint(load_config)
    name = f"{checkpoint.stem}-{file_digest(checkpoint)[:12]}"
    folder = (cache or load_config.parent / "rendered") / name
    num_frames = sequence.track.num_frames
    parser = getattr(read_run(load_config).pipeline.datamanager, "dataparser", None)
    share = getattr(parser, "train_fraction", None)
    if share is not None and len(sequence.train_frames) != int(num_frames * share + 1e-9):
        CONSOLE.print(
            f"[yellow]The portrait was trained on {share:.3f} of the frames, the refiner on "
            f"{len(sequence.train_frames) / num_frames:.3f}: give both one "
            "`talking-portrait-data --train-fraction`, or what is scored as held out was seen.[/]"
        )
    if all((folder / f"{frame:06d}.png").is_file() for frame in range(num_frames)):
        return folder
    pipeline, model = load_portrait(load_config)
    track = model.track
    if track.digest != sequence.track.digest or track.num_frames != num_frames:
        raise TalkingError(
            load_config,
            expected=f"a portrait of this clip ({sequence.track.digest[:12]}, {num_frames} frames)",
            found=f"one of clip {track.digest[:12]}, {track.num_frames} frames",
            hint="Give the --data that the portrait was trained on.",
        )

    def render(frame: int) -> np.ndarray:
        one = slice(frame, frame + 1)
        camera = track.camera.to_nerfstudio(track.camera_to_worlds[one], track.times[one]).to(pipeline.device)
        rgb = model.get_outputs_for_camera(camera)["rgb"]
        return (rgb * 255).round().to(torch.uint8).cpu().numpy()

    CONSOLE.print(f"Rendering the clip by its portrait into {folder}: once, and resumed where it was left off.")
    with get_progress("Rendering the portrait", suffix="frames/s") as progress:
        task = progress.add_task("Rendering the portrait", total=num_frames)
        fill_folder(folder, num_frames, render, lambda: progress.advance(task))
    return folder
