"""Make the sample clip: a photograph that turns its head, talks and blinks, every motion known frame by frame.

    python scripts/make_sample.py [--voices]

The photograph is NASA's portrait of Eileen Collins, in the public domain and carried by scikit-image. The head is
turned in 3-D by the depth of its landmarks, the mouth opens with the band of the voice in which open vowels are loud,
the eyes blink. tests/data/sample gets the clip, its truth and two voices; `--voices` speaks them anew with espeak-ng.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import librosa
import numpy as np
import skimage.data
import soundfile
import tyro
from nerfstudio.utils.rich_utils import CONSOLE
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from scipy.spatial.transform import Rotation

from nerfstudio_talking.media import VideoWriter
from nerfstudio_talking.process.faces import person_masks, track_faces

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "data" / "sample"
SIZE, FPS, SECONDS, RATE = 256, 25, 10, 16000
CROP = (92, 0, 348, 256)
"""Left, top, right, bottom of the photograph's part that is used."""
FOCAL = 700.0
EYE_CORNERS = 0.089
"""Distance of the outer eye corners, metres."""
PIVOT = np.array([0.0, -0.06, -0.09])
"""Where the head turns: behind and below the eyes, metres from the middle of the eye corners."""
TEXTS = {
    "voice": (
        "My mama bought a box of apples from Bob. [[_:]][[_:]] Maybe papa may pop by, and we all help move the barn."
    ),
    "other_voice": "A new voice can open the mouth of a portrait, but lips must meet for every b, m and p.",
}
UPPER_INNER, LOWER_INNER = (
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
)
LOWER_OUTER = (146, 91, 181, 84, 17, 314, 405, 321, 375)
UPPER_OUTER = (185, 40, 39, 37, 0, 267, 269, 270, 409)
CHIN = (152, 148, 377, 176, 400, 149, 378, 150, 379, 199, 175, 200, 18)
EYES = (
    ((246, 161, 160, 159, 158, 157, 173), (7, 163, 144, 145, 153, 154, 155), (33, 133)),
    ((466, 388, 387, 386, 385, 384, 398), (249, 390, 373, 374, 380, 381, 382), (263, 362)),
)


def speak(text: str, path: Path) -> None:
    """Say a text with espeak-ng and write it at 16 kHz."""
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "voice.wav"
        subprocess.run(["espeak-ng", "-v", "en-us+f3", "-s", "125", "-w", str(wav), text], check=True)
        samples, _ = librosa.load(wav, sr=RATE)
    soundfile.write(path, 0.7 * samples / np.abs(samples).max(), RATE)


