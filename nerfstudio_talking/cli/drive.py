"""`ns-talking drive`: the portrait speaks another voice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from nerfstudio_talking.io.console import CONSOLE, get_progress
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.motion.pose_mode import PoseMode

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from nerfstudio_talking.baking.file_format import Bake
    from nerfstudio_talking.models.portrait_model import PortraitModel


@dataclass
class Drive:
    """Render the portrait speaking any audio, as an mp4 with that audio."""

    load_config: Path
    """The config.yml of the trained portrait."""
    audio: Path
    """Audio to speak: any file that holds audio."""
    output: Path
    """The mp4 to write."""
    audio_features: Path | None = None
    """Features of the audio as .npy, one row per frame, for portraits trained on ready-made arrays."""
    pose: PoseMode | Literal["generated"] = "ping-pong"
    """How the recorded head motion is arranged to the length of the audio; 'generated' takes --motion instead."""
    motion: Path | None = None
    """For --pose generated: a personal motion model or a motion track of this audio (see `ns-talking motion`)."""
    motion_seed: int = 0
    """Of the motion that a model generates: another seed, another head motion and other blinks."""
    smoothing: float = 1.0
    """Smoothing of the poses of head and body: standard deviation in frames; 0 for none."""
    scale: float = 1.0
    """Size of the image relative to the recording."""
    crf: Annotated[int, tyro.conf.arg(metavar="0-51")] = 18
    """H.264 quality: lower is better and larger."""
    baked: Literal["auto", "none"] | Path = "auto"
    """The bake to play from: a file; 'auto': baked.pt beside config.yml, if there is no GPU; 'none': full rendering."""
    refine: Path | None = None
    """The config.yml of a refiner (`ns-train memory-gan`) that every frame passes through."""

    def main(self) -> None:
        """Render and write, frame by frame."""
        from nerfstudio_talking.audio.extract import extract_features
        from nerfstudio_talking.inference.checkpoints import load_portrait
        from nerfstudio_talking.media.reading import read_audio
        from nerfstudio_talking.media.write_behind import write_behind
        from nerfstudio_talking.media.writing import VideoWriter
        from nerfstudio_talking.motion.driving_track import driving_track

        if (self.pose == "generated") != (self.motion is not None):
            raise TalkingError(
                "--pose generated",
                expected="--motion with it, and only with it",
                found="one without the other",
                hint="Add --pose generated --motion P, P made by `ns-talking motion finetune`, or leave both out.",
            )
        samples = read_audio(self.audio)
        _, model = load_portrait(self.load_config)
        portrait = model.track
        refiner = None
        if self.refine is not None:
            from nerfstudio_talking.inference.refiner import load_refiner, refine_frames

            refiner = load_refiner(self.refine, self.load_config, portrait.digest).to(model.device)
        num_frames = round(len(samples) / 16000 * portrait.fps)
        if num_frames < 1:
            raise TalkingError(
                self.audio,
                expected=f"at least one frame of audio ({1 / portrait.fps:.3f} s)",
                found=f"{len(samples) / 16000:.3f} s",
                hint="Give a longer recording.",
            )
        kind = str(self.audio_features) if self.audio_features is not None else portrait.audio_kind
        features = extract_features(samples, portrait.fps, num_frames, kind)[0]
        if self.motion is not None:
            from nerfstudio_talking.motion.generation import generated_track, motion_for

            motion = motion_for(self.motion, samples, portrait.fps, num_frames, self.motion_seed)
            track = generated_track(portrait, features, motion, self.smoothing)
        else:
            assert self.pose != "generated"
            track = driving_track(portrait, features, self.pose, self.smoothing)
        model.drive(track)
        width, height = (max(2, round(side * self.scale / 2) * 2) for side in (portrait.width, portrait.height))
        bake = self._find_bake(model)
        if bake is not None:
            from nerfstudio_talking.baking.fit import bakeable
            from nerfstudio_talking.baking.renderer import BakeRenderer

            model.frame_renderer = BakeRenderer(bakeable(model.to("cpu")), bake)
        frames = _rendered_frames(model, width, height)
        if refiner is not None:
            frames = refine_frames(refiner, frames)
        with (
            VideoWriter(self.output, portrait.fps, width, height, audio=(samples, 16000), crf=self.crf) as writer,
            get_progress("Speaking", suffix="frames/s") as progress,
        ):
            write_behind(progress.track(frames, total=num_frames), writer.write)
        CONSOLE.print(f"[green]Wrote {self.output}: {num_frames} frames at {portrait.fps:g} per second, with audio.")

    def _find_bake(self, model: PortraitModel) -> Bake | None:
        """The bake to play from, if any."""
        from nerfstudio_talking.baking.file_format import BAKE_NAME, load_bake
        from nerfstudio_talking.baking.fit import bakeable
        from nerfstudio_talking.io.digests import weights_digest

        path = self.load_config.parent / BAKE_NAME
        if self.baked == "none" or (self.baked == "auto" and (model.device.type != "cpu" or not path.is_file())):
            return None
        path = path if self.baked == "auto" else Path(self.baked)
        bake = load_bake(path, weights_digest(bakeable(model)))
        CONSOLE.print(f"Playing from {path}; --baked none renders in full.")
        return bake


def _rendered_frames(model: PortraitModel, width: int, height: int) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Every frame of the model's track."""
    track = model.track
    view = track.camera.resize(width, height)
    for frame in range(track.num_frames):
        one = slice(frame, frame + 1)
        camera = view.to_nerfstudio(track.camera_to_worlds[one], track.times[one]).to(model.device)
        rgb = model.get_outputs_for_camera(camera)["rgb"]
        yield (rgb * 255).round().to(torch.uint8).cpu().numpy()
