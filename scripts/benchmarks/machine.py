"""The machine and the versions that results were measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path

import torch


def machine() -> str:
    """CPU, cores and accelerator."""
    name = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.is_file():
        name = next(iter(re.findall(r"model name\s*: (.+)", cpus.read_text())), name)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{name}, {os.cpu_count()} cores, {gpu}"


def versions(*packages: str) -> str:
    """Versions of packages that the results depend on, and of Python."""
    found = [f"{package} {importlib.metadata.version(package)}" for package in packages]
    return ", ".join([*found, f"Python {platform.python_version()}"])
