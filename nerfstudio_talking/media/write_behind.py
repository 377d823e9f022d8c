"""Write-behind: writing one frame on a thread while the next is rendered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from jaxtyping import UInt8


def write_behind(
    frames: Iterable[UInt8[np.ndarray, "height width 3"]], write: Callable[[UInt8[np.ndarray, "height width 3"]], None]
) -> int:
    """Call `write` with each frame, in order, on a second thread; at most one call is pending.

    Returns:
        The number of frames.

    Raises:
        Exception: whatever `write` raises.
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
