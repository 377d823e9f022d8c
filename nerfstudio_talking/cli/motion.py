"""`ns-talking motion`: head motion, expression and blinks from audio."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

import tyro
from rich.markup import escape

from nerfstudio_talking.io.console import CONSOLE, get_progress
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import require_writable

if TYPE_CHECKING:
    from nerfstudio_talking.motion.model import MotionModel
    from nerfstudio_talking.motion.training import Advance


@dataclass
class MotionTrain:
    """Train the general motion model on datasets of several people. An interrupted run resumes when it is run again."""

    data: list[Path]
    """Paths of the dataset folders to train on, written by `ns-talking process`."""
    output: Path
    """Path of the model to write."""
    epochs: int = 60
    """Number of passes over the frames."""
    expression: int = 16
    """Number of coefficients of the face basis."""
    seed: int = 0
    """Seed of initial weights, augmentation, dropout and the order of the frames."""

    def main(self) -> None:
        """Train and write the model."""
        from nerfstudio_talking.motion.learning import LearningOptions
        from nerfstudio_talking.motion.model import save_model
        from nerfstudio_talking.motion.recording import load_recording
        from nerfstudio_talking.motion.training import GeneralConfig, clear_work, train_general

        _check_range("--epochs", self.epochs)
        _check_range("--expression", self.expression, 2, 64)
        begin = time.monotonic()
        recordings = [load_recording(folder) for folder in self.data]
        config = GeneralConfig(expression=self.expression, learning=LearningOptions(epochs=self.epochs, seed=self.seed))
        require_writable(self.output)
        work = _work_folder(self.output)
        with _epochs() as advance:
            model, history = train_general(recordings, config, work, advance)
        totals = [sum(losses.values()) for losses in history.held_out]
        best = min(range(len(totals)), key=totals.__getitem__)
        model.record = {
            "data": [f"{r.name} {r.digest}" for r in recordings],
            "seed": self.seed,
            "epoch": best + 1,
            "held_out": history.held_out[best],
        }
        save_model(model, self.output)
        clear_work(work)
        _print_losses(history.held_out[best], f"Held-out losses, best epoch {best + 1} of {len(totals)}")
        CONSOLE.print(
            f"[green]Wrote {escape(str(self.output))}: {len(recordings)} clip(s), "
            f"{sum(r.num_frames for r in recordings)} frames, {time.monotonic() - begin:.0f} s.",
            soft_wrap=True,
        )


@dataclass
class MotionFinetune:
    """Fine-tune a general model to one person. An interrupted run resumes when it is run again."""

    model: Path
    """Path of the general model."""
    data: Path
    """Path of the person's dataset folder."""
    output: Path
    """Path of the personal model to write."""
    frames: int | None = 300
    """Number of frames to use, from the first one on; None uses all."""
    epochs: int = 60
    """Greatest number of passes over the frames; cross-validation chooses how many are made."""
    seed: int = 0
    """Seed of augmentation, dropout and the order of the frames."""

    def main(self) -> None:
        """Train and write the model."""
        from nerfstudio_talking.motion.learning import LearningOptions
        from nerfstudio_talking.motion.model import load_model, save_model
        from nerfstudio_talking.motion.recording import load_recording
        from nerfstudio_talking.motion.training import PersonalConfig, clear_work, fine_tune

        _check_range("--epochs", self.epochs)
        begin = time.monotonic()
        general = load_model(self.model)
        recording = load_recording(self.data, self.frames)
        config = PersonalConfig(
            learning=LearningOptions(epochs=self.epochs, learning_rate=5e-4, save_every=10, seed=self.seed)
        )
        require_writable(self.output)
        work = _work_folder(self.output)
        with _epochs() as advance:
            model, metrics = fine_tune(general, recording, config, work, advance)
        model.record |= {"person": f"{recording.name} {recording.digest}", "fine_tuning": metrics}
        save_model(model, self.output)
        clear_work(work)
        _print_losses(metrics["held_out"], f"Held-out losses over {config.folds} blocks, epoch {metrics['epochs']}")
        CONSOLE.print(
            f"[green]Wrote {escape(str(self.output))}: {recording.num_frames} frames, "
            f"{metrics['blinks_per_minute']:.0f} blinks per minute, {time.monotonic() - begin:.0f} s.",
            soft_wrap=True,
        )


@dataclass
class MotionGenerate:
    """Generate the motion of a person who speaks an audio file, as a motion track."""

    model: Path
    """Path of the personal model."""
    audio: Path
    """Path of the audio to speak: any file that holds audio."""
    output: Path
    """Path of the motion track (.npz) to write."""
    fps: float = 25.0
    """Frame rate of the motion track, frames per second."""
    seed: int = 0
    """Seed of the random head motion and of the blinks."""

    def main(self) -> None:
        """Generate and write the motion track."""
        from nerfstudio_talking.media.reading import read_audio
        from nerfstudio_talking.motion.generation import generate_motion, save_motion
        from nerfstudio_talking.motion.model import load_model

        if not 1 <= self.fps <= 120:
            raise TalkingError(f"--fps {self.fps:g}", expected="1 to 120", found=f"{self.fps:g}", hint="25 is usual.")
        if self.output.suffix != ".npz":
            raise TalkingError(self.output, expected="a name ending in .npz", found="another", hint="Rename it.")
        model = load_model(self.model, personal=True)
        require_writable(self.output)
        motion = generate_motion(model, read_audio(self.audio), self.fps, seed=self.seed)
        save_motion(motion, self.output)
        CONSOLE.print(
            f"[green]Wrote {escape(str(self.output))}: {motion.num_frames} frames at {self.fps:g} per second, "
            f"seed {self.seed}.",
            soft_wrap=True,
        )


