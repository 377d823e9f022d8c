"""`process_video`: from a video to a dataset folder, in resumable stages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.prompt import Confirm

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.frame_range import parse_frame_range
from nerfstudio_talking.dataset_io.track import TRACK_JSON, TalkingTrack, load_track, normalization_of, save_track
from nerfstudio_talking.face import measurements
from nerfstudio_talking.face.head_pose.bundle_adjustment import pose_jitter
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.digests import file_digest
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.version import __version__
from nerfstudio_talking.process import audio_track, checks, pose_refinement, steps
from nerfstudio_talking.process.config import ProcessConfig
from nerfstudio_talking.process.parsing.folder import parsing_files
from nerfstudio_talking.process.stages import Workspace, stage_key
from nerfstudio_talking.process.steps import Job

HIGHEST_FPS = 60.0


def process_video(config: ProcessConfig) -> Path:
    """Make a dataset folder (layout: `dataset_io.track`) of a video of one person speaking.

    Killed at any point and run again, it resumes where it stopped and writes the same files. A folder that already
    holds this video, processed with these options, is left unchanged.

    Returns:
        The dataset folder.

    Raises:
        TalkingError: the input cannot be used, or the output cannot be written.
    """
    from nerfstudio_talking.media.decoding.audio_source import audio_source
    from nerfstudio_talking.media.reading import probe_video

    config.validate()
    info = probe_video(config.video)
    if config.rotate in (90, 270):
        info = replace(info, width=info.height, height=info.width)
    checks.require_audio(config.video, info.has_audio)
    source = audio_source(config.video)
    checks.require_voice(config.video, source.level)
    fps = config.fps if config.fps is not None else min(info.fps, HIGHEST_FPS)
    start, stop = parse_frame_range(config.frames, int(info.duration * fps + 0.5))
    assert stop is not None
    space = Workspace(config.output)
    kind = audio_track.choose_features(config.audio_model)
    video_digest = file_digest(config.video)
    keys = _stage_keys(config, video_digest, fps, kind)
    finished = _finished(config.output)
    if finished is not None and keys["but features"] == finished.provenance.get("key_but_features"):
        if space.work.is_dir():
            space.close()
        if keys["track"] == finished.provenance.get("key"):
            CONSOLE.print(f"{escape(str(config.output))} is this dataset already: nothing to do.", soft_wrap=True)
        else:
            audio_track.replace_features(space, finished, kind, keys["track"], config.report)
        return config.output
    if finished is not None:
        _ask_before_replacing(config, finished, video_digest)
    checks.require_face_tracker()
    space.open()
    space.invalidate()
    job = Job(replace(config, audio_model=kind), info, fps, start, stop, space, _progress)
    job.findings += [checks.Finding("converted", note) for note in info.notes]
    job.findings += [checks.Finding("audio-source", note) for note in source.notes]

    def stage(name: str, work: Callable[[Job], None]) -> None:
        if not space.is_done(name, keys[name]):
            work(job)
            space.mark(name, keys[name])

    try:
        stage("faces", steps.find_faces)
        steps.check_clip(job)
        stage("images", steps.write_images)
        stage("pose", steps.solve_pose)
        if config.face_landmarker is not None:
            stage("blendshapes", steps.find_blendshapes)
        stage("audio", audio_track.write_audio)
        stage("parsing", steps.write_parsing)
        stage("refinement", pose_refinement.refine_poses)
        stage("body", steps.track_body)
        stage("layers", steps.write_layers)
        track = _assemble(job, keys, video_digest)
        if config.report:
            from nerfstudio_talking.reports.dataset_report import write_report

            write_report(config.output, track)
        save_track(track, config.output)
    except OSError as error:
        if error.errno is None:
            raise
        raise TalkingError(
            error.filename or config.output,
            expected="to be read and written",
            found=error.strerror or str(error),
            hint="Fix that and run the same command again: it resumes where it stopped.",
        ) from error
    space.close()
    _print_summary(job, track)
    return config.output


def _stage_keys(config: ProcessConfig, source: str, fps: float, kind: str) -> dict[str, str]:
    """The key of every stage: a digest of all that its result depends on.

    'but features' is that of the whole dataset apart from the kind of audio features. 'clip' is the track's digest: of
    the video and of what was made of it, on which a trained portrait depends.
    """
    model = config.face_landmarker
    keys = {"faces": stage_key("faces", __version__, source, fps=fps, frames=config.frames, rotate=config.rotate)}
    keys["images"] = stage_key("images", keys["faces"], crop=config.crop, size=config.size)
    keys["pose"] = stage_key("pose", keys["images"])
    digest = file_digest(model) if model is not None and model.is_file() else str(model)
    keys["blendshapes"] = stage_key("blendshapes", keys["images"], model=digest)
    features = file_digest(Path(kind)) if Path(kind).is_file() else kind
    keys["audio"] = stage_key("audio", keys["pose"], model=features, offset=config.audio_offset)
    maps = [] if config.parsing is None else [file_digest(path) for path in parsing_files(config.parsing)]
    keys["parsing"] = stage_key("parsing", keys["pose"], maps=maps)
    version = pose_refinement.VERSION
    keys["refinement"] = stage_key("refinement", keys["parsing"], enabled=config.refine_poses, version=version)
    keys["body"] = stage_key("body", keys["parsing"])
    keys["layers"] = stage_key("layers", keys["refinement"])
    others = [keys[name] for name in keys if name != "audio"]
    keys["but features"] = stage_key("track", *others, offset=config.audio_offset, report=config.report)
    keys["track"] = stage_key("track", keys["but features"], keys["audio"])
    keys["clip"] = stage_key("clip", keys["layers"], keys["body"], offset=config.audio_offset)
    return keys


def _finished(folder: Path) -> TalkingTrack | None:
    """The finished dataset of a folder, if it holds one."""
    if not (folder / TRACK_JSON).is_file():
        return None
    try:
        return load_track(folder)
    except TalkingError:
        return None


def _ask_before_replacing(config: ProcessConfig, finished: TalkingTrack, video_digest: str) -> None:
    """Ask before a finished dataset of another video is replaced.

    Raises:
        TalkingError: the answer is no, or there is nobody to ask.
    """
    source = finished.provenance.get("source", {})
    if config.overwrite or source.get("digest") == video_digest:
        return
    name = finished.provenance.get("video", "another video")
    if sys.stdin.isatty() and Confirm.ask(
        f"{escape(str(config.output))} is a finished dataset of {escape(name)}. Replace it?", console=CONSOLE
    ):
        return
    raise TalkingError(
        config.output,
        expected=f"a folder for {config.video.name}",
        found=f"a finished dataset of {name}",
        hint="Choose another --output, or add --overwrite True to replace it.",
    )


def _assemble(job: Job, keys: dict[str, str], video_digest: str) -> TalkingTrack:
    """The track from the results of the stages."""
    from nerfstudio_talking.dataset_io.track import AUDIO_NAME

    config, space = job.config, job.space
    crop = steps.clip_crop(job)
    faces, pose, audio, body = (space.load_arrays(name) for name in ("faces", "pose", "audio", "body"))
    landmarks = crop.points(faces["landmarks"])
    camera_to_worlds = space.load_arrays("refined_pose")["camera_to_worlds"]
    eyes = measurements.eye_opening(measurements.lid_gap(landmarks, camera_to_worlds))
    expression = space.load_arrays("blendshapes")["expression"] if config.face_landmarker is not None else None
    audio_record = space.record("audio_record")
    job.findings += [checks.Finding(*pair) for pair in audio_record["findings"]]
    jitter = np.array([pose_jitter(camera_to_worlds[:1500]), pose["jitter"][1]])  # as many frames as by PnP
    seen_body = ~np.isnan(body["correlation"])
    job.findings += checks.body_findings(seen_body)
    positions = job.start + np.arange(job.num_frames)
    provenance: dict[str, Any] = {
        "key": keys["track"],
        "key_but_features": keys["but features"],
        "version": __version__,
        "video": config.video.name,
        "source": {
            "width": job.info.width,
            "height": job.info.height,
            "fps": job.info.fps,
            "digest": video_digest,
        },
        "frames": [job.start, job.stop],
        "crop": [crop.x, crop.y, crop.width, crop.height],
        "camera_to_worlds": {
            "method": "bundle adjustment over FaceMesh's rigid points",
            "reprojection_px": round(float(np.nanmedian(pose["error"])), 4),
            "reprojection_of_independent_pnp_px": round(float(pose["pnp_error"]), 4),
            "rotation_second_difference_deg": round(float(jitter[0, 0]), 5),
            "depth_second_difference_m": round(float(jitter[0, 1]), 7),
            "steadier_than_independent_pnp": [
                round(float(ratio), 2) for ratio in jitter[1] / np.maximum(jitter[0], 1e-12)
            ],
            "interpolated_frames": np.flatnonzero(~pose["seen"]).tolist(),
            "refinement": space.record("refinement_record"),
        },
        "audio": audio_record["audio"],
        "eyes": "FaceMesh lid gaps on the person's own scale",
        "lips": "FaceMesh inner-lip gap over the distance of the outer eye corners",
        "expression": None if expression is None else "MediaPipe face landmarker, 52 blendshapes",
        "parsing": "landmarks and person mask" if config.parsing is None else f"read from {config.parsing.name}",
        "body": {
            "method": "affine motion of the clothes by enhanced correlation",
            "correlation": None if not seen_body.any() else round(float(body["correlation"][seen_body].mean()), 4),
            "interpolated_frames": np.flatnonzero(~seen_body).tolist(),
        },
        "findings": [[finding.code, finding.message] for finding in job.findings],
    }
    return TalkingTrack(
        fps=float(job.fps),
        camera=PinholeCamera(float(pose["focal"]), crop.out_width, crop.out_height),
        camera_to_worlds=camera_to_worlds,
        audio=audio["features"].astype(np.float32),
        audio_kind=audio_record["audio"]["kind"],
        audio_normalization=normalization_of(audio),
        eyes=measurements.fill_gaps(eyes),
        lips=measurements.lip_opening(landmarks, camera_to_worlds),
        expression=expression,
        landmarks=landmarks[..., :2].astype(np.float32),
        body=body["motions"],
        mouth_activity=audio["mouth_activity"],
        frame_ids=np.round(positions * (job.info.fps / job.fps)).astype(np.int64),
        audio_path=config.output / AUDIO_NAME,
        digest=keys["clip"],
        provenance=provenance,
    )


@contextmanager
def _progress(title: str, total: int | None) -> Iterator[Callable[[], Any]]:
    columns = [TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=CONSOLE) as bar:
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)
        if total is None:
            bar.update(task, total=1, completed=1)


def _print_summary(job: Job, track: TalkingTrack) -> None:
    """Print warnings and a summary."""
    for finding in job.findings:
        CONSOLE.print(f"[yellow]Warning ({finding.code}):[/] {escape(finding.message)}", soft_wrap=True)
    pose = track.provenance["camera_to_worlds"]
    rotation, depth = pose["steadier_than_independent_pnp"]
    CONSOLE.print(
        f"{track.num_frames} frames of {track.width}x{track.height} at {track.fps:g} per second. Head pose: "
        f"{pose['reprojection_px']:.2f} px reprojection error, focal length {track.camera.focal:.0f} px; "
        f"jitter of rotation {rotation:.1f} and of depth {depth:.1f} times smaller than by frame-by-frame PnP.",
        soft_wrap=True,
    )
    refinement = pose["refinement"]
    if "skipped" in refinement:
        CONSOLE.print(f"Head pose not refined by the images: {escape(refinement['skipped'])}.", soft_wrap=True)
    else:
        before, after = refinement["colour_residual_before"], refinement["colour_residual_after"]
        CONSOLE.print(
            f"Refining the head pose by the images lowered the colour difference from {before:.2f} to {after:.2f} "
            "levels of 255.",
            soft_wrap=True,
        )
    CONSOLE.print(f"[green]Wrote {escape(str(job.config.output))}[/]", soft_wrap=True)
