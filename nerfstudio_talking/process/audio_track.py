"""The audio stage: the voice as audio.wav, its features, and how late it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.markup import escape

from nerfstudio_talking.dataset_io.track import AUDIO_NAME, TalkingTrack, normalization_arrays, save_track
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.files import write_json
from nerfstudio_talking.process import checks
from nerfstudio_talking.process.checks import Finding
from nerfstudio_talking.process.stages import Workspace
from nerfstudio_talking.process.steps import Job, lip_curve

SAMPLE_RATE = 16000
WORTH_A_WARNING = 2
"""Frames of audio/video offset past which a warning is given."""


def choose_features(audio_model: str) -> str:
    """The kind of audio features that `--audio-model` means; where it means the best, the console says which it is."""
    from nerfstudio_talking.audio.features.registry import AUTO, best_feature_kind

    if audio_model != AUTO:
        return audio_model
    kind, reasons = best_feature_kind()
    reason = f" Better, but not to be had: {'; '.join(reasons)}." if reasons else ""
    CONSOLE.print(escape(f"Audio features: {kind.spec}.{reason}"), soft_wrap=True)
    return kind.spec


def replace_features(space: Workspace, track: TalkingTrack, kind: str, key: str, report: bool) -> None:
    """Give a finished dataset another kind of audio features, computed from its audio.wav.

    Args:
        space: the dataset's folder.
        track: its track.
        kind: of the new features.
        key: of the dataset with them.
        report: whether to write report.html anew.
    """
    from nerfstudio_talking.audio.extract import extract_features
    from nerfstudio_talking.media.reading import read_audio

    folder = space.folder
    features = extract_features(read_audio(folder / AUDIO_NAME), track.fps, track.num_frames, kind)
    audio = {**track.provenance["audio"], "kind": features.kind}
    changed = track.replace(
        audio=features.windows,
        audio_kind=features.kind,
        audio_normalization=features.normalization,
        mouth_activity=features.mouth_activity,
        provenance={**track.provenance, "key": key, "audio": audio},
    )
    space.open()
    space.invalidate()
    if report:
        from nerfstudio_talking.reports.dataset_report import write_report

        write_report(folder, changed)
    save_track(changed, folder)
    space.close()
    CONSOLE.print(
        escape(f"{folder} is this dataset already, with other audio features: they are {features.kind} now."),
        soft_wrap=True,
    )


def write_audio(job: Job) -> None:
    """audio.wav, features to audio.npz, offset and findings to audio_record.json."""
    from nerfstudio_talking.audio.extract import extract_features
    from nerfstudio_talking.audio.frame_audio import cut_audio
    from nerfstudio_talking.audio.sync import estimate_offset
    from nerfstudio_talking.media.decoding.audio_source import loud_level
    from nerfstudio_talking.media.reading import read_audio
    from nerfstudio_talking.media.writing import write_wav

    with job.progress("Audio features", None):
        samples = read_audio(job.config.video)
        seconds = job.num_frames / job.fps
        findings = checks.audio_findings(len(samples) / SAMPLE_RATE, job.stop / job.fps)
        lips = lip_curve(job)
        as_found = cut_audio(samples, job.start / job.fps, seconds)
        findings += checks.require_voice(job.config.video, loud_level(as_found, SAMPLE_RATE))
        estimate = estimate_offset(lips, as_found, job.fps)
        applied = estimate.frames if job.config.audio_offset == "auto" else int(job.config.audio_offset)
        if job.config.audio_offset == "auto" and not estimate.significant:
            findings.append(Finding("audio-offset", checks.no_offset_text(estimate.null_size, job.num_frames, job.fps)))
        left = estimate.frames - applied
        if abs(left) > WORTH_A_WARNING:
            side = "late" if left > 0 else "early"
            text = f"The audio seems {abs(left)} frames {side}; --audio-offset {estimate.frames} (or auto) moves it."
            findings.append(Finding("audio-offset", text))
        samples = cut_audio(samples, (job.start + applied) / job.fps, seconds)
        features = extract_features(samples, job.fps, job.num_frames, job.config.audio_model)
        with job.space.new_file(job.space.folder / AUDIO_NAME) as aside:
            write_wav(aside, samples, SAMPLE_RATE)
    normalization = {} if features.normalization is None else normalization_arrays(features.normalization)
    arrays = {"features": features.windows, "mouth_activity": features.mouth_activity, **normalization}
    job.space.save_arrays("audio", **arrays)
    metrics = {"score": estimate.score, "null_max": estimate.null_max, "lag_frames": estimate.lag_frames}
    audio: dict[str, Any] = {
        "kind": features.kind,
        "offset_applied": applied,
        "offset_estimated": estimate.frames,
        "offset_significant": bool(estimate.significant),
        **{name: round(float(value), 4) if np.isfinite(value) else None for name, value in metrics.items()},
    }
    write_json(
        {"audio": audio, "findings": [[f.code, f.message] for f in findings]}, job.space.work / "audio_record.json"
    )
