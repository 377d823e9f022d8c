"""Tiny procedural datasets: a disc for a head whose mouth follows the audio, shoulders, and a striped wall."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID
from nerfstudio_talking.dataset_io.track import TalkingTrack, save_track


def moving_poses(count: int, distance: float = 0.8) -> np.ndarray:
    """Camera-to-world matrices of a head that turns a little to and fro."""
    angle = 0.15 * np.sin(np.arange(count) / 3)
    rotation = Rotation.from_rotvec(angle[:, None] * [0.0, 1.0, 0.0]).as_matrix()
    position = rotation @ np.array([0.0, 0.0, distance])
    return np.concatenate([rotation, position[:, :, None]], axis=2).astype(np.float32)


def draw_frame(pose: np.ndarray, opening: float, size: int, focal: float) -> tuple[np.ndarray, np.ndarray]:
    """Image (RGB) and class ids of a frame; the head is a disc of 0.1 m, the mouth an ellipse of height `opening`."""
    rows, columns = np.mgrid[:size, :size] + 0.5
    image = np.zeros((size, size, 3), np.uint8)
    image[..., 0] = 90 + 40 * (columns // 6 % 2)
    image[..., 2] = 150
    ids = np.zeros((size, size), np.uint8)
    torso = (np.abs(columns - size / 2) < size * 0.4) & (rows > size * 0.75)
    image[torso], ids[torso] = (40, 60, 120), CLASS_ID["cloth"]
    yaw = np.arctan2(pose[0, 3], pose[2, 3])
    centre = np.array([size / 2 - focal * 0.05 * np.sin(yaw) / 0.8, size * 0.45])
    radius = focal * 0.1 / 0.8
    x, y = (columns - centre[0]) / radius, (rows - centre[1]) / radius
    head = x**2 + y**2 < 1
    image[head], ids[head] = (210, 160, 130), CLASS_ID["skin"]
    hair = head & (y < -0.5)
    image[hair], ids[hair] = (60, 40, 30), CLASS_ID["hair"]
    for side in (-0.4, 0.4):
        eye = ((x - side) / 0.18) ** 2 + ((y + 0.2) / 0.1) ** 2 < 1
        image[eye], ids[eye] = (250, 250, 250), CLASS_ID["eyes"]
    mouth = (x / 0.4) ** 2 + ((y - 0.5) / (0.06 + 0.25 * opening)) ** 2 < 1
    image[mouth], ids[mouth] = (120, 20, 30), CLASS_ID["lips"]
    return image, ids


def draw_landmarks(pose: np.ndarray, opening: float, size: int, focal: float) -> np.ndarray:
    """68 landmarks of the frame: those of mouth, eyes and chin where they are, the others on the disc's rim."""
    yaw = np.arctan2(pose[0, 3], pose[2, 3])
    centre = np.array([size / 2 - focal * 0.05 * np.sin(yaw) / 0.8, size * 0.45])
    radius = focal * 0.1 / 0.8
    around = np.linspace(0, 2 * np.pi, 68)
    points = np.stack([np.cos(around), np.sin(around)], 1)
    ring = np.linspace(0, 2 * np.pi, 20, endpoint=False) + np.pi
    points[48:68] = np.stack([0.4 * np.cos(ring), 0.5 + (0.06 + 0.25 * opening) * np.sin(ring)], 1)
    points[62], points[66] = (0, 0.47 - 0.2 * opening), (0, 0.5 + 0.2 * opening)
    points[36], points[45] = (-0.55, -0.2), (0.55, -0.2)
    return points * radius + centre


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth texture, float32 RGB in levels of 255."""
    smooth = gaussian_filter(np.random.default_rng(seed).standard_normal((height, width, 3)), (2, 2, 0))
    return (128 + 30 * smooth / smooth.std()).clip(0, 255).astype(np.float32)


def speech_like(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mouth opening in [0, 1] and audio windows (count, 16, 80) that determine it."""
    rng = np.random.default_rng(seed)
    opening = 0.5 + 0.5 * np.sin(np.arange(count) * 0.9 + rng.uniform(0, 6))
    pattern = rng.standard_normal((16, 80))
    audio = opening[:, None, None] * pattern + 0.1 * rng.standard_normal((count, 16, 80))
    return opening, (audio / audio.std()).astype(np.float32)


def write_talking_dataset(folder: Path, frames: int = 22, size: int = 48, seed: int = 0) -> TalkingTrack:
    """A whole dataset folder of our own layout."""
    focal = 2.0 * size
    poses = moving_poses(frames)
    opening, audio = speech_like(frames, seed)
    for name in ("images", "parsing", "torso"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    landmarks = []
    for i in range(frames):
        image, ids = draw_frame(poses[i], opening[i], size, focal)
        Image.fromarray(image).save(folder / f"images/{i:06d}.jpg", quality=95)
        Image.fromarray(ids).save(folder / f"parsing/{i:06d}.png")
        landmarks.append(draw_landmarks(poses[i], opening[i], size, focal))
    image, ids = draw_frame(poses[0], 0.0, size, focal)
    wall = np.where((ids == 0)[..., None], image, np.uint8(110))
    Image.fromarray(wall).save(folder / "background.png")
    rgba = np.dstack([image, np.where(ids == CLASS_ID["cloth"], 255, 0).astype(np.uint8)])
    for k in range(2):
        Image.fromarray(rgba).save(folder / f"torso/{k:02d}.png")
    (folder / "torso/torso.json").write_text(json.dumps({"frames": [0, frames // 2]}))
    time = np.arange(int(frames / 25 * 16000)) / 16000
    voice = 0.3 * np.sin(2 * np.pi * 200 * time) * np.repeat(opening, 640)[: len(time)]
    soundfile.write(folder / "audio.wav", voice.astype(np.float32), 16000)
    track = TalkingTrack(
        fps=25.0,
        camera=PinholeCamera(focal, size, size),
        camera_to_worlds=poses,
        audio=audio,
        audio_kind="logmel",
        eyes=np.ones((frames, 2), np.float32),
        lips=opening.astype(np.float32),
        landmarks=np.array(landmarks, np.float32),
        frame_ids=np.arange(frames),
        digest=f"{seed:064d}",
    )
    save_track(track, folder)
    return track
