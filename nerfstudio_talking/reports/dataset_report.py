"""What a person looks at after processing: images, parsing, layers, curves and warnings of a dataset on one page."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw
from scipy.spatial.transform import Rotation

from nerfstudio_talking.audio.loudness import frame_loudness
from nerfstudio_talking.dataset_io.parsing_labels import PALETTE, PARSING_CLASSES, colour_parsing
from nerfstudio_talking.dataset_io.track import (
    AUDIO_NAME,
    BACKGROUND_NAME,
    IMAGE_DIR,
    PARSING_DIR,
    TORSO_DIR,
    TalkingTrack,
)
from nerfstudio_talking.media.images import read_image, shrink_image
from nerfstudio_talking.reports import page
from nerfstudio_talking.reports.svg import Curve, plot

REPORT_NAME = "report.html"
_SAMPLES = 5
_SIDE = 360  # of an image on the page
_AXIS = 0.08  # metres
_AXIS_COLOURS = ((220, 50, 47), (60, 160, 60), (38, 110, 220))


def write_report(folder: Path, track: TalkingTrack) -> Path:
    """Write report.html into a dataset folder.

    Args:
        folder: the dataset folder, of the layout in track.py; track.json need not be there yet.
        track: its track.

    Returns:
        The path of the page, which needs no other file.

    Raises:
        TalkingError: an image of the dataset is missing or cannot be read.
    """
    title = str(track.provenance.get("video", folder.name))
    parts = [*_head(track), *_images(folder, track), _layers(folder), *_curves(folder, track), _provenance(track)]
    return page.write_page(folder / REPORT_NAME, title, parts)


def _head(track: TalkingTrack) -> Iterator[str]:
    """Facts and warnings."""
    facts = f"{track.num_frames} frames, {track.duration:.1f} s, {track.width}x{track.height}, {track.fps:g} per second"
    yield page.paragraph(f"{facts}, focal length {track.camera.focal:.0f} px")
    yield page.paragraph("This is a person: make a portrait of them only if they have agreed to it.")
    findings = track.provenance.get("findings", [])
    if findings:
        rows = "".join(f"<li><b>{_text(code)}</b>: {_text(message)}</li>" for code, message in findings)
        yield f'<ul class="warn">{rows}</ul>'
    else:
        yield '<p class="fine">No warnings.</p>'


def _images(folder: Path, track: TalkingTrack) -> Iterator[str]:
    """Sample frames with landmarks and axes, and the same with their parsing."""
    frames = np.unique(np.linspace(0, track.num_frames - 1, _SAMPLES).round().astype(int))
    faces, maps = [], []
    for frame in frames:
        image = read_image(folder / IMAGE_DIR / f"{frame:06d}.jpg")
        ids = read_image(folder / PARSING_DIR / f"{frame:06d}.png")
        label = f"frame {frame}, {frame / track.fps:.1f} s"
        faces.append(page.figure(draw_face(image, track, int(frame)), label))
        maps.append(page.figure(shrink_image(overlay(image, ids), _SIDE), label))
    yield page.section("Landmarks and head pose", f'<div class="row">{"".join(faces)}</div>')
    keys = "".join(
        page.color_key(f"rgb{tuple(int(c) for c in colour)}", name) for name, colour in zip(PARSING_CLASSES, PALETTE)
    )
    yield page.section("Parsing", f'<div class="row">{"".join(maps)}</div><p>{keys}</p>')


def _layers(folder: Path) -> str:
    """Background and torso references."""
    cells = [page.figure(shrink_image(read_image(folder / BACKGROUND_NAME), _SIDE), "background")]
    for path in sorted((folder / TORSO_DIR).glob("*.png")):
        cells.append(page.figure(shrink_image(read_image(path), _SIDE), f"torso {path.stem}"))
    return page.section("Background and torso", f'<div class="row check">{"".join(cells)}</div>')


def _curves(folder: Path, track: TalkingTrack) -> Iterator[str]:
    """Lips against loudness, the audio features, eyes, pose."""
    import soundfile

    seconds = track.duration
    yield page.section("Audio and face")
    curves = []
    if track.lips is not None:
        curves.append(Curve("lip opening", _unit(track.lips), "#c0392b"))
    if (folder / AUDIO_NAME).is_file():
        samples, rate = soundfile.read(folder / AUDIO_NAME, dtype="float32")
        loudness = frame_loudness(samples, track.fps, track.num_frames, rate)
        curves.append(Curve("loudness", _unit(loudness), "#2471a3"))
    if curves:
        yield plot("Lips and audio", curves, seconds, "each from its 2nd to its 98th percentile")
    features = track.audio[:, track.audio.shape[1] // 2].T[::-1]
    grey = page.embed_image((_unit(features) * 255).astype(np.uint8), f"{track.audio_kind} features over time")
    yield f'<figure class="wide"><figcaption>{_text(track.audio_kind)}: features over time</figcaption>{grey}</figure>'
    names = ("right eye", "left eye") if track.eyes.shape[1] == 2 else ("eyes",) * track.eyes.shape[1]
    colours = ("#1e8449", "#7d3c98")
    eyes = [Curve(name, track.eyes[:, i], colours[i % 2]) for i, name in enumerate(names)]
    yield plot("Eye opening", eyes, seconds, "0 closed, 1 open")
    angles, position = head_motion(track.camera_to_worlds)
    turn = [Curve(n, angles[:, i], c) for i, (n, c) in enumerate(zip(("yaw", "pitch", "roll"), _css()))]
    yield plot("Head rotation", turn, seconds, "degrees")
    move = [Curve(n, position[:, i], c) for i, (n, c) in enumerate(zip(("right", "up", "near"), _css()))]
    yield plot("Head position about its mean", move, seconds, "cm")


def _provenance(track: TalkingTrack) -> str:
    """Everything in the provenance, as a table."""
    shown = {name: value for name, value in track.provenance.items() if name not in ("findings", "key")}
    return page.section("Provenance", page.table(_flatten(shown)))


def head_motion(
    camera_to_worlds: Float32[np.ndarray, "frames 3 4"],
) -> tuple[Float32[np.ndarray, "frames 3"], Float32[np.ndarray, "frames 3"]]:
    """Yaw, pitch and roll of the head in degrees, and its position about its mean in centimetres, both as the camera
    sees them: right, up, towards the camera."""
    turn = camera_to_worlds[:, :, :3].transpose(0, 2, 1)
    angles = Rotation.from_matrix(turn.astype(np.float64)).as_euler("YXZ", degrees=True)
    position = -np.einsum("nij,nj->ni", turn, camera_to_worlds[:, :, 3])
    return angles.astype(np.float32), (100 * (position - position.mean(axis=0))).astype(np.float32)


def draw_face(
    image: UInt8[np.ndarray, "height width 3"], track: TalkingTrack, frame: int
) -> UInt8[np.ndarray, "height width 3"]:
    """A frame with its landmarks, and the head's axes: red to its left, green up, blue out of the face."""
    small = shrink_image(image, _SIDE)
    scale = small.shape[1] / track.width
    canvas = Image.fromarray(small)
    draw = ImageDraw.Draw(canvas)
    if track.landmarks is not None:
        for x, y in track.landmarks[frame] * scale:
            if np.isfinite(x):
                draw.ellipse((x - 0.8, y - 0.8, x + 0.8, y + 0.8), fill=(90, 255, 200))
    axes = np.vstack([np.zeros(3), _AXIS * np.eye(3)])
    pose = track.camera_to_worlds[frame : frame + 1].astype(np.float64)
    tips = track.camera.project(axes, pose)[0] * scale
    for tip, colour in zip(tips[1:], _AXIS_COLOURS):
        draw.line([*tips[0], *tip], fill=colour, width=3)
    return np.asarray(canvas)


def overlay(
    image: UInt8[np.ndarray, "height width 3"], ids: UInt8[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """A frame tinted with the colours of its parsing."""
    return (0.45 * image + 0.55 * colour_parsing(ids)).astype(np.uint8)


def _unit(values: np.ndarray) -> np.ndarray:
    """Values stretched to [0, 1] between their 2nd and 98th percentile; NaN stays."""
    low, high = np.nanpercentile(values, (2, 98)) if np.isfinite(values).any() else (0.0, 1.0)
    return np.clip((values - low) / max(high - low, 1e-9), 0, 1)


def _css() -> list[str]:
    return [f"rgb{colour}" for colour in _AXIS_COLOURS]


def _text(value: Any) -> str:
    return html.escape(str(value))


def _flatten(record: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list) and len(value) > 12:
            yield prefix + name, f"{len(value)} values: {', '.join(map(str, value[:12]))} ..."
        else:
            yield prefix + name, value