@dataclass
class MotionShow:
    """Export the personal face: the mesh of one frame (.ply, .obj), or a video of the mesh over the clip (.mp4)."""

    model: Path
    """Path of the personal model."""
    data: Path
    """Path of the person's dataset folder."""
    output: Path
    """Path of the file to write; its suffix chooses between mesh and video."""
    frame: int = 0
    """Number of the frame whose mesh is written."""
    motion: Path | None = None
    """Path of a motion track that is shown before the clip's background instead of the clip's own motion."""
    audio: Path | None = None
    """Path of the audio that belongs to the motion track; the video is silent without it."""

    def main(self) -> None:
        """Write the mesh or the video."""
        from nerfstudio_talking.face.mesh_export import write_mesh
        from nerfstudio_talking.motion.model import load_model

        model = load_model(self.model, personal=True)
        if self.output.suffix.lower() == ".mp4":
            self._write_video(model)
            return
        shapes, _ = self._faces(model)
        if not 0 <= self.frame < len(shapes):
            expected, hint = f"0 to {len(shapes) - 1}", "Choose a frame in that range."
            raise TalkingError(f"--frame {self.frame}", expected=expected, found=str(self.frame), hint=hint)
        write_mesh(shapes[self.frame], self.output)
        CONSOLE.print(f"[green]Wrote {escape(str(self.output))}.", soft_wrap=True)

    def _faces(self, model: MotionModel) -> tuple[Any, Any]:
        """Shapes and camera-to-world matrices to show."""
        from nerfstudio_talking.dataset_io.track import load_track
        from nerfstudio_talking.face.linear_face_model import camera_matrices, face_shapes
        from nerfstudio_talking.face.measurements import lid_closure, mean_eye_opening
        from nerfstudio_talking.motion.generation import load_motion

        face = model.face()
        if self.motion is not None:
            motion = load_motion(self.motion)
            return face.shapes(motion.expression, lid_closure(motion.eyes)), camera_matrices(motion.pose)
        track = load_track(self.data)
        shapes = face_shapes(track.landmarks, track.camera_to_worlds, track.camera)
        closure = lid_closure(mean_eye_opening(track.eyes))
        return face.shapes(face.encode(shapes), closure), track.camera_to_worlds

    def _write_video(self, model: MotionModel) -> None:
        from nerfstudio_talking.dataset_io.sequence import load_sequence
        from nerfstudio_talking.face.mesh_export import draw_mesh
        from nerfstudio_talking.media.images import read_image
        from nerfstudio_talking.media.reading import read_audio
        from nerfstudio_talking.media.writing import VideoWriter
        from nerfstudio_talking.motion.generation import load_motion

        sequence = load_sequence(self.data)
        track = sequence.track
        shapes, poses = self._faces(model)
        fps = track.fps if self.motion is None else load_motion(self.motion).fps
        audio = track.audio_path if self.motion is None else self.audio
        samples = None if audio is None else (read_audio(audio), 16000)
        size = (track.width // 2 * 2, track.height // 2 * 2)
        assert sequence.background is not None
        with (
            VideoWriter(self.output, fps, *size, audio=samples) as writer,
            get_progress("Drawing", suffix="frames/s") as progress,
        ):
            for frame in progress.track(range(len(shapes))):
                backdrop = (
                    sequence.background if self.motion is not None else read_image(sequence.image_paths[frame], "RGB")
                )
                drawn = draw_mesh(backdrop, shapes[frame], poses[frame], track.camera)
                writer.write(drawn[: size[1], : size[0]])
        CONSOLE.print(f"[green]Wrote {escape(str(self.output))}: {len(shapes)} frames.", soft_wrap=True)


@dataclass
class Motion:
    """Train and use models of a person's head motion, expression and blinks, driven by audio."""

    command: tyro.conf.OmitSubcommandPrefixes[
        Union[  # noqa: UP007 - tyro wants a Union of Annotated members
            Annotated[MotionTrain, tyro.conf.subcommand(name="train")],
            Annotated[MotionFinetune, tyro.conf.subcommand(name="finetune")],
            Annotated[MotionGenerate, tyro.conf.subcommand(name="generate")],
            Annotated[MotionShow, tyro.conf.subcommand(name="show")],
        ]
    ]

    def main(self) -> None:
        """Run the subcommand."""
        self.command.main()


def _work_folder(output: Path) -> Path:
    return output.with_name(output.name + ".work")


@contextmanager
def _epochs() -> Iterator[Advance]:
    """A progress bar per stage, with the latest held-out loss."""
    with get_progress("{task.description}", suffix="epochs/s") as progress:
        tasks: dict[str, Any] = {}

        def advance(stage: str, losses: dict[str, float], total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total)
            progress.update(tasks[stage], advance=1, description=f"{stage}: {sum(losses.values()):.4f}")

        yield advance


def _check_range(name: str, value: int, least: int = 1, most: int = 100_000) -> None:
    if not least <= value <= most:
        raise TalkingError(
            f"{name} {value}", expected=f"{least} to {most}", found=str(value), hint="Choose a value in that range."
        )


def _print_losses(losses: dict[str, float], title: str) -> None:
    CONSOLE.print(f"{title}: " + ", ".join(f"{name} {value:.4f}" for name, value in losses.items()), soft_wrap=True)
