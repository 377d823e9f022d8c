"""Files of network weights: finding and reading them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nerfstudio_talking.io.errors import TalkingError


def find_weights(path: Path | None, cached: tuple[str, ...]) -> Path | None:
    """The given file, else the first of these names in the torch cache, else None.

    Raises:
        TalkingError: a path was given and no file is there.
    """
    if path is not None:
        if not path.is_file():
            hint = f"Give the path of {cached[0]}, or leave the option out."
            raise TalkingError(path, expected="a file of weights", found="no such file", hint=hint)
        return path
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return next((folder / name for name in cached if (folder / name).is_file()), None)


def load_state(path: Path, what: str, hint: str = "Download it again.") -> dict[str, Any]:
    """A state dict from a file, tensors only: nothing in the file runs.

    Args:
        path: the file, as of torch.save.
        what: what it should be of, for the message.
        hint: what the user can do where it is not.

    Raises:
        TalkingError: the file holds no state dict.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of a damaged file, torch's reader raises whatever its parsing meets
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TalkingError(path, expected=f"the weights of {what}", found=reason, hint=hint) from error
    if not isinstance(state, dict):
        raise TalkingError(path, expected=f"the weights of {what}", found=type(state).__name__, hint=hint)
    return state
