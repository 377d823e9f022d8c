"""Make the canonical face: the FaceMesh points of the sample's face at rest, and the triangles between them.

    python scripts/sample_clip/make_canonical_face.py

The points are those of the sample clip's ground truth (a photograph in the public domain, see tests/data/sample), in
the head's frame and in metres. Triangles are the triples of points that FaceMesh's tessellation joins pairwise, except
those that enclose a fourth point, all wound the same way.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import trimesh
from mediapipe.python.solutions.face_mesh_connections import FACEMESH_TESSELATION

ROOT = Path(__file__).resolve().parents[2]


def tessellation_triangles(points: np.ndarray) -> np.ndarray:
    """Triangles (T, 3) of the tessellation, counter-clockwise as seen from the front."""
    joined: dict[int, set[int]] = {}
    for a, b in FACEMESH_TESSELATION:
        joined.setdefault(a, set()).add(b)
        joined.setdefault(b, set()).add(a)
    triples = {
        tuple(sorted((a, b, c))) for a in joined for b, c in combinations(sorted(joined[a]), 2) if c in joined[b]
    }
    # a vertex of three neighbours makes its outer triangle a clique too, which would overlap the three small ones
    hubs = {tuple(sorted(near)) for near in joined.values() if len(near) == 3}
    faces = np.array(sorted(triples - {hub for hub in hubs if hub in triples}))
    mesh = trimesh.Trimesh(points, faces, process=False)
    trimesh.repair.fix_winding(mesh)
    facing = mesh.face_normals[:, 2].sum() > 0
    return np.asarray(mesh.faces if facing else mesh.faces[:, ::-1])


if __name__ == "__main__":
    with np.load(ROOT / "tests" / "data" / "sample" / "ground_truth.npz") as gt:
        shape = gt["shape"].astype(np.float64)
    target = ROOT / "nerfstudio_talking" / "face" / "canonical_face.npz"
    triangles = tessellation_triangles(shape)
    np.savez_compressed(target, points=shape.astype(np.float32), triangles=triangles.astype(np.int16))
