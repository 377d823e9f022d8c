"""`ns-talking bake`: freeze a trained portrait for playback."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import tyro

from nerfstudio_talking.baking.config import BakeConfig
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError


@dataclass
class BakePortrait:
    """Freeze what a portrait can do without its networks, so that `drive` plays it many times faster on a CPU.

    The head becomes a grid whose vertices answer to audio, eyes and view with polynomials fitted to the field; torso
    maps and background are taken from the checkpoint. Held-out frames, baked and in full, are compared with the
    recording; a bake that loses too much is refused.
    """

    load_config: Path
    """The config.yml of the trained portrait."""
    output: Path | None = None
    """The file to write; where not given, baked.pt beside config.yml, where `drive` finds it by itself."""
    max_loss: float = 0.2
    """PSNR against the recording, dB, that a bake may lose, over the image and about the mouth."""
    validation_frames: int = 12
    """Held-out frames that are compared."""
    bake: tyro.conf.OmitArgPrefixes[BakeConfig] = field(default_factory=BakeConfig)
    """How it is frozen."""

    def main(self) -> None:
        """Freeze, compare, write."""
        from nerfstudio_talking.baking.file_format import BAKE_NAME, save_bake
        from nerfstudio_talking.baking.fit import bakeable, fit_bake
        from nerfstudio_talking.baking.renderer import BakeRenderer
        from nerfstudio_talking.baking.validation import validate_bake
        from nerfstudio_talking.inference.checkpoints import load_portrait

        _, loaded = load_portrait(self.load_config)
        model = bakeable(loaded)
        model.to("cpu").eval()
        bake = fit_bake(model, self.bake)
        metrics = validate_bake(
            model, BakeRenderer(model, bake, model.track.width, model.track.height), self.validation_frames
        )
        CONSOLE.print(
            f"Held-out frames: {metrics.full:.2f} dB in full, {metrics.baked:.2f} dB baked; about the mouth "
            f"{metrics.mouth_full:.2f} and {metrics.mouth_baked:.2f}; baked against full {metrics.agreement:.1f} dB."
        )
        output = self.output or self.load_config.parent / BAKE_NAME
        if not metrics.loss <= self.max_loss:
            raise TalkingError(
                output,
                expected=f"a bake that loses at most {self.max_loss:g} dB",
                found=f"{metrics.loss:.2f} dB",
                hint="Nothing was written. Bake finer (--cell 0.7, --conditions 160), or allow more (--max-loss).",
            )
        save_bake(replace(bake, metrics=asdict(metrics)), output)
        CONSOLE.print(
            f"[green]Wrote {output}: {bake.grid.num_vertices} vertices, {output.stat().st_size / 2**20:.0f} MB."
        )
