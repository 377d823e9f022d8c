"""Gaussians as PLY files in the layout of 3D Gaussian splatting's own code (Kerbl et al. 2023), which viewers open.

One vertex per Gaussian, binary little endian, all properties float32: position, a normal of zeros, colour as the
coefficients of spherical harmonics of degree 0, logit of the opacity, logarithms of the standard deviations, rotation
as a quaternion (w, x, y, z). The format names no axes; viewers expect y down, as COLMAP has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import new_file
from nerfstudio_talking.splatting.gaussians import Gaussians
from nerfstudio_talking.splatting.projection import covariances_of

SH_DEGREE_0 = 0.28209479177387814
"""The spherical harmonic of degree 0, 1 / (2 sqrt(pi)): colour = 0.5 + this times the coefficient."""
_POSITION, _NORMAL = ("x", "y", "z"), ("nx", "ny", "nz")
_COLOR, _OPACITY = ("f_dc_0", "f_dc_1", "f_dc_2"), ("opacity",)
_SCALE, _ROTATION = ("scale_0", "scale_1", "scale_2"), ("rot_0", "rot_1", "rot_2", "rot_3")
PROPERTIES = (*_POSITION, *_NORMAL, *_COLOR, *_OPACITY, *_SCALE, *_ROTATION)
"""The properties of a vertex, in order."""
_MIN_SCALE = 1e-6
"""Least standard deviation that is written, metres: a flat Gaussian has no logarithm along its normal."""
_MIN_OPACITY = 1e-6
"""Opacities are written within this of 0 and 1, whose logits are infinite."""
_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "<i2"),
    **dict.fromkeys(("ushort", "uint16"), "<u2"),
    **dict.fromkeys(("int", "int32"), "<i4"),
    **dict.fromkeys(("uint", "uint32"), "<u4"),
    **dict.fromkeys(("float", "float32"), "<f4"),
    **dict.fromkeys(("double", "float64"), "<f8"),
}
"""numpy's names of PLY's types."""


def write_ply(gaussians: Gaussians, path: Path, comments: Iterable[str] = ()) -> None:
    """Write Gaussians atomically.

    Args:
        gaussians: colours are RGB, 0 to 1 for what a screen shows; viewers clamp those below 0.
        path: file to write; its folder exists.
        comments: lines of ASCII for the header.

    Raises:
        ValueError: the Gaussians have other than three colours, or a value is not finite.
    """
    means, covariances, opacities, colors = (x.detach().cpu().double().numpy() for x in gaussians)
    if colors.shape[1] != 3:
        raise ValueError(f"{colors.shape[1]} channels for RGB")
    quaternions, scales = quaternions_and_scales(covariances)
    opacities = opacities.clip(_MIN_OPACITY, 1 - _MIN_OPACITY)
    columns = (
        means,
        np.zeros_like(means),
        (colors - 0.5) / SH_DEGREE_0,
        np.log(opacities / (1 - opacities))[:, None],
        np.log(scales),
        quaternions,
    )
    table = np.concatenate(columns, 1).astype("<f4")
    if not np.isfinite(table).all():
        raise ValueError(f"{(~np.isfinite(table)).any(1).sum()} Gaussians with values that are not finite")
    header = ["ply", "format binary_little_endian 1.0", *(f"comment {line}" for line in comments)]
    header += [f"element vertex {len(table)}", *(f"property float {name}" for name in PROPERTIES), "end_header", ""]
    with new_file(path) as file:
        file.write("\n".join(header).encode("ascii"))
        file.write(table.tobytes())


def read_ply(path: Path) -> Gaussians:
    """Read what `write_ply` or another program wrote in this layout; higher spherical harmonics are left out.

    Raises:
        TalkingError: there is no such file, or it is something else, or it ends too early.
    """
    hint = "Give a binary PLY file of Gaussian splats, as `ns-talking export` writes it."
    if not path.is_file():
        raise TalkingError(path, expected="a PLY file", found="no such file", hint=hint)
    header, _, body = path.read_bytes().partition(b"end_header\n")
    lines = [line.split() for line in header.decode("ascii", errors="replace").splitlines()]
    lines = [words for words in lines if words and words[0] != "comment"]
    if lines[:2] != [["ply"], ["format", "binary_little_endian", "1.0"]]:
        raise TalkingError(path, expected="a binary little endian PLY file", found="something else", hint=hint)
    if len(lines) < 3 or lines[2][:2] != ["element", "vertex"] or not lines[2][2:3] or not lines[2][2].isdigit():
        raise TalkingError(path, expected="vertices as the first element", found="none", hint=hint)
    count, fields = int(lines[2][2]), []
    for words in lines[3:]:
        if words[0] != "property":
            break
        if len(words) != 3 or words[1] not in _TYPES:
            raise TalkingError(path, expected="scalar properties", found=" ".join(words), hint=hint)
        fields.append((words[2], _TYPES[words[1]]))
    missing = [name for name in PROPERTIES if name not in dict(fields) and name not in _NORMAL]
    if missing:
        raise TalkingError(path, expected="the properties of Gaussians", found=f"no {', '.join(missing)}", hint=hint)
    layout = np.dtype(fields)
    if len(body) < count * layout.itemsize:
        found = f"{len(body) // layout.itemsize}"
        raise TalkingError(path, expected=f"{count} vertices", found=found, hint="Write the file again.")
    table = np.frombuffer(body, layout, count)

    def column(names: tuple[str, ...]) -> Tensor:
        return torch.from_numpy(np.stack([table[name].astype(np.float64) for name in names], 1))

    covariances = covariances_of(column(_ROTATION), column(_SCALE).exp())
    colors = 0.5 + SH_DEGREE_0 * column(_COLOR)
    columns = column(_POSITION), covariances, torch.sigmoid(column(_OPACITY))[:, 0], colors
    return Gaussians(*(x.float() for x in columns))


def quaternions_and_scales(
    covariances: Float[np.ndarray, "gaussians 6"],
) -> tuple[Float[np.ndarray, "gaussians 4"], Float[np.ndarray, "gaussians 3"]]:
    """Rotations and standard deviations whose covariances these are; the inverse of `projection.covariances_of`.

    Args:
        covariances: upper triangles xx, xy, xz, yy, yz, zz; square metres.

    Returns:
        Quaternions (w, x, y, z) of length 1 with w >= 0, and standard deviations in metres, the least first.
    """
    matrices = covariances[:, (0, 1, 2, 1, 3, 4, 2, 4, 5)].reshape(-1, 3, 3)
    variances, axes = np.linalg.eigh(matrices)
    axes[:, :, 0] *= np.linalg.det(axes)[:, None]  # a mirrored axis is as good, and the rotation is right-handed
    quaternions = Rotation.from_matrix(axes).as_quat(canonical=True)[:, (3, 0, 1, 2)]
    return quaternions, np.sqrt(variances.clip(_MIN_SCALE**2))
