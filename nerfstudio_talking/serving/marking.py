"""The synthetic mark: what says that frames are generated. Every frame of every session passes through here once."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from nerfstudio_talking.media.writing import SYNTHETIC_NOTICE

NOTICE = SYNTHETIC_NOTICE
"""Said in every answer's header, in session descriptions, in the first message of sockets, and in recordings."""
NOTICE_HEADER = "X-Synthetic-Media"


def mark_frame(frame: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """The frame as it leaves the server. The mark is in the metadata of what carries the frame, not in its pixels."""
    return frame


def mark_description(sdp: str) -> str:
    """A session description whose session name is the notice."""
    return "\r\n".join(f"s={NOTICE}" if line.startswith("s=") else line for line in sdp.split("\r\n"))
