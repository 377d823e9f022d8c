"""A portrait's baked head, and its file."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int16
from torch import Tensor

from nerfstudio_talking.baking.polynomial_basis import PolynomialBasis
from nerfstudio_talking.baking.sparse_grid import SparseGrid
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import save_atomically

BAKE_VERSION = 1
BAKE_NAME = "baked.pt"
"""Name of the file beside config.yml; nerfstudio reads every file of the checkpoint folder."""


@dataclass(frozen=True)
class Bake:
    """The head's volume as a sparse voxel grid with a regression of density and colour at each vertex."""

    grid: SparseGrid
    """The vertices that are ever seen."""
    box: Float[Tensor, "2 3"]
    """Corners of the grid, metres."""
    num_samples: int
    """Number of samples along a ray."""
    terms: PolynomialBasis
    """Terms of the regression."""
    rest: Float[Tensor, "blocks block"]
    """Constant term of the vertices' channels, vertex by vertex, in blocks for the kernel."""
    coefficients: Int16[Tensor, "blocks terms block"]
    """The other terms, in steps."""
    steps: Float[Tensor, "terms channels"]
    """Value of one step of the quantised coefficients."""
    model_digest: str
    """Digest of the weights that were baked."""
    metrics: dict[str, float]
    """Results of the validation (`BakeValidation`), dB."""


def save_bake(bake: Bake, path: Path) -> None:
    """Write atomically; `torch.load(weights_only=True)` reads it."""
    grid = bake.grid
    record = {
        "version": BAKE_VERSION,
        "shape": list(grid.shape),
        **{name: torch.from_numpy(getattr(grid, name)) for name in ("first", "last", "offset")},
        "terms": bake.terms.tensors(),
        **{name: getattr(bake, name) for name in ("box", "num_samples", "rest", "coefficients", "steps")},
        "model_digest": bake.model_digest,
        "metrics": bake.metrics,
    }
    save_atomically(record, path)


def load_bake(path: Path, digest: str) -> Bake:
    """Read a bake of the model with this digest.

    Raises:
        TalkingError: no bake, one of another version, or of other weights.
    """
    hint = "Bake again: `ns-talking bake --load-config .../config.yml`."
    if not path.is_file():
        raise TalkingError(path, expected="a baked portrait", found="no such file", hint=hint)
    try:
        record: dict[str, Any] = torch.load(path, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError) as error:
        found = str(error).split("\n")[0]
        raise TalkingError(path, expected="a baked portrait", found=found, hint=hint) from error
    if not isinstance(record, dict) or record.get("version") != BAKE_VERSION:
        found = f"version {record.get('version')}" if isinstance(record, dict) else f"a {type(record).__name__}"
        raise TalkingError(path, expected=f"a baked portrait of version {BAKE_VERSION}", found=found, hint=hint)
    if record["model_digest"] != digest:
        raise TalkingError(
            path,
            expected=f"the bake of this checkpoint (weights {digest[:12]})",
            found=f"one of weights {record['model_digest'][:12]}",
            hint=hint,
        )
    grid = SparseGrid(tuple(record["shape"]), *(record[name].numpy() for name in ("first", "last", "offset")))
    return Bake(
        grid,
        terms=PolynomialBasis(**record["terms"]),
        **{name: record[name] for name in ("box", "num_samples", "rest", "coefficients", "steps")},
        model_digest=record["model_digest"],
        metrics=record["metrics"],
    )
