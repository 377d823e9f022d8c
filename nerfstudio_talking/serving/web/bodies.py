"""Bodies of requests: JSON and uploads, read in memory, limited in size and time. Nothing of them reaches the disk."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.serving.config import ServeConfig

_MAX_FIELD = 65536
_MAX_PARTS = 16


@dataclass
class Body:
    """What a request says."""

    fields: dict[str, Any] = field(default_factory=dict)
    """Values by name."""
    file: bytes | None = None
    """The uploaded file, whatever it was called."""


async def read_body(request: web.Request, config: ServeConfig) -> Body:
    """The body of a request: a JSON object, or a form with at most one file.

    Raises:
        HTTPRequestEntityTooLarge: it is larger than allowed.
        TimeoutError: it does not arrive in time.
        TalkingError: it is neither.
    """
    too_large = web.HTTPRequestEntityTooLarge(max_size=config.max_upload, actual_size=request.content_length or 0)
    if (request.content_length or 0) > config.max_upload:
        raise too_large
    if request.content_type.startswith("multipart/"):
        return await asyncio.wait_for(_form(request, config.max_upload, too_large), config.upload_seconds)
    data = await asyncio.wait_for(request.read(), config.upload_seconds)
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _unreadable(str(error)[:200]) from error
    if not isinstance(fields, dict):
        raise _unreadable(f"a {type(fields).__name__}")
    return Body(fields)


async def _form(request: web.Request, limit: int, too_large: web.HTTPException) -> Body:
    body, size = Body(), 0
    try:
        reader = await request.multipart()
        for _ in range(_MAX_PARTS):
            part = await reader.next()
            if part is None:
                return body
            if not isinstance(part, BodyPartReader):
                raise _unreadable("a form within a form")
            data = bytearray()
            while piece := await part.read_chunk(65536):
                data += piece
                size += len(piece)
                if size > limit or (part.filename is None and len(data) > _MAX_FIELD):
                    raise too_large
            if part.filename is not None:
                body.file = bytes(data)
            elif part.name:
                body.fields[part.name] = data.decode("utf-8", errors="replace")
    except (ValueError, AssertionError, HttpProcessingError) as error:
        raise _unreadable(str(error)[:200]) from error
    raise _unreadable(f"more than {_MAX_PARTS} parts")


def _unreadable(found: str) -> TalkingError:
    return TalkingError(
        "the request", expected="a JSON object or a form", found=found, hint="The server's /openapi.json says which."
    )
