"""All sessions of a server: how many there may be, who renders them, and when they end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.serving.portraits import Portrait
from nerfstudio_talking.serving.session import Clock, Session
from nerfstudio_talking.serving.worker import RenderWorker


class ServerFull(TalkingError):
    """No session is free."""


class SessionRegistry:
    """Opens, finds and closes sessions. Used by one thread, that of the server.

    Args:
        portraits: who can speak; the first one speaks where none is named.
        max_sessions: sessions at the same time.
        capacity: seconds of audio that may wait in each.
        clock: seconds.
    """

    def __init__(
        self,
        portraits: Sequence[Portrait],
        max_sessions: int,
        capacity: float = 300.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self.portraits = {portrait.name: portrait for portrait in portraits}
        self.max_sessions, self._capacity, self._clock = max_sessions, capacity, clock
        self._sessions: dict[str, Session] = {}
        self._closers: dict[str, list[Callable[[], object]]] = {}
        self._workers = {portrait.name: RenderWorker() for portrait in portraits}
        self.num_opened = self.num_refused = 0

    def start(self) -> None:
        """Start the workers."""
        for name, worker in self._workers.items():
            worker.start(name)

    def open(self, portrait: str | None = None, motion: str = "recorded") -> Session:
        """A new session.

        Raises:
            ServerFull: there are as many as may be.
            TalkingError: there is no such portrait.
        """
        if portrait is not None and portrait not in self.portraits:
            raise TalkingError(
                "the portrait", expected=" or ".join(self.portraits), found="another name", hint="Choose one of them."
            )
        if len(self._sessions) >= self.max_sessions:
            self.num_refused += 1
            raise ServerFull(
                "the server",
                expected=f"at most {self.max_sessions} sessions",
                found="as many already",
                hint="Try again when one of them has ended, or start it with a larger --max-sessions.",
            )
        name = portrait or next(iter(self.portraits))
        session = Session(self.portraits[name], self._clock, self._capacity, motion)
        self._sessions[session.id] = session
        self._closers[session.id] = []
        self._workers[name].add(session)
        self.num_opened += 1
        return session

    def find(self, session_id: object) -> Session | None:
        """The session of an id, if it is open."""
        return self._sessions.get(session_id) if isinstance(session_id, str) else None

    def sessions(self) -> list[Session]:
        """The open sessions."""
        return list(self._sessions.values())

    def on_close(self, session: Session, closer: Callable[[], object]) -> None:
        """Call `closer` when the session is closed; at once where it is closed already."""
        if session.id in self._closers:
            self._closers[session.id].append(closer)
        else:
            closer()

    def close(self, session: Session) -> None:
        """End a session; it may be ended already."""
        session.is_closed = True
        self._sessions.pop(session.id, None)
        self._workers[session.portrait.name].remove(session)
        for closer in self._closers.pop(session.id, ()):
            closer()

    def sweep(self) -> None:
        """Close the sessions whose rendering failed."""
        for session in self.sessions():
            if session.is_closed:
                self.close(session)

    def shut_down(self) -> None:
        """End all sessions and the workers."""
        for session in self.sessions():
            self.close(session)
        for worker in self._workers.values():
            worker.close()
