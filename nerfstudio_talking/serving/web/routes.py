"""The HTTP interface: calls under the names that front ends of live portraits know, and ours."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiohttp import web

from nerfstudio_talking.inference.audio_input import MAX_MOUTH_GAIN
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.serving.audio_sources import decode_audio, fetch_audio, run_tts
from nerfstudio_talking.serving.config import ServeConfig
from nerfstudio_talking.serving.marking import NOTICE
from nerfstudio_talking.serving.recording import Recorder
from nerfstudio_talking.serving.registry import SessionRegistry
from nerfstudio_talking.serving.session import Session
from nerfstudio_talking.serving.timeline import BLOCKS_PER_SECOND, RATE, SpeechEvent
from nerfstudio_talking.serving.web.bodies import Body, read_body
from nerfstudio_talking.serving.web.metrics import metrics_text
from nerfstudio_talking.serving.web.openapi import openapi_document
from nerfstudio_talking.serving.web.security import TOKEN_COOKIE, problem
from nerfstudio_talking.serving.web.webrtc import connect, parse_ice_servers

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
STATIC = Path(__file__).parents[1] / "static"
_PAGE = {
    "": ("index.html", "text/html"),
    "app.js": ("app.js", "text/javascript"),
    "connection.js": ("connection.js", "text/javascript"),
    "style.css": ("style.css", "text/css"),
}
_MAX_TEXT = 2000
_MAX_LISTENERS = 4


def ok(data: Any = None) -> web.Response:
    """The answer of a call that worked."""
    return web.json_response({"code": 0, "msg": "ok", "data": data})


class Routes:
    """Handlers of one server.

    Args:
        registry: its sessions.
        config: its options.
    """

    def __init__(self, registry: SessionRegistry, config: ServeConfig) -> None:
        self._registry, self._config = registry, config
        self._ice_servers = parse_ice_servers(config.ice_servers)
        # not the threads that encode audio and frames: a client's upload may not make another's wait
        self._workers = ThreadPoolExecutor(2, thread_name_prefix="upload")
        self._savers = ThreadPoolExecutor(4, thread_name_prefix="save")
        self._folder = tempfile.TemporaryDirectory(prefix="nerfstudio-talking-")
        self._recorders: dict[str, Recorder] = {}
        self._num_recordings = 0
        self._num_listeners: dict[str, int] = {}

    def table(self) -> list[web.RouteDef]:
        """All routes of this module."""
        page = [web.get(f"/{name}", self._file(*entry)) for name, entry in _PAGE.items()]
        return [
            *page,
            web.post("/offer", self.offer),
            web.post("/human", self.human),
            web.post("/humanaudio", self.humanaudio),
            web.post("/interrupt_talk", self.interrupt_talk),
            web.post("/is_speaking", self.is_speaking),
            web.post("/motion", self.motion),
            web.post("/close", self.close),
            web.post("/record", self.record),
            web.get("/record/{sessionid}", self.recording),
            web.get("/sse", self.sse),
            web.get("/portraits", self.portraits),
            web.get("/metrics", self.metrics),
            web.get("/openapi.json", self.openapi),
            web.get("/health", self.health),
        ]

    async def cleanup(self) -> None:
        """Remove what recordings left."""
        for recorder in self._recorders.values():
            recorder.request_stop()
        for recorder in self._recorders.values():
            await self._finish(recorder)
        self._workers.shutdown(cancel_futures=True)
        self._savers.shutdown()
        self._folder.cleanup()

    # media

    async def offer(self, request: web.Request) -> web.Response:
        """Begin a session over WebRTC."""
        body = await read_body(request, self._config)
        sdp, kind = body.fields.get("sdp"), body.fields.get("type")
        if not isinstance(sdp, str) or kind != "offer":
            return problem(400, "An offer has the fields sdp and type, which is 'offer'.")
        session = self._open(body)
        try:
            config = self._config
            on_closed = _once(lambda: self._registry.close(session))
            pc, answer = await connect(session, sdp, self._ice_servers, config.codec, on_closed)  # type: ignore[arg-type]
        except BaseException:
            self._registry.close(session)
            raise
        self._registry.on_close(session, lambda: _background(pc.close()))
        return web.json_response(
            {"code": 0, "sdp": answer, "type": "answer", "sessionid": session.id, "synthetic": NOTICE}
        )

    def _open(self, body: Body) -> Session:
        """A session of the portrait that a request names."""
        name, motion = body.fields.get("avatar"), body.fields.get("motion", "recorded")
        return self._registry.open(name if isinstance(name, str) and name else None, str(motion))

    async def human(self, request: web.Request) -> web.Response:
        """Speak: an uploaded file, a file of an allowed host, or text."""
        body = await read_body(request, self._config)
        session = self._find(body)
        config, fields = self._config, body.fields
        if fields.get("type", "echo") not in ("echo", "audio"):
            return problem(400, "Only type 'echo' is served: no language model is part of the server.")
        data, text, url = body.file, fields.get("text"), fields.get("audio_url")
        if data is None and isinstance(url, str):
            data = await fetch_audio(url, config.audio_hosts, config.max_upload, config.upload_seconds)
        elif data is None and isinstance(text, str) and text.strip():
            if config.tts_command is None:
                return problem(501, "Text needs a text-to-speech program: start the server with --tts-command.")
            if len(text) > _MAX_TEXT:
                return problem(400, f"A text has at most {_MAX_TEXT} characters.")
            data = await run_tts(config.tts_command, text, config.max_upload, config.upload_seconds)
        if data is None:
            return problem(400, "Give a file, audio_url, or text.")
        return await self._speak(session, data, fields.get("interrupt"))

    async def humanaudio(self, request: web.Request) -> web.Response:
        """Speak an uploaded file."""
        body = await read_body(request, self._config)
        session = self._find(body)
        if body.file is None:
            return problem(400, "Send a form with the fields sessionid and file.")
        return await self._speak(session, body.file, body.fields.get("interrupt"))

    async def _speak(self, session: Session, data: bytes, interrupt: object) -> web.Response:
        loop, limit = asyncio.get_running_loop(), self._config.max_audio_seconds
        samples = await loop.run_in_executor(self._workers, decode_audio, data, limit)
        if session.is_closed:
            raise _no_session()
        if interrupt in (True, "true", "True", "1"):
            session.interrupt()
        segment = session.speak(samples)
        return ok({"segment": segment, "seconds": len(samples) / RATE})

    async def interrupt_talk(self, request: web.Request) -> web.Response:
        """Be silent."""
        self._find(await read_body(request, self._config)).interrupt()
        return ok()

    async def is_speaking(self, request: web.Request) -> web.Response:
        """Whether speech is heard or waits."""
        return ok(self._find(await read_body(request, self._config)).is_speaking)

    async def motion(self, request: web.Request) -> web.Response:
        """Change the head motion, or the factor of the mouth's."""
        body = await read_body(request, self._config)
        session = self._find(body)
        mode, gain = body.fields.get("mode"), body.fields.get("mouth_gain")
        if mode is not None and not session.set_motion(str(mode)):
            return problem(400, "The mode is one of: " + ", ".join(session.portrait.motions))
        if gain is not None:
            if not isinstance(gain, int | float) or not 0 <= gain <= MAX_MOUTH_GAIN:
                return problem(400, f"The mouth_gain is a number from 0 to {MAX_MOUTH_GAIN:g}.")
            session.speaker.set_mouth_gain(float(gain))
        return ok()

    async def close(self, request: web.Request) -> web.Response:
        """End a session; it may have ended already."""
        body = await read_body(request, self._config)
        session = self._registry.find(body.fields.get("sessionid"))
        if session is not None:
            self._registry.close(session)
        return ok()

    # recordings

    async def record(self, request: web.Request) -> web.Response:
        """Begin or end a recording."""
        body = await read_body(request, self._config)
        session, kind = self._find(body), body.fields.get("type")
        recorder = self._recorders.get(session.id)
        if kind == "start_record":
            if recorder is not None and recorder.is_running:
                return problem(409, "The session is being recorded.")
            if recorder is None:
                self._registry.on_close(session, lambda: self._drop_recording(session))
            self._drop_recording(session)
            self._num_recordings += 1
            path = Path(self._folder.name) / f"{self._num_recordings}.mp4"
            self._recorders[session.id] = Recorder(session, path, self._config.max_record_seconds)
            return ok()
        if kind == "end_record":
            if recorder is None:
                return problem(409, "The session is not being recorded.")
            await asyncio.get_running_loop().run_in_executor(self._savers, recorder.stop)
            return ok({"url": f"/record/{session.id}"})
        return problem(400, "The type is start_record or end_record.")

    async def recording(self, request: web.Request) -> web.StreamResponse:
        """The recording of a session that is still open."""
        recorder = self._recorders.get(request.match_info["sessionid"])
        if recorder is None or recorder.is_running or not recorder.path.is_file():
            return problem(404, "There is no such recording.")
        name = 'attachment; filename="portrait.mp4"'
        return web.FileResponse(recorder.path, headers={"Content-Disposition": name, "Content-Type": "video/mp4"})

    def _drop_recording(self, session: Session) -> None:
        recorder = self._recorders.pop(session.id, None)
        if recorder is not None:
            recorder.request_stop()
            _background(self._finish(recorder))

    async def _finish(self, recorder: Recorder) -> None:
        await asyncio.get_running_loop().run_in_executor(self._savers, _finish, recorder)

    # events and documents

    async def sse(self, request: web.Request) -> web.StreamResponse:
        """Events of a session as they are heard, and its counters every second."""
        session = self._registry.find(request.query.get("sessionid"))
        if session is None:
            raise _no_session()
        if self._num_listeners.get(session.id, 0) >= _MAX_LISTENERS:
            return problem(429, f"A session has at most {_MAX_LISTENERS} listeners.")
        self._num_listeners[session.id] = self._num_listeners.get(session.id, 0) + 1
        events: asyncio.Queue[SpeechEvent] = asyncio.Queue(64)
        loop = asyncio.get_running_loop()
        stop = session.listen(lambda event: loop.call_soon_threadsafe(_put, events, event))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        try:
            await response.prepare(request)
            while not session.is_closed:
                try:
                    event = await asyncio.wait_for(events.get(), 1.0)
                    text = json.dumps(
                        {"status": event.kind, "segment": event.segment, "time": event.block / BLOCKS_PER_SECOND}
                    )
                except asyncio.TimeoutError:
                    text = json.dumps({"status": "stats", **asdict(session.stats())})
                await asyncio.wait_for(response.write(f"data: {text}\n\n".encode()), 10)
            await response.write(b'data: {"status": "closed"}\n\n')
        except (ConnectionError, asyncio.TimeoutError):
            pass
        finally:
            stop()
            self._num_listeners[session.id] -= 1
            if self._num_listeners[session.id] == 0:
                del self._num_listeners[session.id]
        return response

    async def portraits(self, request: web.Request) -> web.Response:
        """Who can speak."""
        return ok(
            [
                {"name": p.name, "fps": p.fps, "width": p.size[0], "height": p.size[1], "motions": list(p.motions)}
                for p in self._registry.portraits.values()
            ]
        )

    async def metrics(self, request: web.Request) -> web.Response:
        """Counters in Prometheus' text format."""
        return web.Response(text=metrics_text(self._registry), content_type="text/plain", charset="utf-8")

    async def openapi(self, request: web.Request) -> web.Response:
        """This interface as an OpenAPI document."""
        return web.json_response(openapi_document(with_text=self._config.tts_command is not None))

    async def health(self, request: web.Request) -> web.Response:
        """Whether the server runs, and whether a session is free."""
        free = self._registry.max_sessions - len(self._registry.sessions())
        return ok({"free": free, "synthetic": NOTICE, "text": self._config.tts_command is not None})

    def _file(self, name: str, kind: str) -> Handler:
        """A file of the page. The names are those of a table: none comes from the request."""
        text = (STATIC / name).read_text(encoding="utf-8")

        async def send(request: web.Request) -> web.StreamResponse:
            token = request.query.get("token")
            if token is not None and self._config.token is not None and kind == "text/html":
                response = web.Response(status=302, headers={"Location": "/"})
                secure = request.secure
                response.set_cookie(TOKEN_COOKIE, token, httponly=True, samesite="Strict", secure=secure)
                return response
            return web.Response(text=text, content_type=kind, charset="utf-8")

        return send

    def _find(self, body: Body) -> Session:
        session = self._registry.find(body.fields.get("sessionid"))
        if session is None:
            raise _no_session()
        return session


def _no_session() -> TalkingError:
    return TalkingError(
        "sessionid", expected="that of an open session", found="another one", hint="Begin one with /offer."
    )


def _finish(recorder: Recorder) -> None:
    """Wait for a recording that nobody asks for any more, and remove it."""
    try:
        recorder.stop().unlink(missing_ok=True)
    except TalkingError:
        recorder.path.unlink(missing_ok=True)


def _put(queue: asyncio.Queue[SpeechEvent], event: SpeechEvent) -> None:
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(event)


def _once(call: Callable[[], object]) -> Callable[[], None]:
    called = False

    def first() -> None:
        nonlocal called
        if not called:
            called = True
            call()

    return first


_BACKGROUND: set[asyncio.Future[Any]] = set()


def _background(work: Awaitable[Any]) -> None:
    task = asyncio.ensure_future(work)
    _BACKGROUND.add(task)
    task.add_done_callback(_BACKGROUND.discard)
