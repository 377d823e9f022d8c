"""Who may call: address names, origins, the token; and the headers of every answer."""

from __future__ import annotations

import asyncio
import hmac
import logging

from aiohttp import web

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.serving.config import ServeConfig, is_loopback
from nerfstudio_talking.serving.marking import NOTICE, NOTICE_HEADER
from nerfstudio_talking.serving.registry import ServerFull

_LOG = logging.getLogger(__name__)
TOKEN_COOKIE = "talking_token"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cache-Control": "no-store",
    NOTICE_HEADER: NOTICE,
}


def problem(status: int, message: str) -> web.Response:
    """An answer that says what is wrong, in the form of every other answer."""
    return web.json_response({"code": -status, "msg": message, "data": None}, status=status)


class Guard:
    """Checks every request, and turns errors into answers.

    Args:
        config: who may call.
    """

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        names = {config.host, *config.allowed_hosts}
        if is_loopback(config.host):
            names |= {"localhost", "127.0.0.1", "[::1]", "::1"}
        self._names = {name.lower() for name in names}

    def middleware(self):
        """The check as aiohttp calls it."""

        @web.middleware
        async def check(request: web.Request, handler):
            refused = self.refusal(request)
            if refused is not None:
                return refused
            if request.method == "OPTIONS":
                return web.Response(status=204)
            return await _answer(request, handler)

        return check

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Headers of every answer, streams and files included."""
        for name, value in _HEADERS.items():
            response.headers[name] = value
        origin = request.headers.get("Origin")
        if origin is not None and origin in self._config.allowed_origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
            response.headers["Vary"] = "Origin"

    def refusal(self, request: web.Request) -> web.Response | None:
        """The answer to a request that may not be made; None where it may."""
        origin = request.headers.get("Origin")
        own = {f"{scheme}://{request.host}" for scheme in ("http", "https")}
        if origin is not None and origin not in own and origin not in self._config.allowed_origins:
            return problem(403, "Pages of this origin may not call the server (--allowed-origins).")
        if origin is None and request.headers.get("Sec-Fetch-Site") == "cross-site" and not _is_navigation(request):
            return problem(403, "Other sites may not call the server.")
        if self._config.token is None:
            # without a token the name is checked: another site's name may resolve to this address
            name = request.url.host or ""
            if name.lower() not in self._names:
                return problem(403, "The server is not called by this name (--allowed-hosts).")
            return None
        if request.method == "OPTIONS":  # browsers send no token with it, and it does nothing
            return None
        given = _given_token(request)
        if given is None or not hmac.compare_digest(given.encode(), self._config.token.encode()):
            return problem(401, "A token is needed: ?token=... for the page, else 'Authorization: Bearer ...'.")
        return None


def _is_navigation(request: web.Request) -> bool:
    return request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate"


def _given_token(request: web.Request) -> str | None:
    header = request.headers.get("Authorization", "")
    if header.startswith("Bearer "):
        return header.removeprefix("Bearer ")
    return request.query.get("token") or request.cookies.get(TOKEN_COOKIE)


async def _answer(request: web.Request, handler) -> web.StreamResponse:
    """The handler's answer, or one that says what went wrong."""
    try:
        return await handler(request)
    except ServerFull as error:
        response = problem(503, str(error))
        response.headers["Retry-After"] = "10"
        return response
    except TalkingError as error:
        return problem(400, str(error))
    except web.HTTPRequestEntityTooLarge:
        response = problem(413, "The request is larger than --max-upload-mb allows.")
        response.force_close()
        return response
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return problem(error.status, error.reason)
    except asyncio.TimeoutError:
        response = problem(408, "The request took too long.")
        response.force_close()
        return response
    except Exception as error:  # noqa: BLE001 - a bug in one request: say so there, and go on
        if isinstance(error, ConnectionError) and (request.transport is None or request.transport.is_closing()):
            return problem(400, "The client is gone.")  # and reads no answer
        _LOG.exception("%s %s failed.", request.method, request.path)
        return problem(500, "The server failed; its log says why.")
