"""A portrait's baked head, and its file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int16
from torch import Tensor

from nerfstudio_talking.baking.kernels import BLOCK, CHANNELS
from nerfstudio_talking.baking.polynomial_basis import PolynomialBasis
from nerfstudio_talking.baking.sparse_grid import SparseGrid
from nerfstudio_talking.io.arrays import require_shapes
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import save_atomically
from nerfstudio_talking.io.weights import load_state

BAKE_VERSION = 1
_MOST_SAMPLES = 4096
"""Along a ray."""
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
    record = load_state(path, "a baked portrait", hint)
    if record.get("version") != BAKE_VERSION:
        found = f"version {record.get('version')}"
        raise TalkingError(path, expected=f"a baked portrait of version {BAKE_VERSION}", found=found, hint=hint)
    baked = record.get("model_digest")
    if baked != digest:
        raise TalkingError(
            path,
            expected=f"the bake of this checkpoint (weights {digest[:12]})",
            found=f"one of weights {baked[:12] if isinstance(baked, str) else baked}",
            hint=hint,
        )
    try:
        grid = SparseGrid(tuple(record["shape"]), *(record[name].numpy() for name in ("first", "last", "offset")))
        bake = Bake(
            grid,
            terms=PolynomialBasis(**record["terms"]),
            **{name: record[name] for name in ("box", "num_samples", "rest", "coefficients", "steps")},
            model_digest=digest,
            metrics=dict(record["metrics"]),
        )
        # the kernels that play it do not look whether an index is within an array
        require_shapes(bake, bake.terms, bake.grid)
        grid.require_whole()
        if bake.rest.shape[1] != BLOCK or bake.rest.numel() < grid.num_vertices * CHANNELS:
            raise ValueError(f"{tuple(bake.rest.shape)} values for {grid.num_vertices} vertices")
        if bake.steps.shape[1] != CHANNELS or not 0 < bake.num_samples <= _MOST_SAMPLES:
            raise ValueError(f"{bake.steps.shape[1]} channels, {bake.num_samples} samples")
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        found = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise TalkingError(path, expected="a whole bake", found=found, hint=hint) from error
    return bake
