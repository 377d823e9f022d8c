"""Identity features of faces, by a given ArcFace network or by a small encoder trained on the sequences' frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn

from nerfstudio_talking.face.similarity import fit_similarity
from nerfstudio_talking.io.errors import TalkingError

CROP = 112
"""Height and width of an aligned face, pixels."""
_TEMPLATE = np.array([(38.29, 51.70), (73.53, 51.50), (56.03, 71.74), (41.55, 92.37), (70.73, 92.20)])
"""Positions (x, y) of the eyes, the tip of the nose and the corners of the mouth in a crop of 112 pixels, as ArcFace
(Deng et al. 2019) expects them; the eye and corner on the left of the image come first."""
_POINTS_478 = ((33, 133), (362, 263), (1,), (61,), (291,))
_POINTS_68 = ((36, 39), (42, 45), (30,), (48,), (54,))
"""Landmarks whose mean is each of the template's five points."""
_ROWS_ABOVE_MOUTH = 78
"""Number of rows of an aligned face that lie above the mouth."""
_HINT = "Give an ArcFace model as .onnx or TorchScript (torch.jit.save), or leave the option out."
_BATCH = 32


def align_face(
    image: UInt8[np.ndarray, "height width 3"], landmarks: Float[np.ndarray, "points 2"]
) -> UInt8[np.ndarray, "112 112 3"]:
    """Crop a face, rotated, scaled and shifted to ArcFace's template.

    Args:
        image: an RGB frame.
        landmarks: 478 FaceMesh points or 68 landmarks, pixels.

    Raises:
        ValueError: another number of landmarks.
    """
    import cv2

    groups = {478: _POINTS_478, 68: _POINTS_68}.get(len(landmarks))
    if groups is None:
        raise ValueError(f"a face is aligned by 478 or 68 landmarks, not {len(landmarks)}")
    points = np.array([landmarks[list(group)].mean(0) for group in groups], dtype=np.float64)
    factor, shift = map(complex, fit_similarity(*(p[:, 0] + 1j * p[:, 1] for p in (points, _TEMPLATE))))
    matrix = np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])
    return cv2.warpAffine(image, matrix, (CROP, CROP), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


def encode_with_arcface(
    weights: Path, faces: UInt8[np.ndarray, "faces 112 112 3"], advance: Callable[[], Any] = lambda: None
) -> Float32[Tensor, "faces identity"]:
    """Unit identity features of aligned faces, by an ArcFace network that the user provides.

    Args:
        weights: an `.onnx` file, or a TorchScript file of any other suffix.
        faces: aligned faces (`align_face`).
        advance: called after each batch of 32 faces.

    Raises:
        TalkingError: the file is missing, or is no network from faces to feature vectors.
    """
    if not weights.is_file():
        raise TalkingError(weights, expected="the weights of ArcFace", found="no such file", hint=_HINT)
    network = _onnx(weights) if weights.suffix.lower() == ".onnx" else _torchscript(weights)
    features = []
    for start in range(0, len(faces), _BATCH):
        batch = torch.from_numpy(faces[start : start + _BATCH]).permute(0, 3, 1, 2).float() / 127.5 - 1
        output = network(batch)
        if output.ndim != 2 or len(output) != len(batch) or not torch.isfinite(output).all():
            found = f"an output of shape {tuple(output.shape)}"
            raise TalkingError(weights, expected="one finite feature vector per face", found=found, hint=_HINT)
        features.append(F.normalize(output.float(), dim=1))
        advance()
    return torch.cat(features)


class IdentityEncoder(nn.Module):
    """Small network from the upper part of an aligned face to a unit vector.

    It does not see the mouth: in training the generator gets the feature of the ground truth, and one that depended on
    the lips would give away what to paint, which a feature retrieved from the memory never does.

    Args:
        dim: channels of a feature.
        width: channels of the first of four convolutions; doubled from one to the next.
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
        upper = F.interpolate(faces[:, :, :_ROWS_ABOVE_MOUTH], (48, 64), mode="area")
        return F.normalize(self.network(2 * upper - 1), dim=1)


def train_identity_encoder(
    faces: UInt8[np.ndarray, "faces 112 112 3"],
    sequences: Int64[np.ndarray, " faces"],
    seconds: Float[np.ndarray, " faces"],
    dim: int = 128,
    steps: int = 150,
    seed: int = 0,
    advance: Callable[[], Any] = lambda: None,
) -> IdentityEncoder:
    """Train an encoder without labels (InfoNCE, van den Oord et al. 2018).

    Two faces of one sequence less than a second apart are a positive pair, each under its own change of light, shift
    and noise; faces of other sequences or moments are the negatives. So the encoder tells people apart, and slow
    changes of one person, but not what changes within a second: speech and blinks.

    Args:
        faces: aligned faces.
        sequences: number of the sequence that each face is from.
        seconds: time of each face in its sequence.
        dim: channels of a feature.
        steps: training steps, of 16 pairs each.
        seed: seed of the weights and of the draws.
        advance: called after each step.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = IdentityEncoder(dim)
        rng = np.random.default_rng(seed)
        optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-3)
        near = (sequences[:, None] == sequences[None]) & (np.abs(seconds[:, None] - seconds[None]) < 1.0)
        for _ in range(steps):
            first = rng.choice(len(faces), min(16, len(faces)), replace=False)
            second = np.array([rng.choice(np.flatnonzero(near[i])) for i in first])
            views = [encoder(_augment(torch.from_numpy(faces[rows]))) for rows in (first, second)]
            logits = views[0] @ views[1].T / 0.1
            # other faces near the first one are positives too: they must not count as negatives
            ignored = torch.from_numpy(near[first][:, second]) & ~torch.eye(len(first), dtype=torch.bool)
            loss = F.cross_entropy(logits.masked_fill(ignored, -1e4), torch.arange(len(first)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            advance()
    return encoder.eval()


@torch.no_grad()
def encode_faces(
    encoder: IdentityEncoder, faces: UInt8[np.ndarray, "faces 112 112 3"]
) -> Float32[Tensor, "faces identity"]:
    """Unit identity features of aligned faces."""
    batches = (torch.from_numpy(faces[i : i + _BATCH]) for i in range(0, len(faces), _BATCH))
    return torch.cat([encoder(batch.permute(0, 3, 1, 2).float() / 255) for batch in batches])


def align_faces(
    images: Sequence[UInt8[np.ndarray, "height width 3"]], landmarks: Float[np.ndarray, "faces points 2"]
) -> UInt8[np.ndarray, "faces 112 112 3"]:
    """The face of every frame, aligned (`align_face`)."""
    return np.stack([align_face(image, points) for image, points in zip(images, landmarks)])


def _augment(faces: UInt8[Tensor, "faces 112 112 3"]) -> Float[Tensor, "faces 3 112 112"]:
    """Change the light at random, shift by up to four pixels, add noise."""
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
        for face in batch:  # many exports fix the batch size to one
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
