"""Rendered frames that a refiner is trained on: read from a folder or video, or rendered by the personal mesh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from nerfstudio_talking.dataset_io.sequence import TalkingSequence
from nerfstudio_talking.io.console import CONSOLE, get_progress
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.frame_folder import RenderedRecord, read_record, read_rendered
from nerfstudio_talking.mesh_rendering.textured_face import render_sequence


def load_rendered(source: Path | None, sequence: TalkingSequence) -> UInt8[np.ndarray, "frames height width 3"]:
    """Every frame of a sequence as rendered.

    Warns where the portrait that rendered a folder was trained on another share of the frames than `sequence` has for
    training: frames that are scored as held out were then seen by the portrait, or the other way round.

    Args:
        source: a folder or video with one rendered frame for every frame of the sequence; None renders the personal
            mesh with the person's texture.
        sequence: the sequence.

    Raises:
        TalkingError: there is no such source, or it shows another sequence.
    """
    track = sequence.track
    if source is None:
        with get_progress("Rendering the personal mesh", suffix="frames/s") as progress:
            task = progress.add_task("Rendering the personal mesh", total=track.num_frames)
            return render_sequence(sequence, advance=lambda: progress.advance(task))
    record = _read_checked_record(source, sequence)
    if record is not None:
        share = len(sequence.train_frames) / track.num_frames
        if abs(record.train_fraction - share) * track.num_frames > 0.5:
            CONSOLE.print(
                f"[yellow]The portrait was trained on {record.train_fraction:.3f} of the frames, the refiner trains on "
                f"{share:.3f}: give both the same `talking-portrait-data --train-fraction`, or the refiner's scores "
                "are not those of held-out frames.[/]"
            )
    return read_rendered(source, track.num_frames, track.height, track.width)


def renderer_digest(source: Path | None, sequence: TalkingSequence) -> str:
    """What tells renderings apart: the digest of the portrait's checkpoint, or the sequence's where there is none.

    Raises:
        TalkingError: the source is a folder that shows another sequence.
    """
    record = None if source is None else _read_checked_record(source, sequence)
    return sequence.track.digest if record is None else record.checkpoint


def _read_checked_record(source: Path, sequence: TalkingSequence) -> RenderedRecord | None:
    """The record of a folder, which must be of this sequence; None for a video and a folder without a record."""
    if source.suffix.lower() in (".yml", ".yaml"):
        raise TalkingError(
            source,
            expected="a folder or video of rendered frames",
            found="a configuration file",
            hint=f"Render the frames first: `ns-talking render-frames --load-config {source} --output DIR`, "
            "then give DIR.",
        )
    record = read_record(source)
    track = sequence.track
    if record is not None and (record.sequence, record.num_frames) != (track.digest, track.num_frames):
        raise TalkingError(
            source,
            expected=f"frames of this sequence ({track.digest[:12]}, {track.num_frames} frames)",
            found=f"those of sequence {record.sequence[:12]}, {record.num_frames} frames",
            hint="Give the --data that the portrait was trained on, or render this sequence by its own portrait.",
        )
    return record
