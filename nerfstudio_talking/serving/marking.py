"""What says in a session's descriptions and answers that its frames are generated; frames have the watermark."""

from __future__ import annotations

from nerfstudio_talking.media.writing import SYNTHETIC_NOTICE

NOTICE = SYNTHETIC_NOTICE
"""Said in every answer's header, in session descriptions, in the first message of sockets, and in recordings."""
NOTICE_HEADER = "X-Synthetic-Media"


def mark_description(sdp: str) -> str:
    """A session description whose session name is the notice."""
    return "\r\n".join(f"s={NOTICE}" if line.startswith("s=") else line for line in sdp.split("\r\n"))
