"""Loading a trained refiner for `ns-talking drive --refine`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from nerfstudio_talking.inference.checkpoints import read_run
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.digests import digest_tensor, file_digest
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.models.memory_gan import MemoryGanModelConfig
from nerfstudio_talking.refiner.network import StreamRefiner
from nerfstudio_talking.refiner.roi import as_roi

_PREFIX = "_model."
_PROCESSES = "module."
"""After it in the names of what several processes have trained."""


def load_refiner(load_config: Path, portrait_config: Path | None, sequence_digest: str) -> StreamRefiner:
    """The refiner of a training run, ready for a video; its dataset and renderings are not read.

    A refiner that was trained on other renderings than this portrait's is taken, and that is said.

    Args:
        load_config: config.yml of `ns-train memory-gan`.
        portrait_config: config.yml of the portrait whose frames it shall refine; None where they are of another kind.
        clip_digest: of the portrait's clip.

    Raises:
        TalkingError: there is no such run, it has no checkpoint, or it is no refiner.
    """
    from nerfstudio_talking.data.refiner_frames import portrait_checkpoint
    from nerfstudio_talking.io.weights import load_state

    config = read_run(load_config)
    model = config.pipeline.model
    hint = "Give the config.yml of `ns-train memory-gan`."
    if not isinstance(model, MemoryGanModelConfig):
        raise TalkingError(load_config, expected="a refiner", found=f"method {config.method_name}", hint=hint)
    checkpoint = portrait_checkpoint(load_config)
    state: dict[str, Any] = load_state(checkpoint, "a refiner").get("pipeline", {})
    refiner = model.build()
    state = {name.removeprefix(_PREFIX).removeprefix(_PROCESSES): value for name, value in state.items()}
    weights = {name.removeprefix("refiner."): value for name, value in state.items() if name.startswith("refiner.")}
    try:
        refiner.load_state_dict(weights)
    except RuntimeError as error:
        found = str(error).splitlines()[1].strip()
        raise TalkingError(checkpoint, expected="the weights of this refiner", found=found, hint=hint) from error
    this = digest_tensor(sequence_digest)
    clips, rendered_by = (state[name].view(-1, len(this)) for name in ("sequence_digest", "rendered_by"))
    same = (clips == this).all(1)
    if not same.any():
        CONSOLE.print(
            "[yellow]The refiner was trained on another clip than this portrait: it may show another face.[/]"
        )
        return StreamRefiner(refiner)
    if portrait_config is not None:
        portrait = digest_tensor(file_digest(portrait_checkpoint(portrait_config)))
        if not (rendered_by[same] == portrait).all(1).any():
            CONSOLE.print("[yellow]The refiner was trained on other renderings than this portrait's.[/]")
    return StreamRefiner(refiner, as_roi(state["areas"][same][0]))


def refined_frames(
    refine: StreamRefiner, frames: Iterable[UInt8[np.ndarray, "height width 3"]]
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Frames of a video as they come, refined, in constant memory."""
    refine.begin()
    for frame in frames:
        yield refine(torch.from_numpy(frame)).numpy()
