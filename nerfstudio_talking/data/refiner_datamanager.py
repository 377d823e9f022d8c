"""Datamanager of the refiner: windows of rendered frames with their ground truth, instead of rays."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import tyro
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.pixel_samplers import PixelSamplerConfig
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader, RandIndicesEvalDataloader
from nerfstudio.utils import comms
from torch import Tensor

from nerfstudio_talking.data.refiner_frames import load_rendered, renderer_digest
from nerfstudio_talking.data.talking_dataset import TalkingDataset
from nerfstudio_talking.dataset_io.sequence import TalkingSequence, load_parsing, load_sequence
from nerfstudio_talking.face.measurements import fill_gaps
from nerfstudio_talking.io.console import CONSOLE, get_progress
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
    """Folder (`ns-talking render-frames`) or video with one rendered frame for every frame of --data; without it the
    personal mesh is rendered with the person's texture."""
    also: tuple[Path, ...] = ()
    """Further datasets to train on, of other people."""
    also_rendered: tuple[Path, ...] = ()
    """Rendered frames of the further datasets, in the order of --also; their personal meshes where none is given."""
    arcface_weights: Path | None = None
    """ArcFace network as .onnx or TorchScript, for identity features; without it a small encoder is trained on the
    training frames. Identity features are needed only if the refiner has a memory."""
    face_only: bool = True
    """Whether only the region about the face is refined, instead of the whole image."""
    jitter: float = 0.2
    """Largest random shift of the region in training, as a share of its sides; above 0, half of the steps are mirrored
    too."""
    windows_per_batch: int = 1
    """Number of windows per training step; 1 as published."""
    seed: int = 0
    """Seed of the training batches and of the identity encoder."""
    # A step takes whole windows: options about rays have no effect and are hidden from --help. They stay because
    # `ns-render` writes to some of them.
    train_num_rays_per_batch: tyro.conf.Suppress[int] = 1024
    train_num_images_to_sample_from: tyro.conf.Suppress[int] = -1
    train_num_times_to_repeat_images: tyro.conf.Suppress[int] = -1
    eval_num_rays_per_batch: tyro.conf.Suppress[int] = 1024
    eval_num_images_to_sample_from: tyro.conf.Suppress[int] = -1
    eval_num_times_to_repeat_images: tyro.conf.Suppress[int] = -1
    eval_image_indices: tyro.conf.Suppress[tuple[int, ...] | None] = None
    patch_size: tyro.conf.Suppress[int] = 1
    pixel_sampler: tyro.conf.Suppress[PixelSamplerConfig] = field(default_factory=PixelSamplerConfig)


class _Person(NamedTuple):
    """One of the datasets to train on."""

    sequence: TalkingSequence
    source: Path | None
    """Where its rendered frames are; None for the personal mesh."""
    roi: Roi
    """The region of the image that is refined."""


