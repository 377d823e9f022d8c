"""Windows of rendered frames with their ground truth, instead of rays."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.utils import comms
from torch import Tensor

from nerfstudio_talking.data.refiner_frames import portrait_checkpoint, rendered_frames
from nerfstudio_talking.data.talking_dataset import TalkingDataset
from nerfstudio_talking.dataset_io.sequence import TalkingSequence, load_parsing, load_sequence
from nerfstudio_talking.face.measurements import fill_gaps
from nerfstudio_talking.io.console import CONSOLE, get_progress
from nerfstudio_talking.io.digests import file_digest
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.images import read_image
from nerfstudio_talking.metrics.regions import boxes_from_parsing
from nerfstudio_talking.refiner import identity
from nerfstudio_talking.refiner.network import Batch
from nerfstudio_talking.refiner.paired_dataset import PairedSequence, draw_batch
from nerfstudio_talking.refiner.roi import WHOLE, Roi, face_roi


@dataclass
class RefinerDataManagerConfig(VanillaDataManagerConfig):
    """Options of the refiner's data."""

    _target: type = field(default_factory=lambda: RefinerDataManager)
    """Target class to instantiate."""
    rendered: Path | None = None
    """config.yml of a trained portrait to render the clip from, or a folder or video of rendered frames, one for every
    frame of the clip. Without it the personal mesh is drawn with the person's texture."""
    rendered_cache: Path | None = None
    """Folder for the frames that a portrait renders; beside its config.yml where not given."""
    also: tuple[Path, ...] = ()
    """Datasets of more people to train on."""
    also_rendered: tuple[Path, ...] = ()
    """What --rendered is for --data, in the order of --also; their personal meshes where none is given."""
    arcface_weights: Path | None = None
    """ArcFace as .onnx or TorchScript, for identity features; without it a small encoder is trained on the frames."""
    face_only: bool = True
    """Whether the area about the face is refined, or the whole image."""
    jitter: float = 0.2
    """How far the area is shifted in training, at most, as a share of its sides; above 0, half of the steps see it
    mirrored, too."""
    colour_jitter: float = 0.15
    """How far the gain and the offset of each colour are changed in training, at most, in rendering and ground truth
    alike."""
    windows_per_batch: int = 1
    """Windows per step, or pairs of them where the change from frame to frame is learned; 1 as published."""
    seed: int = 0
    """Of the batches and of the identity encoder."""
    eval_num_images_to_sample_from: int = 1
    """Evaluation frames held as floats: nothing is drawn from them."""
    train_num_rays_per_batch: int = 1
    """Not used."""


class _Person(NamedTuple):
    """Somebody to train on."""

    sequence: TalkingSequence
    source: Path | None
    """Where the rendering comes from."""
    mouths: Tensor
    """Box of the mouth in each training frame, (frames, 4) pixels."""
    roi: Roi


