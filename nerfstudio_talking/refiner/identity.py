"""Identity features of true frames: from ArcFace's weights, or from a small encoder trained on the tracked frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn

from nerfstudio_talking.io.errors import TalkingError

CROP = 112
"""Pixels on a side of an aligned face."""
_TEMPLATE = np.array([(38.29, 51.70), (73.53, 51.50), (56.03, 71.74), (41.55, 92.37), (70.73, 92.20)])
"""Where ArcFace (Deng et al. 2019) expects the eyes, the tip of the nose and the corners of the mouth, left in the
image first, in a crop of 112 pixels."""
_POINTS_478 = ((33, 133), (362, 263), (1,), (61,), (291,))
_POINTS_68 = ((36, 39), (42, 45), (30,), (48,), (54,))
_ABOVE_MOUTH = 78
"""Rows of an aligned face that end above the mouth."""
_HINT = "Give an ArcFace model as .onnx or TorchScript (torch.jit.save), or leave the option out."
_BATCH = 32


def align_face(
    image: UInt8[np.ndarray, "height width 3"], landmarks: Float[np.ndarray, "points 2"]
) -> UInt8[np.ndarray, "112 112 3"]:
    """A face turned, scaled and shifted to ArcFace's template.

    Args:
        image: RGB.
        landmarks: 478 FaceMesh points or 68, pixels.

    Raises:
        ValueError: another number of landmarks.
    """
    import cv2

    groups = {478: _POINTS_478, 68: _POINTS_68}.get(len(landmarks))
    if groups is None:
        raise ValueError(f"faces are aligned by 478 or 68 landmarks, not {len(landmarks)}")
    points = np.array([landmarks[list(group)].mean(0) for group in groups], dtype=np.float64)
    # a similarity of the plane is one complex factor and one shift: least squares in one line
    source, target = (p[:, 0] + 1j * p[:, 1] for p in (points, _TEMPLATE))
    offset = source - source.mean()
    factor = (offset.conj() @ (target - target.mean())) / max((offset.conj() @ offset).real, 1e-9)
    shift = target.mean() - factor * source.mean()
    matrix = np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])
    return cv2.warpAffine(image, matrix, (CROP, CROP), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


def arcface_features(
    weights: Path, faces: UInt8[np.ndarray, "faces 112 112 3"], advance: Callable[[], Any] = lambda: None
) -> Float32[Tensor, "faces identity"]:
    """Unit identity features of aligned faces, by a network that the user brings.

    Raises:
        TalkingError: the file is no such network.
    """
    if not weights.is_file():
        raise TalkingError(weights, expected="ArcFace's weights", found="no such file", hint=_HINT)
    network = _onnx(weights) if weights.suffix.lower() == ".onnx" else _torchscript(weights)
    features = []
    for start in range(0, len(faces), _BATCH):
        batch = torch.from_numpy(faces[start : start + _BATCH]).permute(0, 3, 1, 2).float() / 127.5 - 1
        made = network(batch)
        if made.ndim != 2 or len(made) != len(batch) or not torch.isfinite(made).all():
            found = f"an output of shape {tuple(made.shape)}"
            raise TalkingError(weights, expected="one feature vector per face", found=found, hint=_HINT)
        features.append(F.normalize(made.float(), dim=1))
        advance()
    return torch.cat(features)


class IdentityEncoder(nn.Module):
    """A small network from the upper part of an aligned face to a unit vector.

    It ends above the mouth: a feature of the true frame that could see its lips would tell the generator in training
    what to paint, and a feature found in the memory never would.
    """

    def __init__(self, dim: int = 128, width: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for channels in (width, 2 * width, 4 * width, 8 * width):
            layers += [nn.Conv2d(before, channels, 3, 2, 1), nn.GroupNorm(4, channels), nn.SiLU()]
            before = channels
        self.network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * before, dim))

    def forward(self, faces: Float[Tensor, "faces 3 112 112"]) -> Float[Tensor, "faces identity"]:
        """Features of aligned faces in [0, 1]."""
        upper = F.interpolate(faces[:, :, :_ABOVE_MOUTH], (48, 64), mode="area")
        return F.normalize(self.network(2 * upper - 1), dim=1)


def train_identity(
    faces: UInt8[np.ndarray, "faces 112 112 3"],
    clips: Int64[np.ndarray, " faces"],
    seconds: Float[np.ndarray, " faces"],
    dim: int = 128,
    steps: int = 150,
    seed: int = 0,
    advance: Callable[[], Any] = lambda: None,
) -> IdentityEncoder:
    """Learn to tell people, and one person's slow changes, apart, without labels (InfoNCE, van den Oord et al. 2018).

    Two faces of one clip less than a second apart, each under other light, shift and noise, are alike; those of other
    clips or moments are not. What changes within a second, speech and blinks, is of no use.

    Args:
        faces: aligned faces.
        clips: number of the clip that each is from.
        seconds: their times.
        dim: channels of a feature.
        steps: of training, 16 pairs each.
        seed: of weights and draws.
        advance: called after each step.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = IdentityEncoder(dim)
        rng = np.random.default_rng(seed)
        optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-3)
        near = (clips[:, None] == clips[None]) & (np.abs(seconds[:, None] - seconds[None]) < 1.0)
        for _ in range(steps):
            first = rng.choice(len(faces), min(16, len(faces)), replace=False)
            second = np.array([rng.choice(np.flatnonzero(near[i])) for i in first])
            views = [encoder(_changed(torch.from_numpy(faces[rows]))) for rows in (first, second)]
            logits = views[0] @ views[1].T / 0.1
            neither = torch.from_numpy(near[first][:, second]) & ~torch.eye(len(first), dtype=torch.bool)
            loss = F.cross_entropy(logits.masked_fill(neither, -1e4), torch.arange(len(first)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            advance()
    return encoder.eval()


@torch.no_grad()
def encode_faces(
    encoder: IdentityEncoder, faces: UInt8[np.ndarray, "faces 112 112 3"]
) -> Float32[Tensor, "faces identity"]:
    """Features of aligned faces."""
    batches = (torch.from_numpy(faces[i : i + _BATCH]) for i in range(0, len(faces), _BATCH))
    return torch.cat([encoder(batch.permute(0, 3, 1, 2).float() / 255) for batch in batches])


def aligned_faces(
    images: Sequence[UInt8[np.ndarray, "height width 3"]], landmarks: Float[np.ndarray, "faces points 2"]
) -> UInt8[np.ndarray, "faces 112 112 3"]:
    """Faces of a clip's frames, aligned."""
    return np.stack([align_face(image, points) for image, points in zip(images, landmarks)])


def _changed(faces: UInt8[Tensor, "faces 112 112 3"]) -> Float[Tensor, "faces 3 112 112"]:
    """Other light, a shift of up to four pixels, noise."""
    batch = faces.permute(0, 3, 1, 2).float() / 255
    count = len(batch)
    gain, bias = 0.85 + 0.3 * torch.rand(count, 3, 1, 1), 0.1 * (torch.rand(count, 1, 1, 1) - 0.5)
    right, down = (int(torch.randint(-4, 5, ())) for _ in range(2))
    return batch.roll((down, right), (2, 3)) * gain + bias + 0.02 * torch.randn_like(batch)


def _onnx(path: Path) -> Callable[[Tensor], Tensor]:
    import cv2

    try:
        network = cv2.dnn.readNetFromONNX(str(path))
    except cv2.error as error:
        reason = str(error).strip().splitlines()[-1]
        raise TalkingError(path, expected="an ONNX network", found=reason, hint=_HINT) from error

    def run(batch: Tensor) -> Tensor:
        rows = []
        for face in batch:  # many exports fix the batch to one
            network.setInput(face[None].numpy())
            try:
                rows.append(torch.from_numpy(np.array(network.forward(), np.float32)).reshape(1, -1))
            except cv2.error as error:
                reason = str(error).strip().splitlines()[-1]
                expected = "a network that takes faces of 1x3x112x112"
                raise TalkingError(path, expected=expected, found=reason, hint=_HINT) from error
        return torch.cat(rows)

    return run


def _torchscript(path: Path) -> Callable[[Tensor], Tensor]:
    try:
        network = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TalkingError(path, expected="a TorchScript network", found=reason, hint=_HINT) from error

    @torch.no_grad()
    def run(batch: Tensor) -> Tensor:
        try:
            return network(batch)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            expected = "a network that takes faces of Nx3x112x112"
            raise TalkingError(path, expected=expected, found=reason, hint=_HINT) from error

    return run
