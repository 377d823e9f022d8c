"""The HTTP interface as an OpenAPI document."""

from __future__ import annotations

from typing import Any

from nerfstudio_talking.inference.audio_input import MAX_MOUTH_GAIN
from nerfstudio_talking.io.version import __version__

_STRING, _BOOLEAN = {"type": "string"}, {"type": "boolean"}
_SESSION = {"sessionid": {**_STRING, "description": "Id of the session, from /offer."}}
_FILE = {"type": "string", "format": "binary", "description": "An audio file: wav, mp3, ogg, flac, m4a, mp4, webm."}
_INTERRUPT = {"interrupt": {**_BOOLEAN, "description": "Whether what is being said is cut off first."}}


def openapi_document(with_text: bool) -> dict[str, Any]:
    """The document.

    Args:
        with_text: whether the server has a text-to-speech program.
    """
    text = "Text to speak." if with_text else "Text to speak; this server has no text-to-speech program and refuses it."
    human = {
        **_SESSION,
        **_INTERRUPT,
        "text": {**_STRING, "description": text},
        "type": {**_STRING, "enum": ["echo"]},
        "audio_url": {**_STRING, "description": "Address of an audio file on one of the hosts of --audio-hosts."},
    }
    motion = {"type": "string", "enum": ["recorded", "generated", "still"]}
    offer = {
        "sdp": {**_STRING, "description": "Session description of RTCPeerConnection.localDescription."},
        "type": {**_STRING, "enum": ["offer"]},
        "avatar": {**_STRING, "description": "Name of the portrait, of /portraits; the first one where left out."},
        "motion": motion,
    }
    record = {**_SESSION, "type": {**_STRING, "enum": ["start_record", "end_record"]}}
    paths = {
        "/offer": _post("Begin a session over WebRTC.", offer, ["sdp", "type"], busy=True),
        "/human": _post("Speak a file or text.", human, ["sessionid"], {**_SESSION, **_INTERRUPT, "file": _FILE}),
        "/humanaudio": {
            "post": _operation(
                "Speak a file.", {"multipart/form-data": ({**_SESSION, **_INTERRUPT, "file": _FILE}, ["sessionid"])}
            )
        },
        "/interrupt_talk": _post("Be silent: drop audio and frames that wait.", _SESSION, ["sessionid"]),
        "/is_speaking": _post("Whether speech is heard or waits.", _SESSION, ["sessionid"]),
        "/motion": _post(
            "Change the head motion, or the factor of the mouth's.",
            {**_SESSION, "mode": motion, "mouth_gain": {"type": "number", "minimum": 0, "maximum": MAX_MOUTH_GAIN}},
            ["sessionid"],
        ),
        "/close": _post("End a session.", _SESSION, ["sessionid"]),
        "/record": _post("Begin or end a recording.", record, ["sessionid", "type"]),
        "/record/{sessionid}": _get("The recording, while its session is open.", "video/mp4", [_parameter("path")]),
        "/sse": _get("Events of a session as they are heard.", "text/event-stream", [_parameter("query")]),
        "/stream": _get("A session over one WebSocket; see docs/live.md.", "application/octet-stream", []),
        "/portraits": _get("Who can speak.", "application/json", []),
        "/health": _get("Whether the server runs, and how many sessions are free.", "application/json", []),
        "/metrics": _get("Counters in Prometheus' text format.", "text/plain", []),
        "/openapi.json": _get("This document.", "application/json", []),
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "nerfstudio-talking live",
            "version": __version__,
            "description": "Portraits that speak audio as it arrives. All that they show and say is synthetic media.",
        },
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
    }


def _post(
    summary: str,
    fields: dict[str, Any],
    required: list[str],
    form: dict[str, Any] | None = None,
    busy: bool = False,
) -> dict[str, Any]:
    content = {"application/json": (fields, required)}
    if form is not None:
        content["multipart/form-data"] = (form, ["sessionid"])
    operation = _operation(summary, content)
    if busy:
        operation["responses"]["503"] = {"description": "No session is free."}
    return {"post": operation}


def _operation(summary: str, content: dict[str, tuple[dict[str, Any], list[str]]]) -> dict[str, Any]:
    bodies = {
        kind: {"schema": {"type": "object", "properties": fields, "required": required}}
        for kind, (fields, required) in content.items()
    }
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": bodies},
        "responses": {
            "200": {"description": "Done; the answer has the fields code (0), msg and data."},
            "400": {"description": "Something in the request is wrong; msg says what."},
            "401": {"description": "The token is missing or wrong."},
            "413": {"description": "The request is too large."},
        },
    }


def _get(summary: str, kind: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    answer = {"200": {"description": summary, "content": {kind: {}}}}
    return {"get": {"summary": summary, "parameters": parameters, "responses": answer}}


def _parameter(place: str) -> dict[str, Any]:
    return {"name": "sessionid", "in": place, "required": True, "schema": _STRING}
