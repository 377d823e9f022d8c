"""SyncNet (Chung & Zisserman, "Out of time", 2016): confidence, distance and lag of lips and audio, LSE-C and LSE-D.

The network, its inputs and its scores follow the published evaluation (joonson/syncnet_python), whose weights,
`syncnet_v2.model`, are loaded by path. One thing differs: faces are cropped by FaceMesh and not by S3FD, so numbers are
near those of papers but not theirs; the ground truth's stand beside them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from scipy.fft import dct
from torch import Tensor, nn

from nerfstudio_talking.face.measurements import fill_gaps
from nerfstudio_talking.face.regions import face_boxes
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.weights import load_state

SYNCNET_FPS = 25.0
SIDE = 224
"""Of the face crops, in pixels."""
WINDOW = 5
"""Frames that one feature looks at: 200 ms, 20 rows of MFCC."""
MAX_LAG = 15
_RATE = 16000
_CROP_MARGIN = 0.4
_HINT = "Give the path of syncnet_v2.model (robots.ox.ac.uk/~vgg/software/lipsync), or leave the option out."


class SyncScore(NamedTuple):
    """What SyncNet says of a video."""

    confidence: float
    """Median minus minimum of the mean distance over lags: LSE-C, higher is better."""
    distance: float
    """Mean distance of features at the best lag: LSE-D, lower is better."""
    lag: int
    """Frames by which the audio is late (the published "AV offset", negated)."""


def _conv2d(inputs: int, outputs: int, kernel: tuple[int, int] = (3, 3), padding: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.BatchNorm2d(outputs), nn.ReLU()]


def _conv3d(
    inputs: int, outputs: int, kernel: tuple[int, int, int], stride: int = 1, padding: int = 0
) -> list[nn.Module]:
    space = (0, padding, padding)
    return [nn.Conv3d(inputs, outputs, kernel, (1, stride, stride), space), nn.BatchNorm3d(outputs), nn.ReLU()]


def _pool3d(padding: int = 0) -> nn.Module:
    return nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, padding, padding))


def _projection(outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, outputs))


class SyncNet(nn.Module):
    """Two towers into one space of 1024 dimensions; names of the layers are those in `syncnet_v2.model`."""

    def __init__(self, dimensions: int = 1024) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_conv2d(1, 64),
            nn.MaxPool2d(1),
            *_conv2d(64, 192),
            nn.MaxPool2d(3, (1, 2)),
            *_conv2d(192, 384),
            *_conv2d(384, 256),
            *_conv2d(256, 256),
            nn.MaxPool2d(3, 2),
            *_conv2d(256, 512, (5, 4), padding=0),
        )
        self.netfcaud = _projection(dimensions)
        self.netfclip = _projection(dimensions)
        self.netcnnlip = nn.Sequential(
            *_conv3d(3, 96, (5, 7, 7), stride=2),
            _pool3d(),
            *_conv3d(96, 256, (1, 5, 5), stride=2, padding=1),
            _pool3d(padding=1),
            *_conv3d(256, 256, (1, 3, 3), padding=1),
            *_conv3d(256, 256, (1, 3, 3), padding=1),
            *_conv3d(256, 256, (1, 3, 3), padding=1),
            _pool3d(),
            *_conv3d(256, 512, (1, 6, 6)),
        )

    def audio(self, mfcc: Float[Tensor, "windows 1 13 20"]) -> Float[Tensor, "windows dimensions"]:
        """Features of 200 ms of audio."""
        return self.netfcaud(self.netcnnaud(mfcc).flatten(1))

    def lips(self, faces: Float[Tensor, "windows 3 5 224 224"]) -> Float[Tensor, "windows dimensions"]:
        """Features of five face crops, BGR from 0 to 255."""
        return self.netfclip(self.netcnnlip(faces).flatten(1))


def load_syncnet(path: Path) -> SyncNet:
    """SyncNet with the weights of `syncnet_v2.model` (52 MB).

    Raises:
        TalkingError: the file is missing or holds other weights.
    """
    if not path.is_file():
        raise TalkingError(path, expected="the weights of SyncNet", found="no such file", hint=_HINT)
    network, state = SyncNet(), load_state(path, "SyncNet")
    own = network.state_dict()
    for name in [*own, *state]:
        optional = name.endswith("num_batches_tracked")  # counters that older files lack
        if optional and name not in state:
            continue
        if name not in own or name not in state or own[name].shape != state[name].shape:
            found = "no such layer" if name not in state else f"{name} {tuple(state[name].shape)}"
            expected = f"{name} {tuple(own[name].shape)}" if name in own else "the layers of syncnet_v2.model only"
            raise TalkingError(path, expected=expected, found=found, hint=_HINT)
    network.load_state_dict({**own, **state})
    return network.eval()


def syncnet_mfcc(samples: Float[np.ndarray, " samples"]) -> Float32[np.ndarray, "rows 13"]:
    """The MFCC that SyncNet was trained on, 100 rows a second: those of python_speech_features at its defaults.

    16-bit scale, pre-emphasis 0.97, rectangular windows of 25 ms every 10 ms, 26 triangular mel bands to 8 kHz, DCT-II,
    sine lifter of 22, the first coefficient replaced by the logarithm of the window's energy.

    Args:
        samples: mono audio at 16 kHz in [-1, 1].
    """
    length, step, size, bands = 400, 160, 512, 26
    signal = np.round(np.asarray(samples, np.float64) * 32767)
    signal = np.concatenate([signal[:1], signal[1:] - 0.97 * signal[:-1]])
    rows = 1 + max(-(-(len(signal) - length) // step), 0)
    signal = np.pad(signal, (0, max((rows - 1) * step + length - len(signal), 0)))
    windows = np.lib.stride_tricks.sliding_window_view(signal, length)[::step][:rows]
    power = np.abs(np.fft.rfft(windows, size)) ** 2 / size
    mels = np.linspace(0, 2595 * np.log10(1 + _RATE / 2 / 700), bands + 2)
    edges = np.floor((size + 1) * 700 * (10 ** (mels / 2595) - 1) / _RATE)
    bins = np.arange(size // 2 + 1)[None]
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bins - left) / np.maximum(centre - left, 1)
    falling = (right - bins) / np.maximum(right - centre, 1)
    bank = np.where((bins >= left) & (bins < centre), rising, 0.0)
    bank = np.where((bins >= centre) & (bins < right), falling, bank)
    tiny = np.finfo(np.float64).eps
    energy, mel = power.sum(axis=1), power @ bank.T
    energy, mel = (np.where(values == 0, tiny, values) for values in (energy, mel))
    cepstrum = np.asarray(dct(np.log(mel), type=2, axis=1, norm="ortho"))[:, :13]
    cepstrum *= 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
    cepstrum[:, 0] = np.log(energy)
    return cepstrum.astype(np.float32)


def face_crops(
    frames: Iterable[UInt8[np.ndarray, "height width 3"]], landmarks: Float[np.ndarray, "frames points xy"]
) -> UInt8[np.ndarray, "frames 224 224 3"]:
    """RGB crops as the published pipeline makes them: a square around the face, wider by 0.4 and lower by 0.4 of half
    its size, its size and place smoothed by a median over 13 frames, beyond the image grey (110).

    Args:
        frames: RGB images.
        landmarks: FaceMesh points of each; frames without a face take their neighbours' box.
    """
    import cv2

    boxes = fill_gaps(face_boxes(landmarks).astype(np.float64))
    if not np.isfinite(boxes).all():
        raise ValueError("no face in any frame")
    half = np.maximum(boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]) / 2
    half, x, y = (
        # not scipy's median_filter: some versions return zeros for clips shorter than the window
        np.median(np.lib.stride_tricks.sliding_window_view(np.pad(values, 6, mode="edge"), 13), axis=1)
        for values in (half, (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2)
    )
    crops = np.empty((len(boxes), SIDE, SIDE, 3), dtype=np.uint8)
    for i, frame in enumerate(frames):
        reach = half[i] * (1 + _CROP_MARGIN)
        zoom = SIDE / (2 * reach)
        left, top = x[i] - reach, y[i] - half[i]
        place = np.array([[zoom, 0, -left * zoom], [0, zoom, -top * zoom]])
        grey = (110, 110, 110)
        crops[i] = cv2.warpAffine(frame, place, (SIDE, SIDE), borderMode=cv2.BORDER_CONSTANT, borderValue=grey)
    return crops


def sync_from_features(
    lips: Float[Tensor, "windows dimensions"], audio: Float[Tensor, "windows dimensions"], max_lag: int = MAX_LAG
) -> SyncScore:
    """Confidence, distance and lag: lips against audio, shifted by every lag, zeros beyond the ends as published."""
    padded = nn.functional.pad(audio, (0, 0, max_lag, max_lag))
    curve = torch.stack(
        [
            nn.functional.pairwise_distance(lips, padded[shift : shift + len(lips)]).mean()
            for shift in range(2 * max_lag + 1)
        ]
    )
    least, at = curve.min(dim=0)
    return SyncScore(float(curve.median() - least), float(least), int(at) - max_lag)


def syncnet_score(
    crops: UInt8[np.ndarray, "frames 224 224 3"],
    samples: Float[np.ndarray, " samples"],
    fps: float,
    network: SyncNet,
    batch: int = 16,
) -> SyncScore:
    """Confidence, distance and lag of a video; 25 frames per second are picked from any other rate.

    Args:
        crops: from `face_crops`.
        samples: mono audio at 16 kHz that starts with the first frame.
        fps: frames per second of the crops.
        network: from `load_syncnet`.
        batch: windows at a time.

    Returns:
        NaN and lag 0 for videos under half a second.
    """
    if abs(fps - SYNCNET_FPS) > 1e-3:
        picked = np.round(np.arange(int(len(crops) / fps * SYNCNET_FPS)) * fps / SYNCNET_FPS).astype(int)
        crops = crops[np.minimum(picked, len(crops) - 1)]
    count = min(len(crops), len(samples) * int(SYNCNET_FPS) // _RATE) - WINDOW
    if count < 8:
        return SyncScore(float("nan"), float("nan"), 0)
    device = next(network.parameters()).device
    mfcc = torch.from_numpy(syncnet_mfcc(samples)).T  # (13, rows)
    images = torch.from_numpy(np.ascontiguousarray(crops[..., ::-1])).permute(3, 0, 1, 2)
    lips, audio = [], []
    with torch.no_grad():
        for first in range(0, count, batch):
            windows = range(first, min(first + batch, count))
            faces = torch.stack([images[:, i : i + WINDOW] for i in windows]).to(device).float()
            rows = torch.stack([mfcc[None, :, 4 * i : 4 * i + 20] for i in windows]).to(device)
            lips.append(network.lips(faces).cpu())
            audio.append(network.audio(rows).cpu())
    return sync_from_features(torch.cat(lips), torch.cat(audio))
