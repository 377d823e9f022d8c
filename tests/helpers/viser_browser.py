"""What a browser says and hears of a viser server, without a browser."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from PIL import Image
from websockets.sync.client import connect


class Browser:
    """A connection to a viser server. Widgets are known by their labels.

    Args:
        port: of the server.
        aspect: width over height of the canvas.
    """

    def __init__(self, port: int, aspect: float = 1.0) -> None:
        self._socket = connect(f"ws://127.0.0.1:{port}", max_size=None)
        self.ids: dict[str, str] = {}
        self.frames: list[np.ndarray] = []
        self.texts: dict[str, str] = {}
        """Markdown by id."""
        self.notifications: list[str] = []
        self.files: dict[str, bytes] = {}
        self.look(aspect)

    def look(self, aspect: float, turn: float = 0.0) -> None:
        """Say where the camera is."""
        self.send(
            "ViewerCameraMessage", wxyz=(float(np.cos(turn)), 0.0, float(np.sin(turn)), 0.0), position=(0.0, 0.0, 8.0),
            fov=0.5, aspect=aspect, look_at=(0.0, 0.0, 0.0), up_direction=(0.0, 1.0, 0.0),
        )  # fmt: skip

    def send(self, kind: str, **fields: Any) -> None:
        """Send a message."""
        self._socket.send(msgspec.msgpack.encode({"type": kind, **fields}))

    def set(self, label: str, value: Any) -> None:
        """Change a widget."""
        self.send("GuiUpdateMessage", id=self.ids[label], updates={"value": value})

    def upload(self, label: str, name: str, content: bytes) -> None:
        """Upload a file by a button."""
        about = {"source_component_id": self.ids[label], "transfer_uuid": name}
        size = {"part_count": 1, "size_bytes": len(content)}
        self.send("FileTransferStart", filename=name, mime_type="audio/wav", **about, **size)
        time.sleep(0.05)  # messages are handled by several threads
        self.send("FileTransferPart", part=0, content=content, **about)

    def until(self, seen: Callable[[], object], seconds: float = 60.0) -> None:
        """Listen until something is seen."""
        end = time.monotonic() + seconds
        while not seen():
            assert time.monotonic() < end, "not seen in time"
            try:
                self._take(self._socket.recv(timeout=0.5))
            except TimeoutError:
                continue

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def _take(self, data: str | bytes) -> None:
        assert isinstance(data, bytes)
        decoded = msgspec.msgpack.decode(data)
        for message in decoded["messages"] if isinstance(decoded, dict) and "messages" in decoded else decoded:
            kind = message["type"]
            if kind.startswith("GuiAdd") and message.get("label"):
                self.ids.setdefault(message["label"], message["id"])
            if kind == "GuiAddMarkdownMessage":
                self.texts[message["id"]] = message["markdown"]
            if kind == "GuiUpdateMessage" and "markdown" in message["updates"]:
                self.texts[message["id"]] = message["updates"]["markdown"]
            if kind == "BackgroundImageMessage":
                with Image.open(io.BytesIO(message["rgb_bytes"])) as image:
                    self.frames.append(np.asarray(image))
            if kind == "NotificationMessage":
                self.notifications.append(f"{message['title']}: {message['body']}")
            if kind == "FileTransferStart":
                self.files[message["filename"]] = b""
            if kind == "FileTransferPart":
                self.files[next(reversed(self.files))] += message["content"]
