"""How the recorded head motion is arranged to another length; read by the command line, so nothing is imported."""

from __future__ import annotations

from typing import Literal

PoseMode = Literal["ping-pong", "replay", "hold"]
"""'ping-pong' runs forth and back, 'replay' starts again at the front, 'hold' stays on the last frame."""
