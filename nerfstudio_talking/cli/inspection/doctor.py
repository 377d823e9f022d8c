"""`ns-talking doctor`: whether this machine has what it takes."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape

from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError

_PACKAGES = ("nerfstudio-talking", "nerfstudio", "torch", "gsplat", "numba", "mediapipe", "av", "viser")
_EXTRAS = {
    "speech: Whisper's features": "faster_whisper",
    "speech: HuBERT, wav2vec 2.0": "transformers",
    "serve: live in a browser": "aiortc",
    "batch: many portraits on Ray": "ray",
    "provenance: Content Credentials": "c2pa",
    "tiny-cuda-nn: faster networks": "tinycudann",
}
_LEAST_DISK = 5.0


@dataclass
class Doctor:
    """Show versions, devices, extras and weights, and try the parts once; exit code 1 where something is broken."""

    try_parts: bool = True
    """Whether to try the parts too, not only to look whether they are there; takes some seconds."""

    def main(self) -> None:
        """Print the table; raise where a part does not work."""
        from rich.table import Table

        table = Table("", "part", "found", show_lines=False)
        broken = []
        for part, check in self._checks():
            try:
                found = check()
                mark = "[yellow]-" if found.startswith("not ") else "[green]ok"
            except Exception as error:  # noqa: BLE001 - whatever is broken is what this command is for
                found, mark = " ".join(f"{type(error).__name__}: {error}".split())[:300], "[red]broken"
                broken.append(part)
            table.add_row(mark, escape(part), escape(found))
        CONSOLE.print(table)
        if broken:
            raise TalkingError(
                "this machine",
                expected="every part to work",
                found=", ".join(broken) + " broken",
                hint="Install again into a fresh environment with the versions of constraints.txt.",
            )
        CONSOLE.print("[green]All that is installed works.")

    def _checks(self) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "Python", _python
        for name in _PACKAGES:
            yield name, lambda name=name: _version(name)
        for extra, module in _EXTRAS.items():
            yield extra, lambda module=module: _extra(module)
        yield "device", _device
        yield "gsplat's CUDA kernels", _gsplat
        yield "ffmpeg (nerfstudio's ns-render calls it)", _ffmpeg
        yield "LPIPS: AlexNet's weights", _alexnet
        yield "free disk here", _disk
        yield "methods that ns-train knows", _methods
        if not self.try_parts:
            return
        yield "a video is written and read", _video
        yield "Gaussians are rasterized", _rasterizer
        yield "a face tracker is loaded", _tracker


def _python() -> str:
    version = platform.python_version()
    return version + ("" if sys.version_info < (3, 12) else ": trains and renders; processing needs 3.10 or 3.11")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        if package == "mediapipe":  # only `process` and scores of faces need it
            return "not installed"
        raise


def _extra(module: str) -> str:
    from importlib.util import find_spec

    if find_spec(module) is None:
        return "not installed"
    __import__(module)
    return "installed"


def _device() -> str:
    import torch

    if not torch.cuda.is_available():
        return f"CPU, {torch.get_num_threads()} threads: use the presets that end in -small"
    return f"{torch.cuda.get_device_name()}, {torch.cuda.get_device_properties(0).total_memory / 1e9:.0f} GB"


def _gsplat() -> str:
    import torch

    if not torch.cuda.is_available():
        return "not needed on a CPU"
    from nerfstudio_talking.splatting.rasterize_gsplat import gsplat_has_kernels

    return "there" if gsplat_has_kernels() else "not there: Gaussians are rasterized on the CPU"


def _ffmpeg() -> str:
    found = shutil.which("ffmpeg")
    if found is None:
        return "not on the PATH: install it, or link the one of imageio-ffmpeg"
    return found


def _alexnet() -> str:
    from nerfstudio_talking.io.weights import find_weights
    from nerfstudio_talking.metrics.functional.networks import ALEXNET_FILES

    found = find_weights(None, ALEXNET_FILES)
    return "not in the torch cache: LPIPS is left out" if found is None else str(found)


def _disk() -> str:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    if free < _LEAST_DISK:
        raise RuntimeError(f"{free:.1f} GB: a portrait takes up to {_LEAST_DISK:.0f}")
    return f"{free:.0f} GB"


def _methods() -> str:
    points = importlib.metadata.entry_points(group="nerfstudio.method_configs")
    ours = sorted(point.name for point in points if point.value.startswith("nerfstudio_talking."))
    if not ours:
        raise RuntimeError("none of ours: install the package, `pip install nerfstudio-talking`")
    for point in points:
        if point.name in ours:
            point.load()
    return ", ".join(ours)


def _video() -> str:
    import tempfile

    import numpy as np

    from nerfstudio_talking.media.reading import probe_video
    from nerfstudio_talking.media.writing import VideoWriter

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        with VideoWriter(path, 25, 64, 48, audio=(np.zeros(16000, np.float32), 16000)) as writer:
            for level in range(0, 250, 50):
                writer.write(np.full((48, 64, 3), level, np.uint8))
        info = probe_video(path)
    return f"H.264 with AAC, {info.width}x{info.height}"


def _rasterizer() -> str:
    import torch

    from nerfstudio_talking.splatting.rasterize import fastest_on, rasterize

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    values = {
        "means": [[8.0, 8.0]],
        "conics": [[0.1, 0.0, 0.1]],
        "opacities": [0.9],
        "colors": [[1.0]],
        "depths": [1.0],
    }
    gaussian: dict[str, Any] = {name: torch.tensor(value, device=device) for name, value in values.items()}
    radii = torch.tensor([9], dtype=torch.int32, device=device)
    image = rasterize(**gaussian, radii=radii, width=16, height=16).image
    expected = 0.9 * float(torch.exp(torch.tensor(-0.5 * 0.1 * 0.5)))
    if abs(float(image[8, 8, 0]) - expected) > 1e-3:
        raise RuntimeError(f"a Gaussian has {float(image[8, 8, 0]):.3f} where {expected:.3f} is right")
    return f"by {fastest_on(device)}"


def _tracker() -> str:
    from importlib.util import find_spec

    if find_spec("mediapipe") is None:
        return "not installed: datasets cannot be made here"
    import numpy as np

    from nerfstudio_talking.face.tracking import FaceFollower, quiet_stderr

    with quiet_stderr(), FaceFollower() as follower:
        follower.follow(np.zeros((64, 64, 3), np.uint8))
    return "MediaPipe's face mesh"