class RefinerDataManager(VanillaDataManager[TalkingDataset]):
    """Draws windows of rendered frames. Hands the rendering to the model in the dataset's metadata."""

    config: RefinerDataManagerConfig
    identity_dim: int = 0
    """Channels of the identity features; 0 where none are needed."""
    successive: bool = False
    """Whether every window comes with that of the next frame."""

    def __init__(self, config: RefinerDataManagerConfig, *args: Any, **kwargs: Any) -> None:
        if len(config.also_rendered) not in (0, len(config.also)):
            raise TalkingError(
                "--pipeline.datamanager.also",
                expected="as many renderings in --pipeline.datamanager.also-rendered, or none",
                found=f"{len(config.also)} datasets and {len(config.also_rendered)} renderings",
                hint="Name one portrait, folder or video for each further dataset, in the same order.",
            )
        self._clips: list[PairedSequence] | None = None
        self._people: list[_Person] = []
        super().__init__(config, *args, **kwargs)

    def create_train_dataset(self) -> TalkingDataset:
        """The training frames; their metadata carry the whole clip as rendered, and by whom."""
        dataset = super().create_train_dataset()
        config, sequence = self.config, dataset.sequence
        frames = rendered_frames(config.rendered, sequence, config.rendered_cache)
        dataset.metadata["rendered"] = torch.from_numpy(frames)
        if self.test_mode != "val":  # not in training: the checkpoint tells, and no other dataset is needed
            known = (sequence.track.digest, _digest(config.rendered, sequence), WHOLE)
            dataset.metadata["known"] = [known] * (1 + len(config.also))
            return dataset
        share = len(sequence.train_frames) / sequence.track.num_frames
        sources = config.also_rendered or [None] * len(config.also)
        others = [(load_sequence(folder, share), source) for folder, source in zip(config.also, sources)]
        self._people = [self._person(*one) for one in [(sequence, config.rendered), *others]]
        dataset.metadata["known"] = [
            (one.sequence.track.digest, _digest(one.source, one.sequence), one.roi) for one in self._people
        ]
        return dataset

    def _person(self, sequence: TalkingSequence, source: Path | None) -> _Person:
        boxes = _boxes(sequence)
        track = sequence.track
        roi = face_roi(boxes["face"], track.height, track.width) if self.config.face_only else WHOLE
        return _Person(sequence, source, boxes["mouth"], roi)

    def setup_train(self) -> None:
        """Nothing yet: pairs are read when the first is asked for, since evaluation needs none."""
        self._clips = None

    def next_train(self, step: int) -> tuple[None, dict[str, Any]]:  # type: ignore[override]
        """No rays, and `batch`, a `Batch`: training steps come in pairs, one turn each, on the same windows."""
        self.train_count += 1
        # several processes share out the windows
        return None, {"batch": self.draw(step // 2 * comms.get_world_size() + comms.get_rank())}

    def draw(self, step: int) -> Batch:
        """A batch of training windows."""
        if self._clips is None:
            self._clips = self._pair()
        config = self.config
        return draw_batch(
            self._clips,
            step,
            config.windows_per_batch,
            config.seed,
            self.device,
            config.jitter,
            config.colour_jitter,
            self.successive,
        )

    def get_train_rays_per_batch(self) -> int:
        """Pixels of a step."""
        assert self.train_dataset is not None
        track = self.train_dataset.sequence.track
        return (1 + self.successive) * self.config.windows_per_batch * track.height * track.width

    def _pair(self) -> list[PairedSequence]:
        assert self.train_dataset is not None
        clips = [one.sequence for one in self._people]
        renderings: list[Tensor] = [self.train_dataset.metadata["rendered"]]
        for one in self._people[1:]:
            renderings.append(torch.from_numpy(rendered_frames(one.source, one.sequence, self.config.rendered_cache)))
        gt_videos = [torch.from_numpy(_gt(sequence)) for sequence in clips]
        features = self._identities(clips, gt_videos)
        return [
            PairedSequence(rendered, gt, one.sequence.train_frames, feature, one.mouths, one.roi)
            for one, rendered, gt, feature in zip(self._people, renderings, gt_videos, features)
        ]

    def _identities(self, clips: list[TalkingSequence], gt_videos: list[Tensor]) -> list[Tensor]:
        """Identity features of every clip's training frames."""
        dim = self.identity_dim
        if dim == 0:  # without a memory the generator is told nothing
            return [torch.zeros(len(gt), 0) for gt in gt_videos]
        faces = [_faces(sequence, gt.numpy()) for sequence, gt in zip(clips, gt_videos)]
        lengths = [len(rows) for rows in faces]
        every = np.concatenate(faces)
        weights = self.config.arcface_weights
        with get_progress("Identity features") as progress:
            task = progress.add_task("Identity features", total=len(every) // 32 + 1 if weights else 150)
            if weights is not None:
                features = identity.arcface_features(weights, every, lambda: progress.advance(task))
                if features.shape[1] != dim:
                    raise TalkingError(
                        weights,
                        expected=f"features of {dim} channels",
                        found=str(features.shape[1]),
                        hint=f"Train with --pipeline.model.network.identity-dim {features.shape[1]}.",
                    )
            else:
                numbers = np.repeat(np.arange(len(clips)), lengths)
                seconds = np.concatenate([sequence.train_frames / sequence.track.fps for sequence in clips])
                seed = self.config.seed
                encoder = identity.train_identity(
                    every, numbers, seconds, dim, seed=seed, advance=lambda: progress.advance(task)
                )
                features = identity.encode_faces(encoder, every)
        return list(features.split(lengths))


def _gt(sequence: TalkingSequence) -> np.ndarray:
    track = sequence.track
    frames = np.empty((len(sequence.train_frames), track.height, track.width, 3), dtype=np.uint8)
    for row, frame in enumerate(sequence.train_frames):
        frames[row] = read_image(sequence.image_paths[frame], "RGB")
    return frames


def _boxes(sequence: TalkingSequence) -> dict[str, Tensor]:
    """Face and mouth in the training frames, (frames, 4) each; the whole image where they are not to be seen."""
    whole = (0.0, 0.0, float(sequence.track.width), float(sequence.track.height))
    if sequence.parsing_paths is None:
        return dict.fromkeys(("face", "mouth"), torch.tensor(whole).repeat(len(sequence.train_frames), 1))
    boxes = [boxes_from_parsing(load_parsing(sequence, int(frame))) for frame in sequence.train_frames]
    return {name: torch.tensor([box[name] or whole for box in boxes]) for name in ("face", "mouth")}


def _faces(sequence: TalkingSequence, gt: np.ndarray) -> np.ndarray:
    """Aligned faces of the training frames, by the landmarks; the middle of the image where a clip has none."""
    landmarks = sequence.track.landmarks
    if landmarks is not None and landmarks.shape[1] in (68, 478) and np.isfinite(landmarks).any():
        points = fill_gaps(landmarks.astype(np.float64))[sequence.train_frames]
        return identity.aligned_faces(list(gt), points)
    import cv2

    CONSOLE.print("[yellow]The clip carries no landmarks: the whole image stands for the face.[/]")
    return np.stack([cv2.resize(frame, (identity.CROP,) * 2, interpolation=cv2.INTER_AREA) for frame in gt])


def _digest(source: Path | None, sequence: TalkingSequence) -> str:
    """What tells renderings apart: the portrait's weights, or the clip's where there is no portrait."""
    if source is not None and source.suffix.lower() in (".yml", ".yaml"):
        return file_digest(portrait_checkpoint(source))
    return sequence.track.digest
