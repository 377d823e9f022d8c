"""Sparse voxel grid, run-length encoded along z: a head's surface is a thin shell, one or two runs deep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int32


@dataclass(frozen=True)
class SparseGrid:
    """The vertices of some cells of a regular grid, one run along z above each (x, y).

    The table of runs fits into the CPU's cache, so that testing a cell is cheap; two vertices of a cell that lie
    behind each other are neighbours in memory.
    """

    shape: tuple[int, int, int]
    """Number of cells along x, y, z."""
    first: Int32[np.ndarray, " columns"]
    """First vertex of each run, counted along z; columns are (x, y) in row-major order, x slowest."""
    last: Int32[np.ndarray, " columns"]
    """One past the last vertex of the run; equal to `first` where there is none."""
    offset: Int32[np.ndarray, " columns"]
    """Index of the run's first vertex among all vertices."""

    @property
    def num_vertices(self) -> int:
        """Number of vertices in all runs."""
        return int((self.last - self.first).sum())

    def require_whole(self) -> None:
        """Check a grid that was read from a file: all runs lie within the grid, and follow one another.

        Raises:
            ValueError: one does not.
        """
        if len(self.shape) != 3 or not all(isinstance(size, int) and 0 < size < 1 << 12 for size in self.shape):
            raise ValueError(f"a grid of {self.shape}")
        nx, ny, nz = self.shape
        if len(self.first) != (nx + 1) * (ny + 1):
            raise ValueError(f"{len(self.first)} columns in a grid of {nx}x{ny} cells")
        lengths = self.last.astype(np.int64) - self.first
        if lengths.min() < 0 or self.first.min() < 0 or self.last.max() > nz + 1:
            raise ValueError(f"runs outside the grid's {nz} cells")
        if not np.array_equal(self.offset[lengths > 0], (np.cumsum(lengths) - lengths)[lengths > 0]):
            raise ValueError("runs that do not follow one another")

    def ranges(self) -> Int32[np.ndarray, "cells 2"]:
        """First cell above each (x, y) whose eight vertices exist, and one past the last."""
        nx, ny, _ = self.shape
        first, last = (runs.reshape(nx + 1, ny + 1) for runs in (self.first, self.last))
        corners = [(slice(x, x + nx), slice(y, y + ny)) for x in (0, 1) for y in (0, 1)]
        low = np.max([first[corner] for corner in corners], axis=0)
        high = np.min([last[corner] for corner in corners], axis=0) - 1
        return np.stack([low.ravel(), high.ravel()], axis=1).astype(np.int32)

    def bounds(self) -> Float32[np.ndarray, "2 3"]:
        """Corners of the box around all vertices, in cells."""
        used = np.flatnonzero(self.last > self.first)
        if not len(used):
            return np.zeros((2, 3), np.float32)
        x, y = np.divmod(used, self.shape[1] + 1)
        low = [x.min(), y.min(), self.first[used].min()]
        high = [x.max(), y.max(), self.last[used].max() - 1]
        return np.array([low, high], np.float32)

    def points(self) -> Float32[np.ndarray, "vertices 3"]:
        """Positions of the vertices in [0, 1]^3."""
        column = np.repeat(np.arange(len(self.first)), self.last - self.first)
        z = np.arange(self.num_vertices) - self.offset[column] + self.first[column]
        rows = self.shape[1] + 1
        vertex = np.stack([column // rows, column % rows, z], axis=1)
        return (vertex / np.array(self.shape)).astype(np.float32)


def sparse_grid_of(active: Bool[np.ndarray, "nx ny nz"]) -> SparseGrid:
    """The grid that holds all eight vertices of every active cell; a run also spans the gaps between them."""
    nx, ny, nz = active.shape
    vertices = np.zeros((nx + 1, ny + 1, nz + 1), dtype=bool)
    for corner in np.ndindex(2, 2, 2):
        x, y, z = corner
        vertices[x : x + nx, y : y + ny, z : z + nz] |= active
    some = vertices.any(2)
    first = np.where(some, vertices.argmax(2), 0).ravel().astype(np.int32)
    last = np.where(some, nz + 1 - vertices[:, :, ::-1].argmax(2), 0).ravel().astype(np.int32)
    offset = np.concatenate([[0], np.cumsum(last - first)[:-1]]).astype(np.int32)
    return SparseGrid((nx, ny, nz), first, last, offset)
