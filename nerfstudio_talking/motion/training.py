"""Training of the general motion model on several people, and fine-tuning on a few hundred frames of one person."""

from __future__ import annotations

import copy
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from nerfstudio_talking.audio.kernel_regression import fit_audio_regression
from nerfstudio_talking.face.linear_face_model import fit_face_basis
from nerfstudio_talking.io.digests import weights_digest
from nerfstudio_talking.io.files import make_folder
from nerfstudio_talking.motion.blinks import fit_blinking
from nerfstudio_talking.motion.head_process import fit_head_process
from nerfstudio_talking.motion.learning import History, LearningOptions, Sample, train_network
from nerfstudio_talking.motion.model import MotionModel, Person, flatten_patches, make_sample
from nerfstudio_talking.motion.network import MotionNetwork, MotionNetworkConfig
from nerfstudio_talking.motion.recording import MOTION_FPS, Recording

Advance = Callable[[str, dict[str, float], int], Any]
"""Called after each epoch with the name of the stage, the latest losses, and the number of epochs."""


@dataclass
class GeneralConfig:
    """Options of the general model."""

    expression: int = 16
    """Number of coefficients of the face basis."""
    held_out: float = 0.15
    """Share of each clip, at its end, that is held out."""
    network: MotionNetworkConfig = field(default_factory=MotionNetworkConfig)
    """Widths of the network."""
    learning: LearningOptions = field(default_factory=LearningOptions)
    """Options of the training of the network."""


@dataclass
class PersonalConfig:
    """Options of fine-tuning."""

    folds: int = 4
    """Number of blocks for cross-validation, which chooses the number of epochs and the gains of the predictions."""
    order: int = 6
    """Order of the autoregression of head motion."""
    learning: LearningOptions = field(
        default_factory=lambda: LearningOptions(epochs=60, learning_rate=5e-4, save_every=10)
    )
    """Options of the training of the network."""


def train_general(
    recordings: list[Recording],
    config: GeneralConfig,
    work: Path | None = None,
    advance: Advance | None = None,
) -> tuple[MotionModel, History]:
    """Fit the face basis to several people and train the network on them.

    Args:
        recordings: one recording per clip.
        config: options.
        work: folder for checkpoints; none are written where None.
        advance: called after each epoch.
    """
    cuts = [round(r.num_frames * (1 - config.held_out)) for r in recordings]
    basis = fit_face_basis([(r.shapes[:cut], r.closure[:cut]) for r, cut in zip(recordings, cuts)], config.expression)
    train, held_out = [], []
    for recording, cut in zip(recordings, cuts):
        first = recording.pose[:cut]
        whole = make_sample(recording, basis, first.mean(0), np.maximum(first.std(0), 1e-6))
        train.append(Sample(whole.patches[:cut], whole.targets[:cut]))
        held_out.append(Sample(whole.patches[cut:], whole.targets[cut:]))
    torch.manual_seed(config.learning.seed)
    model = MotionModel(MotionNetwork(config.network, config.expression), config.network, basis)
    checkpoint = None if work is None else _checkpoint(work, "general", [asdict(config), *_names(recordings)])
    history, best = train_network(
        model.network,
        train,
        [sample for sample in held_out if len(sample.targets) > 0],
        model.importance(),
        config.learning,
        checkpoint,
        None if advance is None else partial(_report_epoch, advance, "general", config.learning.epochs),
    )
    model.network.load_state_dict(best)
    model.network.eval()
    return model, history