def opening_curve(voice: np.ndarray, count: int) -> np.ndarray:
    """Lip opening of each frame from 0 to 1: loudness between 450 and 3000 Hz, where open vowels are loud and m, b, p
    are not.
    """
    mel = np.abs(librosa.stft(voice, n_fft=512, hop_length=RATE // 100)) ** 2
    hertz = librosa.fft_frequencies(sr=RATE, n_fft=512)
    band = mel[(hertz > 450) & (hertz < 3000)].sum(0)
    level = np.clip((10 * np.log10(band + 1e-6) - 10 * np.log10(band.max()) + 32) / 32, 0, 1)
    level = gaussian_filter1d(level**2, 2.0)
    return np.interp((np.arange(count) + 0.5) / FPS * 100, np.arange(len(level)), level)


def blink_curve(count: int, rng: np.random.Generator) -> np.ndarray:
    """Closure of the eyes, 0 to 1: a blink of six frames every two to three seconds."""
    closure = np.zeros(count)
    shape = np.array([0.35, 0.85, 1.0, 0.9, 0.5, 0.2])
    start = 20
    while start + len(shape) < count:
        closure[start : start + len(shape)] = shape
        start += int(rng.integers(45, 75))
    return closure


def head_motion(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (count, 3, 3), head to photograph, OpenGL axes, and shifts (count, 3) in metres; smooth, at rest in
    the photograph's pose.
    """
    time = np.arange(count) / FPS

    def wander(amplitude: float) -> np.ndarray:
        waves = [
            np.sin(2 * np.pi * f * time + rng.uniform(0, 2 * np.pi)) / k for k, f in enumerate((0.17, 0.31, 0.53), 1)
        ]
        curve = np.sum(waves, 0)
        return amplitude * curve / np.abs(curve).max()

    angles = np.stack([wander(5), wander(11), wander(3)], 1)  # pitch, yaw, roll in degrees
    rotation = Rotation.from_euler("YXZ", angles[:, [1, 0, 2]], degrees=True).as_matrix()
    return rotation, np.stack([wander(0.006), wander(0.003), wander(0.008)], 1)


class TalkingPhoto:
    """The photograph's layers and what each pixel of it does."""

    def __init__(self) -> None:
        photo = skimage.data.astronaut()[CROP[1] : CROP[3], CROP[0] : CROP[2]]
        self.photo = cv2.resize(photo, (SIZE, SIZE), interpolation=cv2.INTER_LANCZOS4)
        self.points = track_faces([self.photo] * 3).landmarks[-1].astype(np.float64)
        xy = self.points[:, :2]
        corners = xy[[33, 263]]
        self.scale = float(np.linalg.norm(corners[1] - corners[0]))
        self.distance = FOCAL * EYE_CORNERS / self.scale
        self.middle = corners.mean(0)
        self.gap = float(np.linalg.norm(xy[13] - xy[14]))
        rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float64)
        self.grid = np.stack([columns, rows], -1)
        mask = next(iter(person_masks([self.photo]))).astype(np.float64) / 255
        guided = cv2.GaussianBlur((mask > 0.5).astype(np.float32), (0, 0), 1.2)
        self.alpha = np.clip(guided * 1.6 - 0.3, 0, 1)
        hole = cv2.dilate((mask > 0.2).astype(np.uint8), np.ones((9, 9)))
        filled = cv2.inpaint(
            cv2.resize(self.photo, (64, 64), interpolation=cv2.INTER_AREA),
            cv2.resize(hole, (64, 64)),
            3,
            cv2.INPAINT_TELEA,
        )
        filled = cv2.GaussianBlur(cv2.resize(filled, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), (0, 0), 4)
        soft = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), 3)[..., None]
        self.background = filled * soft + self.photo * (1 - soft)
        # colours of the person reach beyond its outline, so that soft edges never show the old background
        ring = (mask < 0.7).astype(np.uint8)
        self.person = cv2.inpaint(
            self.photo, ring & cv2.dilate((mask > 0.7).astype(np.uint8), np.ones((15, 15))), 3, cv2.INPAINT_TELEA
        ).astype(np.float32)
        self.depth = self._depth()
        chin = xy[152, 1]
        # the head moves as one down to the chin; the neck passes the motion on; the shoulders rest
        self.follow = gaussian_filter(np.clip((chin + 0.55 * self.scale - rows) / (0.75 * self.scale), 0, 1), 3)
        self.jaw = self._field(self._jaw_points())
        self.lids = self._field(self._lid_points())

    def _depth(self) -> np.ndarray:
        """Depth of every pixel, metres, towards the camera, 0 at the eye corners."""
        inside = self.points[:468]
        z = -(inside[:, 2] - self.points[[33, 263], 2].mean()) * EYE_CORNERS / self.scale
        centre, radius = inside[:, :2].mean(0), 1.45 * self.scale
        around = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        rim = centre + radius * np.stack([np.cos(around), 1.15 * np.sin(around)], 1)
        places = np.concatenate([inside[:, :2], rim])
        heights = np.concatenate([z, np.full(40, -0.10)])
        smooth = RBFInterpolator(places, heights, kernel="thin_plate_spline", smoothing=2.0)
        return np.clip(smooth(self.grid.reshape(-1, 2)).reshape(SIZE, SIZE), -0.12, 0.06)

    def _jaw_points(self) -> dict[int, float]:
        """Downward motion of landmarks when the lips part by one unit."""
        xy = self.points[:, :2]
        left, right = xy[78, 0], xy[308, 0]
        u = (xy[:, 0] - (left + right) / 2) / ((right - left) / 2)
        arch = np.clip(1 - u**2, 0, 1)
        moves = dict.fromkeys(UPPER_INNER + UPPER_OUTER, 0.0)
        moves |= {i: 0.0 for i in (61, 291, 78, 308)}
        moves |= {i: float(arch[i]) for i in LOWER_INNER[1:-1]}
        moves |= {i: float(0.2 + 0.75 * arch[i]) for i in LOWER_OUTER}
        jaw = np.abs(xy[:, 0] - xy[152, 0]) / self.scale
        moves |= {i: float(0.7 * np.exp(-((jaw[i] / 0.5) ** 2))) for i in CHIN}
        return moves

    def _lid_points(self) -> dict[int, float]:
        """Downward motion of landmarks, pixels, when both eyes close."""
        moves: dict[int, float] = {}
        for upper, lower, corners in EYES:
            for a, b in zip(upper, lower):
                gap = self.points[b, 1] - self.points[a, 1]
                moves |= {a: 0.8 * gap, b: -0.12 * gap}
            moves |= dict.fromkeys(corners, 0.0)
        return moves

    def _field(self, moves: dict[int, float]) -> np.ndarray:
        """Vertical motion of every pixel from that of some landmarks; the rest of the face stays."""
        still = set(range(468)) - set(moves)
        near = np.array([self.points[i, :2] for i in moves])
        still = [i for i in still if np.linalg.norm(near - self.points[i, :2], axis=1).min() > 0.09 * self.scale]
        if 152 in moves:  # what lies between the lips and the chin follows the jaw
            top = self.points[17, 1]
            still = [
                i
                for i in still
                if self.points[i, 1] < top or abs(self.points[i, 0] - self.points[152, 0]) > 0.55 * self.scale
            ]
        frame = self.grid[:: SIZE // 8, :: SIZE // 8].reshape(-1, 2)
        frame = frame[np.linalg.norm(frame - self.points[4, :2], axis=1) > 1.3 * self.scale]
        places = np.concatenate([near, self.points[still, :2], frame])
        values = np.concatenate([list(moves.values()), np.zeros(len(still) + len(frame))])
        places, first = np.unique(places, axis=0, return_index=True)
        return RBFInterpolator(places, values[first], kernel="linear", neighbors=60)(self.grid.reshape(-1, 2)).reshape(
            SIZE, SIZE
        )

    def render(self, opening: float, closure: float, rotation: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """The photograph with lips parted by `opening` (over the eye corners' distance), in another pose."""
        parted = opening * self.scale
        delta = parted - self.gap
        face = delta * self.jaw + closure * self.lids
        source = self._unwarp(face, rotation, shift)
        warped = cv2.remap(self.person, *source, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        alpha = cv2.remap(self.alpha.astype(np.float32), *source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        mouth, cover = self._mouth(delta, rotation, shift)
        warped = warped * (1 - cover) + mouth * cover
        picture = warped * alpha[..., None] + self.background * (1 - alpha[..., None])
        return np.clip(picture, 0, 255).round().astype(np.uint8)

    def _moved(
        self, places: np.ndarray, depth: np.ndarray, follow: np.ndarray, rotation: np.ndarray, shift: np.ndarray
    ) -> np.ndarray:
        """Where places (..., 2) of the photograph at a depth go when the head turns."""
        metre = (self.distance - depth) / FOCAL
        x = np.stack([(places[..., 0] - self.middle[0]) * metre, -(places[..., 1] - self.middle[1]) * metre, depth], -1)
        turned = (x - PIVOT) @ rotation.T + PIVOT + shift
        pixel = FOCAL / (self.distance - turned[..., 2])
        goes = np.stack([turned[..., 0] * pixel, -turned[..., 1] * pixel], -1) + self.middle
        return places + follow[..., None] * (goes - places)

    def _unwarp(self, face: np.ndarray, rotation: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each pixel, where in the photograph it comes from: the motion inverted by fixed-point iteration."""
        placed = self.grid + np.stack([np.zeros_like(face), face], -1)
        motion = (self._moved(placed, self.depth, self.follow, rotation, shift) - self.grid).astype(np.float32)
        source = self.grid.astype(np.float32)
        for _ in range(25):
            there = cv2.remap(motion, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            source = 0.4 * source + 0.6 * (self.grid.astype(np.float32) - there)
        return np.ascontiguousarray(source[..., 0]), np.ascontiguousarray(source[..., 1])

    def _mouth(self, delta: float, rotation: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Upper teeth from the photograph over a dark cavity, and where they show."""
        upper, lower = self.points[list(UPPER_INNER)], self.points[list(LOWER_INNER)]
        reach = np.array([self._jaw_points()[i] for i in LOWER_INNER])
        lower = lower[:, :2] + np.stack([np.zeros(len(reach)), delta * reach], 1)
        lower[:, 1] = np.maximum(lower[:, 1], upper[:, 1])
        outline = np.concatenate([upper[:, :2], lower[::-1]])
        depth = np.full(len(outline), float(np.median(self.depth[upper[:, 1].astype(int), upper[:, 0].astype(int)])))
        outline = self._moved(outline, depth, np.ones(len(outline)), rotation, shift)
        cover = np.zeros((SIZE * 4, SIZE * 4), np.uint8)
        cv2.fillPoly(cover, [np.round((outline + 0.5) * 4).astype(np.int32)], 255)
        cover = cv2.resize(cover, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
        rigid = self._unwarp(np.zeros((SIZE, SIZE)), rotation, shift)
        teeth = cv2.remap(self.person, *rigid, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        # the photograph shows teeth down to its own lower lip; below them it is dark
        edge = (
            np.interp(rigid[0], self.points[list(LOWER_INNER), 0], self.points[list(LOWER_INNER), 1]) - 0.12 * self.gap
        )
        dark = np.clip((rigid[1] - edge) / 1.5 + 0.5, 0, 1)[..., None]
        return teeth * (1 - dark) + np.array([46, 18, 20], np.float32) * dark, cover


@dataclass
class MakeSample:
    """Make the sample clip and its truth."""

    voices: bool = False
    """Speak the two voices anew with espeak-ng; otherwise the files there are used."""
    output: Path = FOLDER
    """Folder to write to."""

    def main(self) -> None:
        """Write voices, clip and truth."""
        self.output.mkdir(parents=True, exist_ok=True)
        if self.voices:
            for name, text in TEXTS.items():
                speak(text, self.output / f"{name}.flac")
        spoken, _ = soundfile.read(self.output / "voice.flac", dtype="float32")
        voice = np.zeros(SECONDS * RATE, np.float32)
        begin = RATE // 2
        count = min(len(spoken), len(voice) - begin)
        voice[begin : begin + count] = spoken[:count]
        rng = np.random.default_rng(0)
        frames = SECONDS * FPS
        lips = 0.015 + 0.24 * opening_curve(voice, frames)
        closure = blink_curve(frames, rng)
        rotation, shift = head_motion(frames, rng)
        photo = TalkingPhoto()
        with VideoWriter(self.output / "sample.mp4", FPS, SIZE, SIZE, audio=(voice, RATE), crf=20) as writer:
            for i in range(frames):
                writer.write(photo.render(lips[i], closure[i], rotation[i], shift[i]))
        np.savez_compressed(
            self.output / "truth.npz",
            lips=lips.astype(np.float32),
            eyes=(1 - closure).astype(np.float32),
            rotation=rotation.astype(np.float32),
            shift=shift.astype(np.float32),
            focal=np.float32(FOCAL),
        )
        CONSOLE.print(
            f"[green]Wrote {self.output}: {frames} frames, {(self.output / 'sample.mp4').stat().st_size // 1024} KiB."
        )


if __name__ == "__main__":
    tyro.cli(MakeSample).main()
