"""Writing one frame while the next is rendered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from jaxtyping import UInt8


def write_behind(
    frames: Iterable[UInt8[np.ndarray, "height width 3"]], write: Callable[[UInt8[np.ndarray, "height width 3"]], None]
) -> int:
    """Hand each frame to `write` on a thread of its own, in order; at most one waits. Returns how many there were.

    What `write` raises is raised here.
    """
    count = 0
    pending: Future[None] | None = None
    with ThreadPoolExecutor(1) as pool:
        for frame in frames:
            if pending is not None:
                pending.result()
            pending = pool.submit(write, frame)
            count += 1
        if pending is not None:
            pending.result()
    return count
