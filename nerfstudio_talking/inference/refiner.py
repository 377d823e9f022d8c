"""Loading a trained refiner and refining a video with it (`ns-talking drive --refine`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import UInt8

from nerfstudio_talking.inference.checkpoints import latest_checkpoint, read_run
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.digests import digest_tensor, file_digest
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.weights import load_state
from nerfstudio_talking.models.memory_gan import MemoryGanModelConfig
from nerfstudio_talking.refiner.network import StreamRefiner
from nerfstudio_talking.refiner.roi import as_roi

if TYPE_CHECKING:
    from nerfstudio_talking.dataset_io.track import TalkingTrack
    from nerfstudio_talking.inference.frames import RenderFrame

_MODEL_PREFIX = "_model."
_DDP_PREFIX = "module."
"""Follows the first prefix where several processes trained the model (DistributedDataParallel)."""
_HINT = "Give the config.yml of `ns-train memory-gan`."


def load_refiner(load_config: Path, portrait_config: Path | None, sequence_digest: str) -> StreamRefiner:
    """Load a trained refiner; neither its dataset nor its rendered frames are read.

    Warns where it was not trained on this sequence, or not on frames of this portrait. A refiner that does not know the
    sequence refines the whole image.

    Args:
        load_config: config.yml of `ns-train memory-gan`.
        portrait_config: config.yml of the portrait whose frames will be refined; None for frames of another origin.
        sequence_digest: digest of the portrait's sequence.

    Raises:
        TalkingError: there is no such run, it has no checkpoint, or it is not a refiner.
    """
    config = read_run(load_config)
    model = config.pipeline.model
    if not isinstance(model, MemoryGanModelConfig):
        raise TalkingError(load_config, expected="a refiner", found=f"method {config.method_name}", hint=_HINT)
    checkpoint = latest_checkpoint(load_config)
    state: Any = load_state(checkpoint, "a refiner", _HINT).get("pipeline")
    expected = "the weights of this refiner"
    if not isinstance(state, dict):
        raise TalkingError(checkpoint, expected=expected, found="none", hint=_HINT)
    refiner = model.build()
    state = {name.removeprefix(_MODEL_PREFIX).removeprefix(_DDP_PREFIX): value for name, value in state.items()}
    weights = {name.removeprefix("refiner."): value for name, value in state.items() if name.startswith("refiner.")}
    try:
        refiner.load_state_dict(weights)
    except RuntimeError as error:
        found = str(error).splitlines()[1].strip()
        raise TalkingError(checkpoint, expected=expected, found=found, hint=_HINT) from error
    wanted = digest_tensor(sequence_digest)
    try:
        sequences, rendered_by = (state[name].view(-1, len(wanted)) for name in ("sequence_digest", "rendered_by"))
        if not len(sequences) == len(rendered_by) == len(state["rois"]):
            raise ValueError("digests and regions of several numbers of sequences")
    except (KeyError, AttributeError, RuntimeError, ValueError, TypeError) as error:
        found = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise TalkingError(checkpoint, expected=expected, found=found, hint=_HINT) from error
    known = (sequences == wanted).all(1)
    if not known.any():
        CONSOLE.print(
            "[yellow]The refiner was trained on another sequence than this portrait: it may show another face.[/]"
        )
        return StreamRefiner(refiner)
    if portrait_config is not None:
        portrait = digest_tensor(file_digest(latest_checkpoint(portrait_config)))
        if not (rendered_by[known] == portrait).all(1).any():
            CONSOLE.print("[yellow]The refiner was trained on other rendered frames than this portrait's.[/]")
    return StreamRefiner(refiner, as_roi(state["rois"][known][0]))


def refine_frames(
    refine: StreamRefiner, frames: Iterable[UInt8[np.ndarray, "height width 3"]]
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Refine the frames of a video one by one, in constant memory."""
    refine.reset()
    for frame in frames:
        yield refine(torch.from_numpy(frame)).numpy()


def refined(refiner: StreamRefiner, render: RenderFrame) -> RenderFrame:
    """A function that renders frames and refines them; it remembers those before.

    Args:
        refiner: its networks are used, and not its memory of frames.
        render: renders frames.
    """
    refine = StreamRefiner(refiner.refiner, refiner.roi)

    def render_refined(track: TalkingTrack, frame: int) -> UInt8[np.ndarray, "height width 3"]:
        return refine(torch.from_numpy(render(track, frame))).numpy()

    return render_refined
