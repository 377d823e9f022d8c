"""What a video is scored with: the options of `ns-talking score` and of `score_videos`. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(kw_only=True)
class ScoreSettings:
    """Files and ranges beyond the two videos; what needs none of them is always measured."""

    audio: Path | None = None
    """The audio that the lips should follow; without it the rendering's own, else the ground truth's."""
    gt_frames: Annotated[str | None, tyro.conf.arg(metavar="A:B")] = None
    """The frames of the ground truth that were rendered, from A up to, not including, B; all where not given."""
    face_landmarker: Path | None = None
    """MediaPipe's face_landmarker.task, for AUE by blendshapes."""
    openface: tuple[Path, Path] | None = None
    """The CSV files that OpenFace writes for the rendering and for the ground truth (whole videos), for AUE."""
    syncnet: Path | None = None
    """SyncNet's weights syncnet_v2.model, for its confidence and distance (LSE-C, LSE-D)."""
    lpips_weights: Path | None = None
    """Torchvision's alexnet-owt-7be5be79.pth for LPIPS; the torch cache is searched where not given."""
    fid_weights: Path | None = None
    """FID's weights-inception-2015-12-05-6726825d.pth of torch-fidelity, where not in the torch cache."""
