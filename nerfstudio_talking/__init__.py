"""Audio-driven talking portraits for Nerfstudio.

`from nerfstudio_talking import PortraitDriver, process_video, score_videos` is the public API. Each name is imported
when it is first used: importing this package imports neither nerfstudio nor torch nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nerfstudio_talking.io.version import __version__ as __version__

if TYPE_CHECKING:
    from nerfstudio_talking.inference.driver import PortraitDriver
    from nerfstudio_talking.metrics.score_files import score_videos
    from nerfstudio_talking.process.run import process_video

__all__ = ["PortraitDriver", "process_video", "score_videos"]

_MODULES = {
    "PortraitDriver": "nerfstudio_talking.inference.driver",
    "process_video": "nerfstudio_talking.process.run",
    "score_videos": "nerfstudio_talking.metrics.score_files",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