class RefinerDataManager(VanillaDataManager[TalkingDataset]):
    """Draws windows of rendered frames, and passes all rendered frames to the model in the dataset's metadata.

    It stays a VanillaDataManager, whose rays it does not use, because `ns-render` accepts few other classes.
    """

    config: RefinerDataManagerConfig
    identity_dim: int = 0
    """Number of channels of the identity features; 0 where none are needed. The pipeline sets it."""

    def __init__(self, config: RefinerDataManagerConfig, *args: Any, **kwargs: Any) -> None:
        if len(config.also_rendered) not in (0, len(config.also)):
            raise TalkingError(
                "--pipeline.datamanager.also",
                expected="as many renderings in --pipeline.datamanager.also-rendered, or none",
                found=f"{len(config.also)} datasets and {len(config.also_rendered)} renderings",
                hint="Name one folder or video for each further dataset, in the same order.",
            )
        self._pairs: list[PairedSequence] | None = None
        self._people: list[_Person] = []
        super().__init__(config, *args, **kwargs)

    def create_train_dataset(self) -> TalkingDataset:
        """The training frames. Their metadata hold `rendered`, all frames as rendered, and `known`: digest of the
        sequence, digest of its renderer and region, for each person."""
        dataset = super().create_train_dataset()
        config, sequence = self.config, dataset.sequence
        dataset.metadata["rendered"] = torch.from_numpy(load_rendered(config.rendered, sequence))
        if self.test_mode != "val":  # placeholders, which the checkpoint overwrites: no further dataset is read
            known = (sequence.track.digest, renderer_digest(config.rendered, sequence), WHOLE)
            dataset.metadata["known"] = [known] * (1 + len(config.also))
            return dataset
        share = len(sequence.train_frames) / sequence.track.num_frames
        sources = config.also_rendered or [None] * len(config.also)
        others = [(load_sequence(folder, share), source) for folder, source in zip(config.also, sources)]
        self._people = [
            _Person(one, source, _face_region(one) if config.face_only else WHOLE)
            for one, source in [(sequence, config.rendered), *others]
        ]
        dataset.metadata["known"] = [
            (one.sequence.track.digest, renderer_digest(one.source, one.sequence), one.roi) for one in self._people
        ]
        return dataset

    def setup_train(self) -> None:
        """Read nothing yet: the pairs are read when the first batch is drawn, since evaluation needs none."""
        self._pairs = None

    def setup_eval(self) -> None:
        """Make nerfstudio's loaders of whole evaluation frames, without those of rays."""
        assert self.eval_dataset is not None
        options: Any = {"input_dataset": self.eval_dataset, "device": self.device, "num_workers": self.world_size * 4}
        self.fixed_indices_eval_dataloader = FixedIndicesEvalDataloader(**options)
        self.eval_dataloader = RandIndicesEvalDataloader(**options)

    def next_train(self, step: int) -> tuple[None, dict[str, Any]]:  # type: ignore[override]
        """No rays, and `batch`, a `Batch`. A discriminator step and the generator step after it get the same one."""
        self.train_count += 1
        # each process draws its own batches
        return None, {"batch": self.draw(step // 2 * comms.get_world_size() + comms.get_rank())}

    def draw(self, step: int) -> Batch:
        """The training batch of a number."""
        if self._pairs is None:
            self._pairs = self._read_pairs()
        config = self.config
        return draw_batch(self._pairs, step, config.windows_per_batch, config.seed, self.device, config.jitter)

    def get_train_rays_per_batch(self) -> int:
        """Pixels of a training step, from which nerfstudio reports its speed."""
        assert self.train_dataset is not None
        track = self.train_dataset.sequence.track
        return self.config.windows_per_batch * track.height * track.width

    def _read_pairs(self) -> list[PairedSequence]:
        assert self.train_dataset is not None
        renderings: list[Tensor] = [self.train_dataset.metadata["rendered"]]
        for one in self._people[1:]:
            renderings.append(torch.from_numpy(load_rendered(one.source, one.sequence)))
        sequences = [one.sequence for one in self._people]
        gt_videos = [torch.from_numpy(_read_gt(sequence)) for sequence in sequences]
        features = self._identity_features(sequences, gt_videos)
        return [
            PairedSequence(rendered, gt, one.sequence.train_frames, feature, one.roi)
            for one, rendered, gt, feature in zip(self._people, renderings, gt_videos, features)
        ]

    def _identity_features(self, sequences: list[TalkingSequence], gt_videos: list[Tensor]) -> list[Tensor]:
        """Identity features of every sequence's training frames; of no channels where none are needed."""
        dim = self.identity_dim
        if dim == 0:
            return [torch.zeros(len(gt), 0) for gt in gt_videos]
        faces = [_align_training_faces(sequence, gt.numpy()) for sequence, gt in zip(sequences, gt_videos)]
        lengths = [len(rows) for rows in faces]
        all_faces = np.concatenate(faces)
        weights = self.config.arcface_weights
        with get_progress("Identity features") as progress:
            task = progress.add_task("Identity features", total=len(all_faces) // 32 + 1 if weights else 150)
            if weights is not None:
                features = identity.encode_with_arcface(weights, all_faces, lambda: progress.advance(task))
                if features.shape[1] != dim:
                    raise TalkingError(
                        weights,
                        expected=f"features of {dim} channels",
                        found=str(features.shape[1]),
                        hint=f"Train with --pipeline.model.network.identity-dim {features.shape[1]}.",
                    )
            else:
                numbers = np.repeat(np.arange(len(sequences)), lengths)
                seconds = np.concatenate([sequence.train_frames / sequence.track.fps for sequence in sequences])
                seed = self.config.seed
                encoder = identity.train_identity_encoder(
                    all_faces, numbers, seconds, dim, seed=seed, advance=lambda: progress.advance(task)
                )
                features = identity.encode_faces(encoder, all_faces)
        return list(features.split(lengths))


def _read_gt(sequence: TalkingSequence) -> np.ndarray:
    """The training frames of a sequence, (frames, height, width, 3) uint8."""
    track = sequence.track
    frames = np.empty((len(sequence.train_frames), track.height, track.width, 3), dtype=np.uint8)
    for row, frame in enumerate(sequence.train_frames):
        frames[row] = read_image(sequence.image_paths[frame], "RGB")
    return frames


def _face_region(sequence: TalkingSequence) -> Roi:
    """The region about the faces of the training frames; the whole image where they are not to be seen."""
    if sequence.parsing_paths is None:
        return WHOLE
    track = sequence.track
    whole = (0.0, 0.0, float(track.width), float(track.height))
    boxes = [boxes_from_parsing(load_parsing(sequence, int(frame)))["face"] or whole for frame in sequence.train_frames]
    return face_roi(torch.tensor(boxes), track.height, track.width)


def _align_training_faces(sequence: TalkingSequence, gt: np.ndarray) -> np.ndarray:
    """Aligned faces of the training frames; the resized frames where the sequence has no landmarks."""
    landmarks = sequence.track.landmarks
    if landmarks is not None and landmarks.shape[1] in (68, 478) and np.isfinite(landmarks).any():
        points = fill_gaps(landmarks.astype(np.float64))[sequence.train_frames]
        return identity.align_faces(list(gt), points)
    import cv2

    CONSOLE.print("[yellow]The sequence has no landmarks: identity features are made from whole frames.[/]")
    return np.stack([cv2.resize(frame, (identity.CROP,) * 2, interpolation=cv2.INTER_AREA) for frame in gt])
