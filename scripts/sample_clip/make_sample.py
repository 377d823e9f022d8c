"""Make the sample clip: the astronaut photograph moves its head, talks and blinks, and every parameter is known.

    python scripts/sample_clip/make_sample.py              the clip and its ground truth from the committed voices
    python scripts/sample_clip/make_sample.py --voices     the voices too (needs espeak-ng)

Writes into tests/data/sample; see the README there. The ground truth is reproduced byte by byte, the clip depends on
the version of the encoder.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import sample_layers
import skimage.data
import soundfile
from sample_face import FOCAL, PIVOT, SIZE, Face, build_face
from sample_render import Painter
from sample_voice import RATE, make_voices, mouth_curves
from scipy.spatial.transform import Rotation

from nerfstudio_talking.face.tracking import track_faces
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.writing import VideoWriter

FPS, FRAMES = 25, 250
FOLDER = Path(__file__).resolve().parents[2] / "tests" / "data" / "sample"
LAYER_EVERY = 25
_SEED = 7
_CRF = 17
_BLINKS = ((0.5, 1.0, 1.0, 0.7, 0.3), (0.35, 0.9, 1.0, 0.8, 0.5, 0.2), (0.3, 0.8, 1.0, 1.0, 0.75, 0.45, 0.2))
"""Closure of the lids, frame by frame."""


def waves(
    rng: np.random.Generator, most: float, slowest: float = 0.11, fastest: float = 0.55, count: int = 5
) -> np.ndarray:
    """A smooth pseudo-random curve over the frames, at most `most` away from 0; rates in hertz."""
    rates = np.linspace(slowest, fastest, count) * rng.uniform(0.85, 1.15, count)
    phases = rng.uniform(0.0, 2.0 * np.pi, count)
    time = np.arange(FRAMES) / FPS
    curve = sum(
        np.sin(2.0 * np.pi * rate * time + phase) / (1 + k) for k, (rate, phase) in enumerate(zip(rates, phases))
    )
    return np.asarray(most * curve / np.abs(curve).max())


def head_motion(face: Face, rng: np.random.Generator) -> np.ndarray:
    """Head to camera [frames, 3, 4]: rotations about the neck, around the pose of the photograph."""
    angles = np.stack([waves(rng, 12.0), waves(rng, 6.0), waves(rng, 4.0)], axis=-1)
    shifts = np.stack([waves(rng, 0.004), waves(rng, 0.002), waves(rng, 0.008)], axis=-1)
    rotations = Rotation.from_euler("YXZ", angles, degrees=True).as_matrix() @ face.rotation
    pivot = np.array(PIVOT)
    translations = face.rotation @ pivot + face.translation - rotations @ pivot + shifts
    return np.concatenate([rotations, translations[:, :, None]], axis=2)


def blinks(rng: np.random.Generator) -> np.ndarray:
    """Closure of the right and left lid [frames, 2]: blinks of 5 to 7 frames, 2 to 3 s apart, slow changes between."""
    closure = np.zeros((FRAMES, 2))
    start = 0.9
    while (first := round(start * FPS)) < FRAMES - 8:
        shape = np.array(_BLINKS[rng.integers(len(_BLINKS))])
        closure[first : first + len(shape), 0] = shape
        closure[first : first + len(shape), 1] = shape * (1.0 - 0.06 * (shape < 1))
        start += rng.uniform(2.0, 2.9)
    drift = 0.05 + waves(rng, 0.05)
    return np.maximum(closure, drift[:, None])


def camera_to_worlds(head: np.ndarray) -> np.ndarray:
    """The camera in the head's frame [frames, 3, 4], OpenGL axes, metres."""
    rotation = head[:, :, :3].transpose(0, 2, 1)
    return np.concatenate([rotation, -rotation @ head[:, :, 3:]], axis=2)


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a compressed .npz without time stamps: equal arrays give equal bytes."""
    part = path.with_name(path.name + ".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, value in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, value, allow_pickle=False)
            member = zipfile.ZipInfo(name + ".npy", (1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, buffer.getvalue())
    os.replace(part, path)


def make_clip(folder: Path) -> None:
    """Write sample.mp4 and ground_truth.npz beside the voices."""
    voice, rate = soundfile.read(folder / "voice.flac", dtype="float32")
    if rate != RATE:
        raise TalkingError(folder / "voice.flac", expected=f"{RATE} Hz", found=f"{rate} Hz", hint="Pass --voices.")
    phonemes = [(start, symbol) for start, symbol in json.loads((folder / "voice.json").read_text("utf-8"))["phonemes"]]
    photograph = skimage.data.astronaut()
    landmarks = track_faces([photograph]).landmarks[0].astype(np.float64)
    face = build_face(landmarks)
    painter = Painter(face, sample_layers.split_photograph(photograph))

    rng = np.random.default_rng(_SEED)
    head = head_motion(face, rng)
    torso = np.stack([waves(rng, 1.5, fastest=0.3), waves(rng, 0.8, fastest=0.3)], axis=-1)
    closures = blinks(rng)
    opening, rounding = mouth_curves(voice, phonemes, FPS, FRAMES)
    layers = []
    with VideoWriter(folder / "sample.mp4", FPS, SIZE, SIZE, audio=(voice, rate), crf=_CRF) as writer:
        for i in range(FRAMES):
            image, seen = painter.frame(head[i], torso[i], opening[i], rounding[i], tuple(closures[i]))
            writer.write(image)
            if i % LAYER_EVERY == 0:
                layers.append(seen)
    save_arrays(
        folder / "ground_truth.npz",
        {
            "fps": np.array(float(FPS)),
            "focal": np.array(FOCAL),
            "camera_to_worlds": camera_to_worlds(head).astype(np.float32),
            "lips": opening.astype(np.float32),
            "rounding": rounding.astype(np.float32),
            "eyes": (1.0 - closures).astype(np.float32),
            "torso_shift": torso.astype(np.float32),
            "shape": face.shape.astype(np.float32),
            "layer_frames": np.arange(0, FRAMES, LAYER_EVERY),
            "layers": np.stack(layers),
        },
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voices", action="store_true", help="make the voices again with espeak-ng")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the results")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.voices:
        make_voices(options.output)
    make_clip(options.output)


if __name__ == "__main__":
    main()
