"""An event loop whose time passes only where everything waits, so that ten minutes take seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Time jumps to the next timer; `stall` lets it pass while nothing runs. Executors run at once."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__()

    def time(self) -> float:
        """The simulated time, seconds."""
        return self.now

    def stall(self, seconds: float) -> None:
        """Keep everything waiting, as a busy process does."""
        self.now += seconds

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """The result of a function, which takes no time."""
        future = self.create_future()
        future.set_result(func(*args))
        return future

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now + 1e-6, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def simulate(main: Callable[[SimulatedLoop], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine in a loop of its own, to the end."""
    loop = SimulatedLoop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(main(loop))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
