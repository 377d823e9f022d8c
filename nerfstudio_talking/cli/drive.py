"""`ns-talking drive`: the portrait speaks another voice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.markup import escape

from nerfstudio_talking.audio.normalization import NormalizationMode
from nerfstudio_talking.io.console import CONSOLE, get_progress, print_error
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import require_writable
from nerfstudio_talking.motion.pose_mode import PoseMode

if TYPE_CHECKING:
    from nerfstudio_talking.inference.driver import PortraitDriver
    from nerfstudio_talking.provenance.signing import SigningKey


@dataclass
class Drive:
    """Render the portrait speaking any audio, as an mp4 with that audio.

    Several voices need one start: --audio A.wav B.wav --output FOLDER.
    """

    load_config: Path
    """The config.yml of the trained portrait."""
    audio: tuple[Path, ...]
    """The audio to speak: any files that contain audio."""
    output: Path
    """The mp4 to write; or a folder, which gets an mp4 by the name of each voice."""
    audio_features: Path | None = None
    """The features of the audio as .npy, one row per frame, for portraits trained on ready-made arrays."""
    normalization: NormalizationMode = "adapt"
    """How audio and mouth are normalised: 'adapt' follows the voice, 'clip' keeps what the training clip has."""
    pose: PoseMode | Literal["generated"] = "ping-pong"
    """How the recorded head motion is arranged to the length of the audio; 'generated' takes --motion instead."""
    motion: Path | None = None
    """For --pose generated: a personal motion model or a motion track of this audio (see `ns-talking motion`)."""
    motion_seed: int = 0
    """Seed of the motion that a model generates: another seed, another head motion and other blinks."""
    smoothing: float = 1.0
    """Standard deviation in frames of the smoothing of the poses of head and body; 0 for none."""
    mouth_gain: float = 1.0
    """Factor of the mouth's motion about its rest: 1 shows it as predicted, more opens the mouth wider."""
    scale: float = 1.0
    """Size of the image relative to the recording."""
    crf: Annotated[int, tyro.conf.arg(metavar="0-51")] = 18
    """H.264 quality: lower is better and larger."""
    device: str = "auto"
    """The device to render on: 'cpu', 'cuda' ...; 'auto' takes a GPU where there is one."""
    baked: Literal["auto", "none"] | Path = "auto"
    """The bake to play from: a file; 'auto': baked.pt beside config.yml, if there is no GPU; 'none': full rendering."""
    refine: Path | None = None
    """The config.yml of a refiner (`ns-train memory-gan`) that every frame passes through."""
    data: Path | None = None
    """The portrait's dataset folder, where it is no longer the one of its training."""
    sign_cert: Path | None = None
    """The PEM file of a certificate chain that signs the Content Credentials; this machine's own where not given."""
    sign_key: Path | None = None
    """The PEM file of the private key of --sign-cert."""

    def main(self) -> None:
        """Render and write, frame by frame."""
        from nerfstudio_talking.inference.audio_input import MAX_MOUTH_GAIN
        from nerfstudio_talking.inference.driver import PortraitDriver
        from nerfstudio_talking.media.reading import read_audio_blocks
        from nerfstudio_talking.provenance.signing import signing_key

        if (self.pose == "generated") != (self.motion is not None):
            raise TalkingError(
                "--pose generated",
                expected="--motion with it, and only with it",
                found="one without the other",
                hint="Add --pose generated --motion P, P made by `ns-talking motion finetune`, or leave both out.",
            )
        ranges = {"smoothing": (0, 1000), "mouth_gain": (0, MAX_MOUTH_GAIN), "scale": (0.01, 16), "crf": (0, 51)}
        for name, (least, most) in ranges.items():
            value = getattr(self, name)
            if not least <= value <= most:
                option = f"--{name.replace('_', '-')} {value:g}"
                expected, hint = f"{least:g} to {most:g}", "The help text says what is usual."
                raise TalkingError(option, expected=expected, found=f"{value:g}", hint=hint)
        targets = self._targets()
        if self.audio_features is not None and len(targets) > 1:
            hint = "Drive them one by one."
            raise TalkingError("--audio-features", expected="one voice", found=f"{len(targets)}", hint=hint)
        sign_with = signing_key(self.sign_cert, self.sign_key)
        for audio in targets:  # fails before the portrait is loaded
            next(iter(read_audio_blocks(audio)))
        for output in targets.values():
            require_writable(output)
        driver = PortraitDriver.load(self.load_config, self.device, self.baked, self.refine, self.motion, self.data)
        failed = 0
        for audio, output in targets.items():
            try:
                self._speak(driver, audio, output, sign_with)
            except TalkingError as error:
                if len(targets) == 1:
                    raise
                failed += 1
                print_error(error)
        if failed:
            hint, found = "The messages above say why.", f"{len(targets) - failed}; {failed} failed"
            raise TalkingError(self.output, expected=f"{len(targets)} videos", found=found, hint=hint)

    def _targets(self) -> dict[Path, Path]:
        """The video of each voice."""
        from nerfstudio_talking.media.writing import VIDEO_SUFFIXES, container_format

        if not self.audio:
            raise TalkingError("--audio", expected="one file or more", found="none", hint="Name the voices.")
        if len(self.audio) == 1 and self.output.suffix and not self.output.is_dir():
            container_format(self.output)
            return self._apart({self.audio[0]: self.output})
        if self.output.suffix.lower() in VIDEO_SUFFIXES or self.output.is_file():
            hint = "Each voice gets an mp4 in it."
            raise TalkingError(
                self.output, expected=f"a folder for {len(self.audio)} voices", found="a file", hint=hint
            )
        targets = {audio: self.output / f"{audio.stem}.mp4" for audio in self.audio}
        if len({path.name.casefold() for path in targets.values()}) < len(self.audio):
            hint = "Their videos would have the same name: rename one, or drive them one by one."
            raise TalkingError("--audio", expected="files of different names", found="two alike", hint=hint)
        return self._apart(targets)

    def _apart(self, targets: dict[Path, Path]) -> dict[Path, Path]:
        """The same, if no voice would be overwritten."""
        for output in set(map(Path.resolve, targets.values())) & set(map(Path.resolve, self.audio)):
            hint = "Its audio is the voice. Name another file or folder."
            raise TalkingError(output, expected="a file that is not read", found="one of --audio", hint=hint)
        return targets

    def _speak(self, driver: PortraitDriver, audio: Path, output: Path, sign_with: SigningKey | None) -> None:
        with get_progress("Speaking", suffix="frames/s") as progress:
            task = progress.add_task("Speaking", total=driver.num_frames(audio))
            count = driver.write_video(
                audio,
                output,
                crf=self.crf,
                advance=lambda: progress.advance(task),
                sign_with=sign_with,
                pose=self.pose,
                smoothing=self.smoothing,
                scale=self.scale,
                seed=self.motion_seed,
                audio_features=self.audio_features,
                normalization=self.normalization,
                mouth_gain=self.mouth_gain,
            )
        CONSOLE.print(f"[green]Wrote {escape(str(output))}: {count} frames at {driver.fps:g} per second, with audio.")
