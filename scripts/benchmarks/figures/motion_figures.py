"""Results of a personal motion model on the frames of its person that it has not seen.

    ns-talking motion train --data A B C --output general.pt
    ns-talking motion finetune --model general.pt --data PERSON --frames 300 --output person.pt
    python scripts/benchmarks/figures/motion_figures.py --general general.pt --personal person.pt \
        --data PERSON --others A B C --output results.json

Expression and lips: the model against the mean face, a copy of the training motion at random phases, and
the general model. Head motion: the distance of motion statistics (`motion.statistics`) from the held-out recording, of
generated motion over several seeds, of the training frames, and of other people's recordings; and how speed goes with
loudness.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from rich.table import Table

from nerfstudio_talking.dataset_io.track import AUDIO_NAME
from nerfstudio_talking.face.blinks import find_blinks
from nerfstudio_talking.face.landmark_sets import CHIN_POINTS, LIP_POINTS
from nerfstudio_talking.face.linear_face_model import FaceModel
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.files import write_json
from nerfstudio_talking.media.reading import read_audio
from nerfstudio_talking.metrics.functional.lip_motion import correlation, spread_ratio
from nerfstudio_talking.motion.generation import MotionTrack, generate_motion
from nerfstudio_talking.motion.model import MotionModel, load_model
from nerfstudio_talking.motion.recording import MOTION_FPS, Recording, load_recording
from nerfstudio_talking.motion.statistics import loudness_coupling, motion_statistics, statistics_distance

_MOUTH = [*LIP_POINTS, *CHIN_POINTS]
_PHASES = 40


@dataclass
class ScoreMotion:
    """Measure a personal motion model."""

    general: Path
    """The general model."""
    personal: Path
    """The personal model."""
    data: Path
    """The person's dataset folder."""
    output: Path
    """The JSON file to write."""
    others: tuple[Path, ...] = ()
    """Datasets of other people, for their motion statistics."""
    frames: int = 300
    """Frames the personal model was made from; the rest is held out."""
    seeds: int = 10
    """Generated motions."""

    def main(self) -> None:
        """Measure, write the results, print the tables."""
        general, personal = load_model(self.general), load_model(self.personal, personal=True)
        whole = load_recording(self.data)
        seen, unseen = whole.part(0, self.frames), whole.part(self.frames, whole.num_frames)
        samples = read_audio(self.data / AUDIO_NAME)
        results = {
            "held_out_frames": unseen.num_frames,
            "expression": score_expression(general, personal, whole, samples, self.frames),
            "motion": self.score_motion(personal, seen, unseen, whole, samples),
        }
        write_json(results, self.output)
        for title, rows in results.items():
            if isinstance(rows, dict):
                columns = list(dict.fromkeys(key for row in rows.values() for key in row))
                table = Table("", *columns, title=title)
                for name, row in rows.items():
                    table.add_row(name, *(f"{row[key]:.3f}" if key in row else "" for key in columns))
                CONSOLE.print(table)

    def score_motion(
        self, personal: MotionModel, seen: Recording, unseen: Recording, whole: Recording, samples: np.ndarray
    ) -> dict[str, dict[str, float]]:
        """Motion statistics, coupling with loudness, speed and blinks; distances are from the held-out recording."""
        count = unseen.num_frames
        made = [
            cut(generate_motion(personal, samples, MOTION_FPS, whole.num_frames, seed), self.frames)
            for seed in range(self.seeds)
        ]
        held_out, entire = motion_statistics(unseen.pose, MOTION_FPS), motion_statistics(whole.pose, MOTION_FPS)

        def row(motions: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
            each = [motion_statistics(pose, MOTION_FPS) for pose, _ in motions]
            parts = [statistics_distance(statistics, held_out) for statistics in each]
            result = {key: float(np.mean([part[key] for part in parts])) for key in parts[0]}
            result["to_whole_clip"] = float(np.mean([statistics_distance(s, entire)["distance"] for s in each]))
            couplings = [loudness_coupling(pose, level, MOTION_FPS) for pose, level in motions]
            result |= {"coupling": float(np.mean(couplings)), "coupling_spread": float(np.std(couplings))}
            speeds = [np.linalg.norm(np.diff(pose[:, :3], axis=0), axis=1).mean() for pose, _ in motions]
            result["degrees_per_second"] = float(np.degrees(np.mean(speeds)) * MOTION_FPS)
            return result

        rows = {
            "held-out recording": row([(unseen.pose, unseen.level)]),
            "training recording": row([(part.pose, part.level) for part in windows(seen, count)]),
            "generated": row([(motion.pose, unseen.level) for motion in made]),
        }
        rows["generated"]["blinks_per_minute"] = float(
            np.mean([len(find_blinks(motion.eyes, MOTION_FPS)) for motion in made]) * 60 * MOTION_FPS / count
        )
        blinks = len(find_blinks(whole.opening, MOTION_FPS))
        rows["held-out recording"]["blinks_per_minute"] = blinks * 60 * MOTION_FPS / whole.num_frames
        for folder in self.others:
            rows[f"recording of {folder.name}"] = row(
                [(part.pose, part.level) for part in windows(load_recording(folder), count)]
            )
        return rows


def score_expression(
    general: MotionModel, personal: MotionModel, whole: Recording, samples: np.ndarray, frames: int
) -> dict[str, dict[str, float]]:
    """Root mean square error of mouth and chin (mm) and correlation and spread of the lip opening, on the rest."""
    assert personal.person is not None
    face = FaceModel(personal.person.mean_shape, personal.basis)
    true = face.encode(whole.shapes)
    raw = {
        name: model.predict(whole.patches)[0][frames:]
        for name, model in (("general model", general), ("personal model", personal))
    }
    alone = personal.network.predict(torch.from_numpy(whole.patches)).double().numpy()[frames:, : personal.basis.count]
    generated = generate_motion(personal, samples, MOTION_FPS, whole.num_frames).expression[frames:]
    length = whole.num_frames - frames
    phases = np.random.default_rng(0).integers(0, frames, _PHASES)
    copies = [true[(phase + np.arange(length)) % frames] for phase in phases]

    def row(predicted: np.ndarray) -> dict[str, float]:
        moved = face.shapes(predicted)[:, _MOUTH, :2] - whole.shapes[frames:, _MOUTH, :2]
        opening, gt = face.lip_opening(predicted), whole.lips[frames:]
        return {
            "mouth_error_mm": float(1e3 * np.sqrt((moved**2).mean())),
            "lip_correlation": float(np.nan_to_num(correlation(opening, gt))),  # 0 for lips that stand still
            "lip_spread": spread_ratio(opening, gt),
        }

    copied = [row(copy) for copy in copies]
    return {
        "mean face": row(np.zeros_like(true[frames:])),
        "copy of the training motion": {key: float(np.mean([c[key] for c in copied])) for key in copied[0]},
        **{name: row(predicted) for name, predicted in raw.items()},
        "personal network alone": row(alone),
        "personal model as generated": row(generated),
        "tracked, through the basis": row(true[frames:]),
    }


def cut(motion: MotionTrack, start: int) -> MotionTrack:
    """The frames from `start` on."""
    names = ("pose", "expression", "lips", "eyes")
    return MotionTrack(motion.fps, **{name: getattr(motion, name)[start:] for name in names})


def windows(recording: Recording, length: int) -> list[Recording]:
    """Stretches of that length spread over a recording, or all of it where it is shorter."""
    last = recording.num_frames - length
    if last <= 0:
        return [recording]
    starts = np.unique(np.linspace(0, last, 4).astype(int))
    return [recording.part(int(start), int(start) + length) for start in starts]


if __name__ == "__main__":
    tyro.cli(ScoreMotion).main()
