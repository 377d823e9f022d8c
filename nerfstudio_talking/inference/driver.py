"""`PortraitDriver`: a trained portrait speaks a voice, from a file or as the audio arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import UInt8
from rich.markup import escape

from nerfstudio_talking.inference.audio_input import (
    RATE,
    Audio,
    audio_blocks,
    audio_digest,
    too_short,
    whole_audio,
    written_audio,
)
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError

if TYPE_CHECKING:
    from nerfstudio_talking.audio.features.speech_rows import SpeechEncoder
    from nerfstudio_talking.audio.normalization import FeatureNormalization, NormalizationMode
    from nerfstudio_talking.audio.streaming import AudioWindows
    from nerfstudio_talking.baking.file_format import Bake
    from nerfstudio_talking.dataset_io.track import TalkingTrack
    from nerfstudio_talking.inference.stream import FramePlayer, MakeTrack, PortraitStream
    from nerfstudio_talking.models.portrait_model import PortraitModel
    from nerfstudio_talking.motion.driving_track import PoseMode
    from nerfstudio_talking.provenance.credentials import VideoOrigin
    from nerfstudio_talking.provenance.signing import SigningKey
    from nerfstudio_talking.refiner.network import StreamRefiner

Frame = UInt8[np.ndarray, "height width 3"]


class PortraitDriver:
    """A trained portrait that speaks any voice.

        driver = PortraitDriver.load("outputs/.../config.yml")
        for frame in driver.drive("voice.wav"):  # uint8 (height, width, 3), driver.fps per second
            ...
        driver.write_video("voice.wav", "spoken.mp4")
        with driver.stream() as stream:  # audio as it arrives: see PortraitStream
            ...

    Audio features are normalised with the level, mean and standard deviation of the clip that the portrait was trained
    on, adapted to the voice as it is heard (`normalization="adapt"`): other microphones are 20 dB quieter and have
    another spectrum. 'clip' keeps the clip's own throughout, for a voice recorded as the clip was.

    One driver plays any number of voices, one after another or interleaved; the model is left as it was. Everything it
    makes is synthetic media: `write_video` says so in the file.

    Args:
        model: a portrait in evaluation mode.
        bake: the model's bake; None renders in full.
        refiner: repaints every frame.
        motion: a personal motion model or a motion track, for `pose="generated"`.
    """

    def __init__(
        self,
        model: PortraitModel,
        bake: Bake | None = None,
        refiner: StreamRefiner | None = None,
        motion: Path | None = None,
    ) -> None:
        from nerfstudio_talking.inference.frames import own_track

        self.model, self._bake, self._refiner, self._motion = model, bake, refiner, motion
        self._portrait = own_track(model)

    @classmethod
    def load(
        cls,
        config: Path | str,
        device: str = "auto",
        bake: Literal["auto", "none"] | Path = "auto",
        refiner: Path | None = None,
        motion: Path | None = None,
        data: Path | None = None,
    ) -> PortraitDriver:
        """Load a trained portrait.

        Args:
            config: the config.yml that `ns-train` wrote.
            device: 'cpu', 'cuda', 'cuda:1' ...; 'auto' takes a GPU where there is one.
            bake: the file of `ns-talking bake`; 'auto' takes the one beside config.yml on machines without a GPU, if
                there is one; 'none' renders in full.
            refiner: config.yml of a refiner (`ns-train memory-gan`) that every frame passes through.
            motion: for `pose="generated"`: a personal motion model, or a motion track made from the same audio.
            data: the portrait's dataset folder, where it is no longer the one of its training.

        Raises:
            TalkingError: a file is missing or is something else, or there is no such device.
        """
        from nerfstudio_talking.inference.checkpoints import find_bake, load_portrait

        config = Path(config)
        if motion is not None and not Path(motion).is_file():
            hint = "Make one with `ns-talking motion finetune`, or `ns-talking motion generate`."
            raise TalkingError(motion, expected="a personal motion model or track", found="no such file", hint=hint)
        _, model = load_portrait(config, data)
        if device != "auto":
            try:
                model.to(device)
            except (RuntimeError, AssertionError) as error:
                found = str(error).split("\n")[0]
                hint = "Name another device, or 'auto'."
                raise TalkingError(f"device {device}", expected="a device of torch", found=found, hint=hint) from error
        loaded = find_bake(model, config, bake)
        if loaded is not None:
            model.to("cpu")
        network = None
        if refiner is not None:
            from nerfstudio_talking.inference.refiner import load_refiner

            network = load_refiner(Path(refiner), config, model.track.digest).to(model.device)
        return cls(model, loaded, network, None if motion is None else Path(motion))

    @property
    def track(self) -> TalkingTrack:
        """The portrait's own track: what was recorded."""
        return self._portrait

    @property
    def motion(self) -> Path | None:
        """The motion model or track of `pose="generated"`."""
        return self._motion

    @property
    def fps(self) -> float:
        """Frames per second: those of the clip that the portrait was trained on."""
        return self._portrait.fps

    def origin(self, audio_digest: str | None = None) -> VideoOrigin:
        """What a video's credentials say of this portrait, and of the audio that it speaks (its SHA-256)."""
        from nerfstudio_talking.provenance.credentials import VideoOrigin

        return VideoOrigin(type(self.model).__name__, self._portrait.digest, audio_digest)

    def frame_size(self, scale: float = 1.0) -> tuple[int, int]:
        """Width and height in pixels of the frames, even numbers."""
        if not scale > 0:
            raise TalkingError(f"scale {scale}", expected="a positive number", found=str(scale), hint="1 is usual.")
        camera = self._portrait.camera
        width, height = (max(2, round(side * scale / 2) * 2) for side in (camera.width, camera.height))
        return width, height

    def num_frames(self, audio: Audio) -> int:
        """Frames that an audio lasts. A file is read once, in constant memory.

        Raises:
            TalkingError: the file cannot be read, or is shorter than a frame.
        """
        count = sum(len(block) for block in audio_blocks(audio))
        if round(count / RATE * self.fps) < 1:
            raise too_short(audio, count, self.fps)
        return round(count / RATE * self.fps)

    def drive(
        self,
        audio: Audio,
        pose: PoseMode | Literal["generated"] = "ping-pong",
        smoothing: float = 1.0,
        scale: float = 1.0,
        seed: int = 0,
        audio_features: Path | None = None,
        normalization: NormalizationMode = "adapt",
        mouth_gain: float = 1.0,
    ) -> Iterator[Frame]:
        """Frames of the portrait speaking an audio, `fps` per second, in constant memory for audio of any length.

        What grows with the audio: generated motion by 0.2 kB per frame, and the array of `audio_features`.

        Args:
            audio: a file, or 16 kHz mono samples.
            pose: how the recorded head motion is arranged to the length of the audio: forth and back, again from the
                front, or held at its end. 'generated' takes it from the driver's `motion`; a file is then read whole.
            smoothing: standard deviation in frames of the smoothing of the poses of head and body; 0 for none.
            scale: size of the frames relative to the recording.
            seed: of the motion that a model generates.
            audio_features: .npy array with one row per frame, for portraits trained on ready-made arrays.
            normalization: 'adapt' lets features and mouth follow the voice, 'clip' keeps the clip's.
            mouth_gain: factor of the mouth's motion about its rest; 1 shows it as predicted.

        Raises:
            TalkingError: the audio cannot be read, is shorter than a frame, or does not fit the portrait. What concerns
                the options is raised at once, the rest while iterating.
        """
        _check_option("pose", pose, ("ping-pong", "replay", "hold", "generated"))
        if pose == "generated" and self._motion is None:
            raise TalkingError(
                "pose 'generated'",
                expected="a motion model or track",
                found="none",
                hint="Load the driver with motion=..., made by `ns-talking motion finetune`.",
            )
        name = "the samples" if isinstance(audio, np.ndarray) else str(audio)
        if pose == "generated":
            samples = whole_audio(audio)
            make_track = self._generated_tracks(samples, seed, smoothing)
            audio = samples
        else:
            make_track = self._arranged_tracks(pose, smoothing)
        player = self._player(make_track, scale, mouth_gain, normalization if audio_features is None else "clip")
        if audio_features is not None:
            frames = self._play_array(Path(audio_features), audio, player)
        else:
            frames = self._play(audio, self.windows(normalization, live=False), player)
        return self._listening(frames, player, name)

    def stream(
        self,
        pose: PoseMode = "ping-pong",
        smoothing: float = 1.0,
        scale: float = 1.0,
        normalization: NormalizationMode = "adapt",
        mouth_gain: float = 1.0,
        make_track: MakeTrack | None = None,
    ) -> PortraitStream:
        """A stream that audio is pushed into as it arrives; see `PortraitStream`. Arguments as of `drive`.

        Args:
            make_track: makes the track of frames in place of `pose` and `smoothing`; `mouth_activity` of what it makes
                multiplies that of the voice.

        Raises:
            TalkingError: the pose is 'generated', which needs the whole audio, or the portrait's audio features are
                made by other programs.
        """
        from nerfstudio_talking.inference.stream import PortraitStream

        hint = "Generated motion needs the whole audio before the first frame: use drive()."
        _check_option("pose", pose, ("ping-pong", "replay", "hold"), hint)
        player = self._player(make_track or self._arranged_tracks(pose, smoothing), scale, mouth_gain, normalization)
        return PortraitStream(self.windows(normalization, live=True), player, self.fps)

    def write_video(
        self,
        audio: Audio,
        output: Path | str,
        crf: float = 18,
        advance: Callable[[], object] | None = None,
        sign_with: SigningKey | None = None,
        **options: Any,
    ) -> int:
        """Drive the portrait into an mp4 with the audio, one frame being written while the next is rendered.

        Frames are watermarked; the file is signed where c2pa-python is installed.

        Args:
            audio: as of `drive`.
            output: the file to write; there is none where something fails.
            crf: H.264 quality, 0 to 51: lower is better and larger.
            advance: called after each frame.
            sign_with: key of the Content Credentials; this machine's where None.
            options: of `drive`.

        Returns:
            The number of frames.

        Raises:
            TalkingError: as of `drive`, or the file cannot be written.
        """
        from nerfstudio_talking.media.write_behind import write_behind
        from nerfstudio_talking.media.writing import VideoWriter
        from nerfstudio_talking.provenance.credentials import signed_by
        from nerfstudio_talking.provenance.watermark import mark_frame

        finish = signed_by(self.origin(audio_digest(audio)), Path(output), sign_with)
        frames = self.drive(audio, **options)
        size = self.frame_size(options.get("scale", 1.0))
        with VideoWriter(output, self.fps, *size, audio=written_audio(audio), crf=crf, finish=finish) as writer:

            def write(frame: Frame) -> None:
                writer.write(mark_frame(frame))
                if advance is not None:
                    advance()

            return write_behind(frames, write)

    @cached_property
    def _normalization(self) -> FeatureNormalization:
        """That of the clip: from the checkpoint, the dataset, or its audio."""
        from nerfstudio_talking.audio.extract import extract_features
        from nerfstudio_talking.media.reading import read_audio

        track = self.model.sequence.track
        stored = self.model.audio_normalization.value() or track.audio_normalization
        if stored is None and track.audio_path is not None and track.audio_path.is_file():
            samples = read_audio(track.audio_path)
            count = round(len(samples) / RATE * track.fps)
            stored = extract_features(samples, track.fps, count, track.audio_kind).normalization
        if stored is None:
            raise TalkingError(
                "the portrait's audio features",
                expected="the normalisation they were made with, or the clip's audio",
                found="neither",
                hint="Process the video again (`ns-talking process`) and train on that.",
            )
        return stored

    @cached_property
    def _speech_encoder(self) -> SpeechEncoder | None:
        from nerfstudio_talking.audio.features.registry import find_computed_kind

        return find_computed_kind(self._portrait.audio_kind).load()

    def windows(self, normalization: NormalizationMode, live: bool) -> AudioWindows:
        """Computes the features of an audio, normalised as by `drive`; live in short blocks."""
        from nerfstudio_talking.audio.features.registry import find_feature_kind
        from nerfstudio_talking.audio.streaming import AudioWindows

        _check_option("normalization", normalization, ("adapt", "clip"))
        kind = self._portrait.audio_kind
        if not find_feature_kind(kind).is_computable:
            raise TalkingError(
                f"the portrait's audio features '{kind}'",
                expected="features that are computed from audio here",
                found="an array that another program made",
                hint="Make it for this audio as for the clip, and give its path: drive(..., audio_features=X.npy).",
            )
        return AudioWindows(kind, self._normalization, self.fps, normalization, live, self._speech_encoder)

    def _arranged_tracks(self, pose: PoseMode, smoothing: float) -> MakeTrack:
        from nerfstudio_talking.motion.driving_track import driving_track

        return lambda first, windows: driving_track(self._portrait, windows, pose, smoothing, first)

    def _generated_tracks(self, samples: np.ndarray, seed: int, smoothing: float) -> MakeTrack:
        from nerfstudio_talking.motion.generation import generated_motion_track

        assert self._motion is not None
        count = self.num_frames(samples)
        whole = generated_motion_track(self._portrait, self._motion, samples, count, seed, smoothing)
        return lambda first, windows: whole.span(first, first + len(windows)).replace(audio=windows)

    def _player(
        self, make_track: MakeTrack, scale: float, mouth_gain: float, normalization: NormalizationMode
    ) -> FramePlayer:
        from nerfstudio_talking.inference.frames import frame_renderer
        from nerfstudio_talking.inference.mouth_adaptation import mouth_adapter
        from nerfstudio_talking.inference.stream import FramePlayer

        if mouth_gain != 1 and self.model.mouth_shape_predictor is None:
            raise TalkingError(
                f"mouth gain {mouth_gain}",
                expected="a portrait that is conditioned on a mouth shape",
                found="one that is conditioned on a free audio code",
                hint="Train it on a clip with landmarks and with audio_condition mouth_shape, or leave the gain at 1.",
            )
        render = frame_renderer(self.model, self._portrait, self._bake, *self.frame_size(scale))
        if self._refiner is not None:
            from nerfstudio_talking.inference.refiner import refined

            render = refined(self._refiner, render)
        return FramePlayer(make_track, render, mouth_gain, mouth_adapter(self.model, normalization))

    def _listening(self, frames: Iterator[Frame], player: FramePlayer, name: str) -> Iterator[Frame]:
        """The same frames, and a word after them where nobody spoke."""
        yield from frames
        if not player.has_spoken and self.model.mouth_shape_predictor is not None:
            CONSOLE.print(escape(f"No speech was found in {name}: the mouth stayed at rest."), style="yellow")

    def _play(self, audio: Audio, windows: AudioWindows, player: FramePlayer) -> Iterator[Frame]:
        from nerfstudio_talking.inference.stream import PortraitStream

        stream, count = PortraitStream(windows, player, self.fps), 0
        for block in audio_blocks(audio):
            count += len(block)
            stream.push(block)
            for _, frame in stream.ready():
                yield frame
        stream.close()
        for _, frame in stream.ready():
            yield frame
        if player.num_played == 0:
            raise too_short(audio, count, self.fps)

    def _play_array(self, path: Path, audio: Audio, player: FramePlayer) -> Iterator[Frame]:
        from nerfstudio_talking.audio.extract import extract_features
        from nerfstudio_talking.audio.voice_activity import voice_activity

        num_frames = self.num_frames(audio)
        features = extract_features(np.zeros(0), self.fps, num_frames, str(path)).windows
        player.feed(features, voice_activity(whole_audio(audio), self.fps, num_frames))
        player.finish()
        yield from player.frames()


def _check_option(name: str, value: str, choices: tuple[str, ...], hint: str = "Choose one of them.") -> None:
    if value not in choices:
        raise TalkingError(f"{name} '{value}'", expected=", ".join(choices), found=f"'{value}'", hint=hint)
