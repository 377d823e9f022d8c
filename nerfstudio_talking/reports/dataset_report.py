"""The sheet a person looks at after processing: one self-contained HTML page."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw
from scipy.spatial.transform import Rotation

from nerfstudio_talking.dataset_io.parsing_labels import PALETTE, PARSING_CLASSES, colour_parsing
from nerfstudio_talking.dataset_io.track import (
    AUDIO_NAME,
    BACKGROUND_NAME,
    IMAGE_DIR,
    PARSING_DIR,
    TORSO_DIR,
    TalkingTrack,
)
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import new_file
from nerfstudio_talking.reports.svg import Curve, embed_image, plot

REPORT_NAME = "report.html"
_SAMPLES = 5
_SIDE = 360  # of an image on the sheet
_AXIS = 0.08  # metres
_AXIS_COLOURS = ((220, 50, 47), (60, 160, 60), (38, 110, 220))
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:1120px;margin:1.5em auto;padding:0 1em;color:#1c1e21;background:#fff}
h1{font-size:1.5em;margin:0} h2{font-size:1.1em;margin:1.6em 0 .4em} small,.quiet{color:#667}
.row{display:flex;flex-wrap:wrap;gap:6px} .row figure{flex:1 1 190px;max-width:360px}
figure{margin:0 0 .5em} figcaption{font-size:.86em;color:#445} img{width:100%;display:block;border-radius:3px}
.check img{background:repeating-conic-gradient(#ddd 0 25%,#fff 0 50%) 0/16px 16px}
.wide img{height:130px;width:94.8%;margin-left:5.2%;object-fit:fill;image-rendering:pixelated}
svg{width:100%;display:block} svg text{font-size:11px;fill:#667} .frame{fill:#f7f8fa} .tick{stroke:#e2e5ea}
.key{margin-left:1em;white-space:nowrap} .key i{display:inline-block;width:.8em;height:.8em;margin-right:.3em;
border:1px solid #0002}
ul.warn{background:#fff6df;border-left:4px solid #e0a000;padding:.6em 1em .6em 2em;margin:.8em 0}
.fine{background:#eaf6ec;border-left:4px solid #3a9d4b;padding:.6em 1em;margin:.8em 0}
table{border-collapse:collapse;font-size:.9em} td{padding:.12em 1em .12em 0;vertical-align:top;overflow-wrap:anywhere}
td:first-child{color:#556;white-space:nowrap}
"""


def write_report(folder: Path, track: TalkingTrack) -> Path:
    """Write report.html into a dataset folder: images, parsing, layers, curves, warnings and figures on one page.

    Args:
        folder: the dataset folder, of the layout in track.py; track.json need not be there yet.
        track: its track.

    Returns:
        The path of the page, which needs no other file.

    Raises:
        TalkingError: an image of the dataset is missing or cannot be read.
    """
    title = str(track.provenance.get("video", folder.name))
    body = "\n".join([_head(title, track), *_images(folder, track), *_layers(folder), *_curves(folder, track)])
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}: report</title>'
        f"<style>{_STYLE}</style></head><body>\n{body}\n{_figures(track)}\n</body></html>\n"
    )
    path = folder / REPORT_NAME
    with new_file(path) as file:
        file.write(page.encode("utf-8"))
    return path


def _head(title: str, track: TalkingTrack) -> str:
    facts = f"{track.num_frames} frames, {track.duration:.1f} s, {track.width}x{track.height}, {track.fps:g} per second"
    findings = track.provenance.get("findings", [])
    if findings:
        rows = "".join(f"<li><b>{_text(code)}</b>: {_text(message)}</li>" for code, message in findings)
        verdict = f'<ul class="warn">{rows}</ul>'
    else:
        verdict = '<p class="fine">No warnings.</p>'
    return f'<h1>{_text(title)}</h1><p class="quiet">{facts}, focal length {track.camera.focal:.0f} px</p>{verdict}'