def fine_tune(
    general: MotionModel,
    recording: Recording,
    config: PersonalConfig,
    work: Path | None = None,
    advance: Advance | None = None,
) -> tuple[MotionModel, dict[str, Any]]:
    """Fine-tune the model to one person.

    Cross-validation over contiguous blocks chooses the number of epochs and the gains of predicted pose and expression,
    and gives the residual motion that the random process is fitted to. Then the network is trained on all frames for
    that many epochs.

    Returns:
        The personal model, and metrics of the held-out blocks.
    """
    pose_mean, pose_scale = recording.pose.mean(0), np.maximum(recording.pose.std(0), 1e-6)
    whole = make_sample(recording, general.basis, pose_mean, pose_scale)
    importance, frames = general.importance(), np.arange(recording.num_frames)
    names = [asdict(config), *_names([recording]), weights_digest(general.network)]

    def fit(stage: str, learned: list[Sample], measured: list[Sample], options: LearningOptions) -> Any:
        network = copy.deepcopy(general.network)
        history, _ = train_network(
            network,
            learned,
            measured,
            importance,
            options,
            None if work is None else _checkpoint(work, stage, [*names, options.stop]),
            None if advance is None else partial(_report_epoch, advance, stage, options.stop or options.epochs),
        )
        return network, history

    flat, count = flatten_patches(recording.patches), general.basis.count
    coefficients = whole.targets[:, :count].double().numpy()
    histories, regressed = [], []
    for fold, block in enumerate(np.array_split(frames, config.folds)):
        rest = [rows for rows in (frames[: block[0]], frames[block[-1] + 1 :]) if len(rows) > 0]
        learned = [Sample(whole.patches[rows], whole.targets[rows]) for rows in rest]
        histories.append(
            fit(f"block {fold + 1}", learned, [Sample(whole.patches[block], whole.targets[block])], config.learning)[1]
        )
        others = np.setdiff1d(frames, block)
        regression, _ = fit_audio_regression(flat[others], coefficients[others])
        regressed.append(regression.predict(flat[block]))
    curves = np.array([[sum(losses.values()) for losses in history.held_out] for history in histories])
    epochs = int(curves.mean(0).argmin()) + 1
    predicted = torch.cat([history.predictions[epochs - 1] for history in histories]).double().numpy()
    # stop early instead of training for fewer epochs: the schedule of the learning rate stays the same
    network, _ = fit("all", [whole], [], replace(config.learning, stop=epochs))
    network.eval()
    targets = whole.targets.double().numpy()
    both = 0.5 * (predicted[:, :count] + np.concatenate(regressed))
    blocks = np.array_split(frames, config.folds)
    pose_gain = shrinkage(demean(predicted[:, count:], blocks), demean(targets[:, count:], blocks))
    stretch, correlation = spread_gain(demean(both, blocks), demean(coefficients, blocks))
    residual = recording.pose - pose_gain * predicted[:, count:] * pose_scale
    person = Person(
        name=recording.name,
        digest=recording.digest,
        # with open eyes, from which closure is counted
        mean_shape=recording.shapes.mean(0) - recording.closure.mean() * general.basis.lid,
        pose_mean=pose_mean,
        pose_scale=pose_scale,
        pose_gain=pose_gain,
        expression_gain=stretch,
        expression_range=np.stack([coefficients.min(0), coefficients.max(0)]),
        expression_rest=coefficients[coefficients[:, 0] <= np.percentile(coefficients[:, 0], 10)].mean(0),
        regression=fit_audio_regression(flat, coefficients)[0],
        process=fit_head_process(recording.pose, residual, recording.level, MOTION_FPS, config.order),
        blinking=fit_blinking(recording.opening, MOTION_FPS),
    )
    last = {
        name: float(np.mean([h.held_out[epochs - 1][name] for h in histories])) for name in histories[0].held_out[0]
    }
    metrics = {
        "epochs": epochs,
        "held_out": last,
        "held_out_total": float(curves.mean(0)[epochs - 1]),
        "held_out_total_first_epoch": float(curves.mean(0)[0]),
        "expression_correlation": [round(float(r), 3) for r in correlation],
        "pose_gain": [round(float(g), 3) for g in pose_gain],
        "blinks_per_minute": person.blinking.rate,
    }
    model = MotionModel(network, general.network_config, general.basis, dict(general.record), person)
    return model, metrics


def demean(
    values: Float[np.ndarray, "frames columns"], blocks: list[Int[np.ndarray, " _"]]
) -> Float[np.ndarray, "rows columns"]:
    """Subtract from values the mean of their block.

    A model that was fitted without a block is biased away from the block's mean, which would lower correlations.
    """
    return np.concatenate([values[block] - values[block].mean(0) for block in blocks])


def shrinkage(
    predicted: Float[np.ndarray, "frames columns"], target: Float[np.ndarray, "frames columns"]
) -> Float[np.ndarray, " columns"]:
    """Least-squares factor of each held-out prediction, within [0, 1]; 0 where its correlation is at most 0.25, which
    chance reaches over a few independent ranges of frames.
    """
    a, b = predicted - predicted.mean(0), target - target.mean(0)
    correlation = (a * b).sum(0) / np.maximum(np.sqrt((a**2).sum(0) * (b**2).sum(0)), 1e-12)
    factor = np.clip((a * b).sum(0) / np.maximum((a**2).sum(0), 1e-12), 0.0, 1.0)
    return np.where(correlation > 0.25, factor, 0.0)


def spread_gain(
    predicted: Float[np.ndarray, "frames columns"], target: Float[np.ndarray, "frames columns"], most: float = 1.6
) -> tuple[Float[np.ndarray, " columns"], Float[np.ndarray, " columns"]]:
    """Factor, 1 to `most`, that stretches each prediction to its target's standard deviation; and their correlation.

    Least squares predicts lips that barely move. The factor is 1 where the correlation is at most 0.2.
    """
    a, b = predicted - predicted.mean(0), target - target.mean(0)
    spread, target_spread = a.std(0) + 1e-9, b.std(0) + 1e-9
    correlation = (a * b).mean(0) / (spread * target_spread)
    return np.where(correlation > 0.2, np.clip(target_spread / spread, 1.0, most), 1.0), correlation


def clear_work(work: Path) -> None:
    """Remove the checkpoints of a training that is done."""
    if work.is_dir():
        shutil.rmtree(work)


def _report_epoch(advance: Advance, stage: str, total: int, losses: dict[str, float]) -> None:
    advance(stage, losses, total)


def _checkpoint(work: Path, stage: str, names: list[Any]) -> Path:
    """A checkpoint path that is unique to the stage, options and data."""
    key = hashlib.sha256(repr(names).encode()).hexdigest()[:12]
    make_folder(work)
    return work / f"{stage.replace(' ', '-')}-{key}.pt"


def _names(recordings: list[Recording]) -> list[str]:
    return [f"{r.digest}:{r.num_frames}:{float(np.abs(r.pose).sum()):.9g}" for r in recordings]
