"""Videos side by side, each under its label, as one animated WebP for a page.

    python scripts/benchmarks/figures/comparison.py gt.mp4 volume.mp4 splats.mp4 \\
        --labels "ground truth" volume splats --output docs/images/comparison.webp --start 6 --seconds 4

Videos are brought to one height and frame rate, from the same second on; the shortest one ends the animation. The
quality is lowered until the file is small enough. An animated WebP has no audio and plays in browsers and on GitHub.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import new_file
from nerfstudio_talking.media.reading import probe_video, read_frames

_BAR = 26
"""Height of the bar of the labels, pixels."""
_GAP = 4
_QUALITIES = (80, 70, 60, 50, 40, 30, 20)


@dataclass
class Comparison:
    """Compose videos into an animated WebP."""

    videos: tyro.conf.Positional[tuple[Path, ...]]
    """The videos, from left to right."""
    labels: tuple[str, ...]
    """Their labels, one each."""
    output: Path
    """The .webp file to write."""
    start: float = 0.0
    """Second of the videos at which the animation begins."""
    seconds: float = 4.0
    """Length of the animation."""
    fps: float = 12.5
    """Frames per second of the animation."""
    height: int = 256
    """Height of each video in the animation, pixels."""
    max_megabytes: float = 1.9
    """Largest size of the file."""

    def main(self) -> None:
        """Read, compose, write."""
        if len(self.labels) != len(self.videos):
            found = f"{len(self.labels)} labels, {len(self.videos)} videos"
            raise TalkingError("--labels", expected="one for each video", found=found, hint="Quote labels with spaces.")
        columns = [self._frames(path) for path in self.videos]
        frames = [compose(images, self.labels) for images in zip(*columns, strict=False)]
        for quality in _QUALITIES:
            data = encode(frames, self.fps, quality)
            if len(data) <= self.max_megabytes * 1e6:
                break
        else:
            found = f"{len(data) / 1e6:.1f} MB at quality {quality}"
            hint = "Take fewer --seconds, a lower --fps or --height."
            raise TalkingError(self.output, expected=f"up to {self.max_megabytes} MB", found=found, hint=hint)
        with new_file(self.output) as file:
            file.write(data)
        CONSOLE.print(f"{self.output}: {len(frames)} frames, {len(data) / 1e6:.2f} MB, quality {quality}")

    def _frames(self, path: Path) -> list[Image.Image]:
        info = probe_video(path)
        first = round(self.start * self.fps)
        images = [
            Image.fromarray(frame)
            for frame in read_frames(path, self.fps, first, first + round(self.seconds * self.fps))
        ]
        if not images:
            found = f"{info.duration:.1f} s"
            raise TalkingError(path, expected=f"more than {self.start} s", found=found, hint="Lower --start.")
        width = round(self.height * images[0].width / images[0].height)
        return [image.resize((width, self.height), Image.Resampling.LANCZOS) for image in images]


def compose(images: tuple[Image.Image, ...], labels: tuple[str, ...]) -> UInt8[np.ndarray, "height width 3"]:
    """Images of one height side by side, each under its label."""
    width = sum(image.width for image in images) + _GAP * (len(images) - 1)
    canvas = Image.new("RGB", (width, images[0].height + _BAR), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(15)
    left = 0
    for image, label in zip(images, labels, strict=True):
        draw.text((left + image.width / 2, _BAR / 2), label, fill="black", font=font, anchor="mm")
        canvas.paste(image, (left, _BAR))
        left += image.width + _GAP
    return np.asarray(canvas)


def encode(frames: list[UInt8[np.ndarray, "height width 3"]], fps: float, quality: int) -> bytes:
    """An animated WebP that repeats for ever."""
    images = [Image.fromarray(frame) for frame in frames]
    file = io.BytesIO()
    images[0].save(
        file,
        "WEBP",
        save_all=True,
        append_images=images[1:],
        duration=round(1000 / fps),
        loop=0,
        quality=quality,
        method=4,
    )
    return file.getvalue()


if __name__ == "__main__":
    tyro.cli(Comparison).main()
