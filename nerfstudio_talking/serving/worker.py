"""Renders the frames of all sessions of a portrait on one thread, the session with the oldest image first.

One thread per portrait: a model speaks one track at a time, so that more threads would only wait for it, and kernels
leave Python's lock while they compute. Encoding runs on other threads. Sessions beyond what the machine can render get
fewer frames each; their audio goes on.
"""

from __future__ import annotations

import logging
import threading

from nerfstudio_talking.serving.session import Session

_LOG = logging.getLogger(__name__)
_PAUSE = 0.004
"""Seconds to sleep where no frame can be rendered: a fifth of a block of audio."""


class RenderWorker:
    """Renders sessions until it is closed."""

    def __init__(self) -> None:
        self._sessions: list[Session] = []
        self._changed = threading.Condition()
        self._is_open = True
        self._thread: threading.Thread | None = None

    def start(self, name: str) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name=f"render {name}", daemon=True)
        self._thread.start()

    def add(self, session: Session) -> None:
        """Render a session from now on."""
        with self._changed:
            self._sessions.append(session)
            self._changed.notify_all()

    def remove(self, session: Session) -> None:
        """Leave a session alone."""
        with self._changed:
            if session in self._sessions:
                self._sessions.remove(session)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def step(self) -> bool:
        """Advance all sessions and render the frame that is due first; whether there was one."""
        with self._changed:
            sessions = [session for session in self._sessions if not session.is_closed]
        urgent: tuple[float, Session] | None = None
        for session in sessions:
            if not self._guarded(session, session.advance):
                continue
            staleness = session.staleness
            if staleness is not None and (urgent is None or staleness > urgent[0]):
                urgent = staleness, session
        return urgent is not None and self._guarded(urgent[1], urgent[1].render)

    def _guarded(self, session: Session, call: object) -> bool:
        """Call; a failure ends this session and no other one."""
        try:
            call()  # type: ignore[operator]
        except Exception as error:  # noqa: BLE001 - whatever fails in one session must not stop the others
            _LOG.exception("A session failed while rendering.")
            session.error, session.is_closed = str(error), True
            self.remove(session)
            return False
        return True

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._sessions or not self._is_open)
                if not self._is_open:
                    return
            if not self.step():
                with self._changed:
                    self._changed.wait_for(lambda: not self._is_open, timeout=_PAUSE)
