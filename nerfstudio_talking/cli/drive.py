"""`ns-talking drive`: the portrait speaks another voice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.utils.rich_utils import CONSOLE, get_progress

from nerfstudio_talking.driving import PoseMode, driving_track
from nerfstudio_talking.errors import TalkingError


@dataclass
class Drive:
    """Render the portrait speaking any sound, as an mp4 with that sound."""

    load_config: Path
    """The config.yml of the trained portrait."""
    audio: Path
    """Sound to speak: any file that holds sound."""
    output: Path
    """The mp4 to write."""
    audio_features: Path | None = None
    """Features of the sound as .npy, one row per frame, for portraits trained on ready-made arrays."""
    pose: PoseMode | Literal["generated"] = "ping-pong"
    """How the recorded head motion is arranged to the length of the sound; 'generated' takes --motion instead."""
    motion: Path | None = None
    """For --pose generated: a personal motion model (`ns-talking motion finetune`), or a motion track made from this
    sound (`ns-talking motion generate`)."""
    motion_seed: int = 0
    """Of the motion that a model generates: another seed, another head motion and other blinks."""
    smoothing: float = 1.0
    """Smoothing of the poses of head and body: standard deviation in frames; 0 for none."""
    scale: float = 1.0
    """Size of the picture relative to the recording."""
    crf: Annotated[int, tyro.conf.arg(metavar="0-51")] = 18
    """H.264 quality: lower is better and larger."""

    def main(self) -> None:
        """Render and write, frame by frame."""
        from nerfstudio_talking.audio.extract import extract_features
        from nerfstudio_talking.cli.portrait import load_portrait
        from nerfstudio_talking.media import VideoWriter, read_audio

        if (self.pose == "generated") != (self.motion is not None):
            raise TalkingError(
                "--pose generated",
                expected="--motion with it, and only with it",
                found="one without the other",
                mend="Add --pose generated --motion P, P made by `ns-talking motion finetune`, or leave both out.",
            )
        samples = read_audio(self.audio)
        pipeline, model = load_portrait(self.load_config)
        portrait = model.track
        num_frames = round(len(samples) / 16000 * portrait.fps)
        if num_frames < 1:
            raise TalkingError(
                self.audio,
                expected=f"at least one frame of sound ({1 / portrait.fps:.3f} s)",
                found=f"{len(samples) / 16000:.3f} s",
                mend="Give a longer recording.",
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
        focal = portrait.focal * width / portrait.width
        poses = torch.from_numpy(track.camera_to_worlds).float()
        times = torch.from_numpy(track.times).float()
        with (
            VideoWriter(self.output, portrait.fps, width, height, audio=(samples, 16000), crf=self.crf) as writer,
            get_progress("Speaking", suffix="frames/s") as progress,
        ):
            for frame in progress.track(range(num_frames)):
                camera = Cameras(
                    poses[frame : frame + 1],
                    fx=focal,
                    fy=focal,
                    cx=width / 2,
                    cy=height / 2,
                    width=width,
                    height=height,
                    times=times[frame : frame + 1, None],
                ).to(pipeline.device)
                rgb = model.get_outputs_for_camera(camera)["rgb"]
                writer.write((rgb * 255).round().to(torch.uint8).cpu().numpy())
        CONSOLE.print(f"[green]Wrote {self.output}: {num_frames} frames at {portrait.fps:g} per second, with sound.")
