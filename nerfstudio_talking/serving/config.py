"""Options of the server, apart from which portraits it serves."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from nerfstudio_talking.io.errors import TalkingError


@dataclass(frozen=True)
class ServeConfig:
    """Who may connect, and how much of anything."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8010
    """Port to listen on."""
    token: str | None = None
    """What every request must present; needed for any address but a loopback one."""
    allowed_origins: tuple[str, ...] = ()
    """Origins of other sites whose pages may call the server."""
    allowed_hosts: tuple[str, ...] = ()
    """Names that the server is called by, apart from its address; checked where there is no token."""
    max_sessions: int = 4
    """Sessions at the same time."""
    max_upload: int = 32 * 2**20
    """Bytes of a request."""
    max_audio_seconds: float = 300.0
    """Seconds of audio of an upload, and that may wait in a session."""
    upload_seconds: float = 30.0
    """Seconds that a request's body, a fetched file or a text-to-speech program may take."""
    ice_servers: tuple[str, ...] = ()
    """STUN and TURN servers."""
    codec: str = "auto"
    """Video codec of WebRTC: 'auto', 'h264' or 'vp8'."""
    tts_command: str | None = None
    """Program that reads text and writes audio."""
    audio_hosts: tuple[str, ...] = ()
    """Hosts that audio may be fetched from."""
    max_record_seconds: float = 600.0
    """Seconds of a recording."""
    tls: tuple[str, str] | None = None
    """Files of certificate and key."""

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < 8:
            raise TalkingError(
                "--token", expected="at least 8 characters", found=str(len(self.token)), hint="Take a random one."
            )
        if not is_loopback(self.host) and self.token is None:
            raise TalkingError(
                f"--host {self.host}",
                expected="a --token with it: others can reach this address",
                found="none",
                hint="Give --token, a secret of 8 characters or more, or stay on 127.0.0.1.",
            )
        for name in ("max_sessions", "max_upload", "max_audio_seconds", "upload_seconds", "max_record_seconds"):
            if not getattr(self, name) > 0:
                option = "--" + name.replace("_", "-")
                raise TalkingError(
                    option, expected="a positive number", found=str(getattr(self, name)), hint="Leave it out."
                )


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
