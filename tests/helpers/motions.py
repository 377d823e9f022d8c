"""Voices, head motion, faces, models and datasets for the tests of motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import torch

from helpers.paths import SAMPLE
from nerfstudio_talking.audio.kernel_regression import AudioRegression
from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.track import TalkingTrack, save_track
from nerfstudio_talking.face.landmark_sets import CHIN_POINTS
from nerfstudio_talking.face.linear_face_model import (
    FaceModel,
    canonical_face,
    fit_face_basis,
    landmarks_of_shapes,
    lid_points,
)
from nerfstudio_talking.face.measurements import lip_distance
from nerfstudio_talking.media.reading import read_audio
from nerfstudio_talking.motion.audio_features import loudness
from nerfstudio_talking.motion.blinks import Blinking
from nerfstudio_talking.motion.head_process import fit_head_process
from nerfstudio_talking.motion.model import MotionModel, Person
from nerfstudio_talking.motion.network import MotionNetwork, MotionNetworkConfig

TINY = MotionNetworkConfig((2, 3, 4, 4), 8, 8, 1, 0.1)


def make_voice(seconds: float, seed: int = 0, silent: tuple[float, float] | None = None) -> np.ndarray:
    """Noise in syllables and phrases, at 16 kHz; silent from one second to another."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * 16000)) / 16000
    syllables = np.clip(np.sin(2 * np.pi * 4 * time + 3 * np.sin(time)), 0, 1)
    phrases = np.sin(2 * np.pi * time / 5) > -0.7
    audio = 0.2 * syllables * phrases * rng.standard_normal(len(time))
    if silent is not None:
        audio[int(silent[0] * 16000) : int(silent[1] * 16000)] = 0
    return audio.astype(np.float32)


def sway_poses(frames: int, seed: int = 0) -> np.ndarray:
    """Poses of a head that sways at about half a hertz."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames) / 25
    pose = np.zeros((frames, 6))
    for axis, amplitude in enumerate((0.06, 0.08, 0.04, 0.01, 0.005, 0.01)):
        for frequency in rng.uniform(0.2, 1.2, 4):
            pose[:, axis] += 0.5 * amplitude * np.sin(2 * np.pi * frequency * time + rng.uniform(0, 6))
    return pose + np.array([0.1, -0.05, 0.02, 0.01, 0.0, -0.9])


def make_face_model(count: int = 5) -> tuple[FaceModel, np.ndarray]:
    """A face model of random smooth faces, and the faces."""
    rng = np.random.default_rng(1)
    mean = canonical_face()[0]
    directions = rng.standard_normal((8, 478, 3)) * (0.001, 0.001, 0.0)
    closure = rng.random(60)
    shapes = mean + np.einsum("fk,kpi->fpi", rng.standard_normal((60, 8)), directions)
    shapes[:, :, 1] -= closure[:, None] * 0.004 * np.isin(np.arange(478), lid_points())
    return FaceModel(shapes.mean(0), fit_face_basis([(shapes, closure)], count)), shapes


def make_motion_model(frames: int = 300) -> MotionModel:
    """A personal model with an untrained network."""
    face, _ = make_face_model()
    torch.manual_seed(0)
    network = MotionNetwork(TINY, 5).eval()
    pose, audio = sway_poses(frames), make_voice(frames / 25)
    process = fit_head_process(pose, pose, loudness(audio, 25, frames), 25)
    person = Person(
        name="someone",
        digest="d",
        mean_shape=face.mean,
        pose_mean=pose.mean(0),
        pose_scale=pose.std(0),
        pose_gain=np.full(6, 0.3),
        expression_gain=np.full(5, 1.2),
        expression_range=np.tile([[-2.0], [2.0]], 5),
        expression_rest=np.array([-1.5, 0, 0, 0, 0]),
        regression=AudioRegression(
            mean=np.zeros(336),
            std=np.ones(336),
            support=np.zeros((1, 336)),
            dual=np.zeros((1, 5)),
            slope=np.zeros(5),
            bias=np.ones(5),
            correlation=np.ones(5),
            error=np.ones(5),
        ),
        process=process,
        blinking=Blinking(18.0, np.array([0, 0.25, 0.8, 1, 0.7, 0.4, 0.2, 0.1, 0, 0]), 0.95, 0.05),
    )
    return MotionModel(network, TINY, face.basis, {"seed": 0}, person)


def write_sample_motion(folder: Path) -> Path:
    """Make a dataset folder of the sample's ground truth: face, poses and voice, without tracking and images."""
    with np.load(SAMPLE / "ground_truth.npz") as archive:
        gt = dict(archive)
    folder.mkdir(parents=True)
    camera = PinholeCamera(float(gt["focal"]), 256, 256)
    shapes = np.repeat(gt["shape"][None].astype(np.float64), 250, axis=0)
    lower = np.array([14, 17, 84, 87, 178, 181, 314, 317, 402, 405, *CHIN_POINTS])
    shapes[:, lower, 1] -= 0.089 * gt["lips"][:, None] - lip_distance(shapes[:1])[0]
    landmarks = landmarks_of_shapes(shapes, gt["camera_to_worlds"], camera)
    track = TalkingTrack(
        fps=25.0,
        camera=camera,
        camera_to_worlds=gt["camera_to_worlds"].astype(np.float32),
        audio=np.zeros((250, 16, 80), np.float32),
        audio_kind="logmel",
        eyes=gt["eyes"].astype(np.float32),
        lips=gt["lips"].astype(np.float32),
        landmarks=landmarks.astype(np.float32),
        digest="sample",
    )
    soundfile.write(folder / "audio.wav", read_audio(SAMPLE / "voice.flac"), 16000)
    save_track(track, folder)
    return folder
