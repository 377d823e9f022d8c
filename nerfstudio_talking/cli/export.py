"""`ns-talking export`: the Gaussians of a frame as a file for other splat viewers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.markup import escape

from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import require_writable


@dataclass
class Export:
    """Write the Gaussians of one frame of a splat portrait as a PLY file, which other splat viewers open.

    Head, mouth and torso are written as the frame shows them, without the background image: in metres, the head at the
    origin, x to the right of the image. `ns-export gaussian-splat` writes nerfstudio's own splatfacto alone.
    """

    load_config: Path
    """The config.yml of the trained splat portrait."""
    output: Path
    """The .ply file to write."""
    frame: int = 0
    """Frame of the portrait's sequence, counted from 0."""
    axes: Literal["y-down", "y-up"] = "y-down"
    """Axes of the file: 'y-down' has the face look along -z, as viewers expect; 'y-up' along +z (OpenGL)."""
    data: Path | None = None
    """The portrait's dataset folder, where it is no longer the one of its training."""

    def main(self) -> None:
        """Write the file."""
        output = self.output
        if output.suffix.lower() != ".ply":
            raise TalkingError(output, expected="a name ending in .ply", found="another", hint="Rename the output.")
        require_writable(output)
        # only here, since nerfstudio takes seconds to import
        import torch

        from nerfstudio_talking.inference.checkpoints import load_portrait
        from nerfstudio_talking.media.writing import SYNTHETIC_NOTICE
        from nerfstudio_talking.models.splat_portrait import SplatPortraitModel
        from nerfstudio_talking.splatting.ply import write_ply

        _, model = load_portrait(self.load_config, self.data)
        if not isinstance(model, SplatPortraitModel):
            hint = "Train one with `ns-train splat-portrait`."
            found = f"a portrait without Gaussians ({type(model).__name__})"
            raise TalkingError(self.load_config, expected="a splat portrait", found=found, hint=hint)
        count = model.track.num_frames
        if not 0 <= self.frame < count:
            hint = "Frames count from 0."
            raise TalkingError("--frame", expected=f"0 to {count - 1}", found=str(self.frame), hint=hint)
        gaussians = model.gaussians_of(self.frame)
        if self.axes == "y-down":
            half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
            gaussians = gaussians.transform(torch.cat([half_turn, torch.zeros(3, 1)], 1).to(gaussians.means))
        write_ply(gaussians, output, [SYNTHETIC_NOTICE, f"frame {self.frame}, metres, {self.axes}"])
        size = output.stat().st_size / 2**20
        CONSOLE.print(
            f"[green]Wrote {escape(str(output))}: {len(gaussians.means)} Gaussians, {size:.1f} MB.", soft_wrap=True
        )
