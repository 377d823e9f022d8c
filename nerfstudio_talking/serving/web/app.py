"""The server: routes, checks and sessions put together, and run."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

from aiohttp import web

from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.serving.config import ServeConfig
from nerfstudio_talking.serving.registry import SessionRegistry
from nerfstudio_talking.serving.web.routes import Routes
from nerfstudio_talking.serving.web.security import Guard
from nerfstudio_talking.serving.web.websocket import StreamSocket

_SWEEP_SECONDS = 1.0


def create_app(registry: SessionRegistry, config: ServeConfig) -> web.Application:
    """The application; its start-up starts the registry, its clean-up ends it.

    Args:
        registry: portraits and sessions.
        config: who may call, and how much of anything.
    """
    guard = Guard(config)
    app = web.Application(middlewares=[guard.middleware()], client_max_size=config.max_upload)
    app.on_response_prepare.append(guard.add_headers)
    routes = Routes(registry, config)
    app.add_routes([*routes.table(), web.get("/stream", StreamSocket(registry).handle)])

    async def lifetime(_: web.Application) -> AsyncIterator[None]:
        registry.start()
        sweeper = asyncio.create_task(_sweep(registry))
        yield
        sweeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeper
        await routes.cleanup()
        await asyncio.to_thread(registry.shut_down)

    async def close_sessions(_: web.Application) -> None:
        for session in registry.sessions():
            registry.close(session)
        await asyncio.sleep(0.1)  # sockets and connections say goodbye

    app.cleanup_ctx.append(lifetime)
    app.on_shutdown.append(close_sessions)
    return app


def run(registry: SessionRegistry, config: ServeConfig) -> None:
    """Serve until Ctrl-C.

    Raises:
        TalkingError: the address is taken, or the certificate cannot be read.
    """
    context = None
    if config.tls is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(*config.tls)
        except (OSError, ssl.SSLError) as error:
            hint = "Give PEM files of a certificate and its key."
            what = " and ".join(config.tls)
            raise TalkingError(what, expected="a certificate and its key", found=str(error), hint=hint) from error
    scheme = "http" if context is None else "https"
    host = f"[{config.host}]" if ":" in config.host else config.host
    query = "" if config.token is None else "/?token=..."

    def announce(*_: object) -> None:
        CONSOLE.print(f"[green]Live at {scheme}://{host}:{config.port}{query}[/]  (Ctrl-C ends it)")

    app = create_app(registry, config)
    try:
        web.run_app(
            app,
            host=config.host,
            port=config.port,
            ssl_context=context,
            print=announce,
            access_log=None,
            shutdown_timeout=3.0,
        )
    except OSError as error:
        hint = "Choose another --port, or stop what uses it."
        what = f"{config.host}:{config.port}"
        raise TalkingError(what, expected="a free address", found=error.strerror or str(error), hint=hint) from error


async def _sweep(registry: SessionRegistry) -> None:
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        registry.sweep()
