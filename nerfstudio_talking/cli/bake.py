"""`ns-talking bake`: bake a trained portrait for fast playback."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import tyro
from rich.markup import escape

from nerfstudio_talking.baking.config import LADDER, BakeConfig, finer_settings
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import require_writable


@dataclass
class BakePortrait:
    """Bake a portrait, so that it renders many times faster on a CPU.

    The head becomes a sparse voxel grid with a quadratic regression of density and colour on audio, eyes and view at
    each vertex; torso and background come from the checkpoint. Held-out frames, baked and unbaked, are compared with
    ground truth. A bake that loses too much is made again with finer settings, and refused when the finest loses too
    much. Beside the bake's file, config_baked.yml is written: ns-eval, ns-viewer and ns-render that load it render from
    the bake.
    """

    load_config: Path
    """The config.yml of the trained portrait."""
    output: Path | None = None
    """The file to write; baked.pt beside config.yml where not given, where `drive` finds it."""
    max_loss: float = 0.2
    """Greatest loss of PSNR against ground truth, dB, over the image and in the mouth's box."""
    validation_frames: int = 12
    """Number of held-out frames that are compared."""
    data: Path | None = None
    """The portrait's dataset folder, where it is no longer the one of its training."""
    bake: tyro.conf.OmitArgPrefixes[BakeConfig] = field(default_factory=BakeConfig)
    """Settings of the first try."""

    def main(self) -> None:
        """Bake, validate, try finer settings, write."""
        from nerfstudio_talking.baking.file_format import BAKE_NAME, save_bake
        from nerfstudio_talking.baking.fit import bakeable, fit_bake
        from nerfstudio_talking.baking.renderer import BakeRenderer
        from nerfstudio_talking.baking.validation import validate_bake
        from nerfstudio_talking.inference.checkpoints import BAKED_CONFIG_NAME, load_portrait, write_baked_config

        output = self.output or self.load_config.parent / BAKE_NAME
        if self.load_config.is_file():  # else `load_portrait` says that it is missing
            for path in (output, self.load_config.with_name(BAKED_CONFIG_NAME)):
                require_writable(path)
        _, loaded = load_portrait(self.load_config, self.data)
        model = bakeable(loaded)
        model.to("cpu").eval()
        results = []
        for number, config in enumerate(finer_settings(self.bake), start=1):
            bake = fit_bake(model, config)
            result = validate_bake(model, BakeRenderer(model, bake), self.validation_frames)
            settings = f"cell {config.cell:g}, {config.conditions} conditions"
            CONSOLE.print(f"Try {number} of {len(LADDER)}, {settings}: {result}", soft_wrap=True)
            if result.loss <= self.max_loss:
                save_bake(replace(bake, metrics=asdict(result)), output)
                size = output.stat().st_size / 2**20
                CONSOLE.print(
                    f"[green]Wrote {escape(str(output))}: {bake.grid.num_vertices} vertices, {size:.0f} MB.",
                    soft_wrap=True,
                )
                baked_config = escape(str(write_baked_config(self.load_config, output)))
                CONSOLE.print(
                    f"Evaluate, view or render it: ns-eval, ns-viewer or ns-render with --load-config {baked_config}",
                    soft_wrap=True,
                )
                return
            results.append(f"{result.loss:.2f} dB with {settings}")
        raise TalkingError(
            output,
            expected=f"a bake that loses at most {self.max_loss:g} dB",
            found="; ".join(results),
            hint="Nothing was written. Allow more with --max-loss, or bake finer with a smaller --cell.",
        )
