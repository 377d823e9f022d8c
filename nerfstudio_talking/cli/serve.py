"""`ns-talking serve`: portraits live in a browser."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError

if TYPE_CHECKING:
    from nerfstudio_talking.serving.portraits import Portrait

_SWITCH = 5e-4
"""Seconds after which a thread gives Python's lock to one that waits: with 5 ms, Python's own, rendering waits longer
than it computes."""


@dataclass
class Serve:
    """Serve portraits live: a page in the browser, WebRTC and a WebSocket speak audio as it arrives."""

    load_config: tuple[Path, ...] = ()
    """The config.yml of each portrait to serve; clients choose one by its name, the first one by default."""
    test_signal: bool = False
    """Whether a test signal is served as well: a flash for every click that is heard, to check a connection."""
    host: str = "127.0.0.1"
    """The address to listen on; any address that other machines can reach needs --token."""
    port: int = 8010
    """The port to listen on."""
    token: str | None = None
    """The secret that every request must present: open the page as /?token=SECRET."""
    max_sessions: int = 4
    """Number of sessions at the same time; further ones are refused."""
    max_upload_mb: float = 32.0
    """Largest request in megabytes."""
    max_audio_seconds: float = 300.0
    """Seconds of audio that an upload may last, and that may wait in a session."""
    codec: Literal["auto", "h264", "vp8"] = "auto"
    """Video codec of WebRTC: 'auto' takes the first one that the browser offers."""
    scale: float = 1.0
    """Size of the image relative to the recording."""
    tts_command: str | None = None
    """A text-to-speech program for requests with text: it reads its input and writes an audio file to its output."""
    audio_hosts: tuple[str, ...] = ()
    """Hosts that audio may be fetched from by URL; none where empty."""
    allowed_origins: tuple[str, ...] = ()
    """Origins (https://example.org) of other sites whose pages may call the server."""
    allowed_hosts: tuple[str, ...] = ()
    """Further names that the server is called by, for instance behind a proxy."""
    ice_servers: tuple[str, ...] = ()
    """STUN and TURN servers (stun:example.org:3478) for clients beyond the local network; none is asked otherwise."""
    tls_cert: Path | None = None
    """The certificate (PEM) for https; browsers give other machines no microphone without it."""
    tls_key: Path | None = None
    """The key of the certificate (PEM)."""
    motion: Path | None = None
    """A personal motion model or motion track for generated head motion, where one portrait is served."""
    device: str = "auto"
    """The device to render on: 'cpu', 'cuda' ...; 'auto' takes a GPU where there is one."""
    baked: Literal["auto", "none"] | Path = "auto"
    """The bake to play from: a file; 'auto': baked.pt beside config.yml, if there is no GPU; 'none': full rendering."""

    def main(self) -> None:
        """Load the portraits and serve until Ctrl-C."""
        sys.setswitchinterval(_SWITCH)
        try:
            import aiortc  # noqa: F401
            from aiohttp import web  # noqa: F401
        except ModuleNotFoundError as error:
            hint = 'Install the extra: pip install "nerfstudio-talking[serve]".'
            raise TalkingError(
                "ns-talking serve", expected="aiohttp and aiortc", found=str(error), hint=hint
            ) from error
        from nerfstudio_talking.serving.config import ServeConfig

        if not self.load_config and not self.test_signal:
            hint = "Give the config.yml that ns-train wrote, or try --test-signal True."
            raise TalkingError("ns-talking serve", expected="--load-config", found="none", hint=hint)
        for path in self.load_config:  # before anything heavy is imported
            if not path.is_file():
                hint = "Give the config.yml that ns-train wrote: outputs/.../config.yml."
                raise TalkingError(path, expected="a config.yml", found="no such file", hint=hint)
        if (self.tls_cert is None) != (self.tls_key is None):
            hint = "Give both, or neither."
            raise TalkingError("--tls-cert", expected="--tls-key with it", found="one of them", hint=hint)
        config = ServeConfig(
            host=self.host,
            port=self.port,
            token=self.token,
            allowed_origins=self.allowed_origins,
            allowed_hosts=self.allowed_hosts,
            max_sessions=self.max_sessions,
            max_upload=round(self.max_upload_mb * 2**20),
            max_audio_seconds=self.max_audio_seconds,
            ice_servers=self.ice_servers,
            codec=self.codec,
            tts_command=self.tts_command,
            audio_hosts=self.audio_hosts,
            tls=None if self.tls_cert is None else (str(self.tls_cert), str(self.tls_key)),
        )
        from nerfstudio_talking.serving.registry import SessionRegistry
        from nerfstudio_talking.serving.web.app import run

        portraits = self._portraits()
        for portrait in portraits:
            width, height = portrait.size
            CONSOLE.print(f"{portrait.name}: {width}x{height} at {portrait.fps:g} frames per second.", markup=False)
        run(SessionRegistry(portraits, config.max_sessions, config.max_audio_seconds), config)

    def _portraits(self) -> list[Portrait]:
        from nerfstudio_talking.serving.click_portrait import ClickPortrait
        from nerfstudio_talking.serving.portraits import DrivenPortrait

        portraits: list[Portrait] = []
        for path, name in zip(self.load_config, portrait_names(self.load_config)):
            from nerfstudio_talking.inference.driver import PortraitDriver

            driver = PortraitDriver.load(path, self.device, self.baked, motion=self.motion)
            portraits.append(DrivenPortrait(driver, name, self.scale))
        if self.test_signal:
            portraits.append(ClickPortrait("test-signal", size=(256, 256)))
        return portraits


def portrait_names(configs: tuple[Path, ...]) -> list[str]:
    """A name for each portrait: its experiment's (outputs/NAME/method/time/config.yml), numbered where shared."""
    names: list[str] = []
    for path in configs:
        folders = path.absolute().parent.parts
        name = folders[-3] if len(folders) > 3 else path.stem
        while name in names:
            base, _, number = name.rpartition("-")
            name = f"{base}-{int(number) + 1}" if base and number.isdigit() else f"{name}-2"
        names.append(name)
    return names