def _images(folder: Path, track: TalkingTrack) -> Iterator[str]:
    """Sample frames with landmarks and axes, and the same with their parsing."""
    frames = np.unique(np.linspace(0, track.num_frames - 1, _SAMPLES).round().astype(int))
    faces, maps = [], []
    for frame in frames:
        image = _read(folder / IMAGE_DIR / f"{frame:06d}.jpg")
        ids = _read(folder / PARSING_DIR / f"{frame:06d}.png")
        label = f"frame {frame}, {frame / track.fps:.1f} s"
        faces.append(_figure(draw_face(image, track, int(frame)), label))
        maps.append(_figure(_shrunk(overlay(image, ids)), label))
    yield f'<h2>Landmarks and head pose</h2><div class="row">{"".join(faces)}</div>'
    keys = "".join(
        f'<span class="key"><i style="background:rgb{tuple(int(c) for c in colour)}"></i>{name}</span>'
        for name, colour in zip(PARSING_CLASSES, PALETTE)
    )
    yield f'<h2>Parsing</h2><div class="row">{"".join(maps)}</div><p>{keys}</p>'


def _layers(folder: Path) -> Iterator[str]:
    """Background and torso references."""
    cells = [_figure(_shrunk(_read(folder / BACKGROUND_NAME)), "background")]
    for path in sorted((folder / TORSO_DIR).glob("*.png")):
        cells.append(_figure(_shrunk(_read(path)), f"torso {path.stem}"))
    yield f'<h2>Background and torso</h2><div class="row check">{"".join(cells)}</div>'


def _curves(folder: Path, track: TalkingTrack) -> Iterator[str]:
    """Lips against loudness, the audio features, eyes, pose."""
    seconds = track.duration
    yield "<h2>Audio and face</h2>"
    curves = []
    if track.lips is not None:
        curves.append(Curve("lip opening", _unit(track.lips), "#c0392b"))
    loudness = frame_loudness(folder / AUDIO_NAME, track)
    if loudness is not None:
        curves.append(Curve("loudness", _unit(loudness), "#2471a3"))
    if curves:
        yield plot("Lips and audio", curves, seconds, "each from its 2nd to its 98th percentile")
    features = track.audio[:, track.audio.shape[1] // 2].T[::-1]
    grey = embed_image((_unit(features) * 255).astype(np.uint8), f"{track.audio_kind} features over time")
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


def _figures(track: TalkingTrack) -> str:
    """Everything in the provenance, as a table."""
    shown = {name: value for name, value in track.provenance.items() if name not in ("findings", "key")}
    rows = "".join(f"<tr><td>{_text(name)}</td><td>{_text(value)}</td></tr>" for name, value in _flat(shown))
    return f"<h2>Figures</h2><table>{rows}</table>"


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
    small = _shrunk(image)
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


def frame_loudness(path: Path, track: TalkingTrack) -> Float32[np.ndarray, " frames"] | None:
    """Loudness of each frame's audio in dB, floored at 60 dB below the loudest; None where there is no audio file."""
    import soundfile

    if not path.is_file():
        return None
    samples, rate = soundfile.read(path, dtype="float32")
    edges = (np.arange(track.num_frames + 1) / track.fps * rate).astype(int)
    power = np.array(
        [np.mean(np.square(samples[a:b])) if a < min(b, len(samples)) else 0.0 for a, b in itertools.pairwise(edges)]
    )
    return (10 * np.log10(np.maximum(power, max(power.max(), 1e-12) * 1e-6))).astype(np.float32)


def _unit(values: np.ndarray) -> np.ndarray:
    """Values stretched to [0, 1] between their 2nd and 98th percentile; NaN stays."""
    low, high = np.nanpercentile(values, (2, 98)) if np.isfinite(values).any() else (0.0, 1.0)
    return np.clip((values - low) / max(high - low, 1e-9), 0, 1)


def _css() -> list[str]:
    return [f"rgb{colour}" for colour in _AXIS_COLOURS]


def _figure(image: np.ndarray, caption: str) -> str:
    return f"<figure>{embed_image(image, caption)}<figcaption>{_text(caption)}</figcaption></figure>"


def _shrunk(image: np.ndarray) -> np.ndarray:
    scale = _SIDE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)) if scale < 1 else image


def _text(value: Any) -> str:
    return html.escape(str(value))


def _flat(record: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and len(value) > 12:
            yield prefix + name, f"{len(value)} values: {', '.join(map(str, value[:12]))} ..."
        else:
            yield prefix + name, value


def _read(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as file:
            return np.asarray(file)
    except OSError as error:
        raise TalkingError(
            path, expected="an image of the dataset", found=str(error), hint="Process the video again."
        ) from error
