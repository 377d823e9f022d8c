"""What the scores are called in tables, their units, and which way is better."""

from __future__ import annotations

from typing import NamedTuple

_AREAS = {"": "frame", "_face": "face box", "_mouth": "mouth box"}
_UP, _DOWN, _GT, _ZERO = "higher", "lower", "near the ground truth's", "near 0"

SCORE_NAMES: dict[str, tuple[str, str, str]] = {
    **{f"psnr{area}": (f"PSNR, {text} (dB)", _UP, ".2f") for area, text in _AREAS.items()},
    **{f"ssim{area}": (f"SSIM, {text}", _UP, ".4f") for area, text in _AREAS.items()},
    **{f"lpips{area}": (f"LPIPS, {text}", _DOWN, ".4f") for area, text in _AREAS.items()},
    **{f"fid{area}": (f"FID, {text}", _DOWN, ".2f") for area, text in _AREAS.items()},
    "lmd": ("LMD (pixels)", _DOWN, ".3f"),
    "lmd_relative": ("LMD (% of the face's height)", _DOWN, ".3f"),
    "faces_missed": ("frames without a face", _DOWN, ".0f"),
    "lip_correlation": ("lip opening, correlation with the ground truth's", _UP, ".3f"),
    "lip_lag": ("lip opening, frames behind the ground truth's", _ZERO, ".0f"),
    **{
        f"aue_{source}_{half}": (f"AUE, {half} face ({text})", _DOWN, ".3f")
        for source, text in (("geometry", "landmarks"), ("blendshapes", "blendshapes"), ("openface", "OpenFace"))
        for half in ("upper", "lower")
    },
    "sync_score": ("sync: correlation with audio at the best lag", _UP, ".3f"),
    "sync_lag": ("sync: frames by which the audio is late", _ZERO, ".1f"),
    "sync_score_in_place": ("sync: correlation in place", _UP, ".3f"),
    "sync_null_max": ("sync: highest by chance", "", ".3f"),
    "syncnet_confidence": ("SyncNet confidence (LSE-C)", _UP, ".3f"),
    "syncnet_distance": ("SyncNet distance (LSE-D)", _DOWN, ".3f"),
    "syncnet_lag": ("SyncNet: frames by which the audio is late", _ZERO, ".0f"),
    "torso_jitter": ("torso jitter (per mille of the face's height, per frame squared)", _GT, ".2f"),
    "torso_jitter_error": ("torso jitter, its motion less the ground truth's", _DOWN, ".2f"),
    "torso_flicker": ("torso flicker against the ground truth (levels)", _DOWN, ".2f"),
    "face_flicker": ("face flicker against the ground truth, mouth excepted (levels)", _DOWN, ".2f"),
    "background_flicker": ("background flicker (levels)", _DOWN, ".2f"),
    "blinks_per_minute": ("blinks per minute", _GT, ".1f"),
    "lips_closed_in_silence": ("lips closed in silence (share of its frames)", "the ground truth's or higher", ".2f"),
}
"""Text, which way is better, and format of each score."""


class ScoreRow(NamedTuple):
    """A line of the table."""

    text: str
    rendering: str
    gt: str
    """The ground truth's own value where it has one."""
    better: str


def format_table(scores: dict[str, float]) -> list[ScoreRow]:
    """The scores as lines of a table, in a fixed order; a name it does not know comes last, as it is."""
    rows = []
    for name, (text, better, shape) in SCORE_NAMES.items():
        cells = [format(scores[key], shape) if key in scores else "" for key in (name, f"gt_{name}")]
        if any(cells):
            rows.append(ScoreRow(text, cells[0], cells[1], better))
    known = {key for name in SCORE_NAMES for key in (name, f"gt_{name}")}
    rows += [ScoreRow(name, f"{value:.4g}", "", "") for name, value in scores.items() if name not in known]
    return rows
