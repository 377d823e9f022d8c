"""A running `ns-talking serve`: started for a measurement, its counters read, its processor time and memory taken."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import psutil

_STARTS_WITHIN = 600.0
_SAMPLE = re.compile(r'talking_(\w+)\{session="(\d+)",portrait="([^"]*)"\} (\S+)')


@dataclass
class Usage:
    """What the server has used so far."""

    cpu: float
    """Processor seconds."""
    rss: float
    """Resident memory, megabytes."""


class Server:
    """The server as a process of its own, until the block is left.

    Args:
        configs: config.yml of the portraits.
        options: further options of `ns-talking serve`.
    """

    def __init__(self, configs: list[Path], options: list[str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        program = Path(sys.executable).parent / "ns-talking"
        loads = ["--load-config", *map(str, configs)] if configs else []
        self._command = [str(program), "serve", *loads, "--port", str(self.port), *options]

    def __enter__(self) -> Server:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        self._usage = psutil.Process(self._process.pid)
        end = time.monotonic() + _STARTS_WITHIN
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=2):
                    return self
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end:
                    self._process.kill()
                    raise SystemExit(f"The server did not start: {' '.join(self._command)}") from None
                time.sleep(0.5)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def usage(self) -> Usage:
        """Processor time and memory."""
        times = self._usage.cpu_times()
        return Usage(times.user + times.system, self._usage.memory_info().rss / 2**20)


def counters(text: str) -> dict[int, dict[str, float]]:
    """The counters of `/metrics` by the session's number."""
    found: dict[int, dict[str, float]] = {}
    for name, number, _, value in _SAMPLE.findall(text):
        found.setdefault(int(number), {})[name] = float(value)
    return found
