"""Loading a trained portrait for the subcommands that render it."""

from __future__ import annotations

import functools
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import yaml
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipeline
from nerfstudio.plugins.registry import discover_methods
from nerfstudio.plugins.registry_dataparser import discover_dataparsers
from rich.markup import escape

from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import new_file
from nerfstudio_talking.io.safe_yaml import MAX_BYTES, Registry, load_objects
from nerfstudio_talking.io.weights import load_state
from nerfstudio_talking.models.portrait_model import PortraitModel, PortraitModelConfig

if TYPE_CHECKING:
    from nerfstudio_talking.baking.file_format import Bake

BAKED_CONFIG_NAME = "config_baked.yml"
"""Name of the configuration that renders from a bake, beside config.yml."""
_CHECKPOINTS = "step-*.ckpt"
_OUR_METHOD = "a method of this package, or of another plugin of nerfstudio"
_METHOD_NAME = re.compile(r"^method_name: ([\w-]+)$", re.MULTILINE)
_HINT = "Give the config.yml that ns-train wrote: outputs/.../config.yml."
_CHECKPOINT_HINT = "Take another checkpoint of the run, or train again."


@functools.cache
def plugin_methods() -> dict[str, TrainerConfig]:
    """The methods of nerfstudio's plugins, by name, this package's among them. Its own take seconds to import, and none
    is a portrait."""
    return discover_methods()[0]


@functools.cache
def registered_classes() -> Registry:
    """What config.yml may consist of: what the methods and dataparsers of plugins consist of."""
    registry = Registry()
    for config in (*plugin_methods().values(), *discover_dataparsers()[0].values()):
        registry.add(config)
    return registry


def read_run(load_config: Path) -> TrainerConfig:
    """The configuration of a training run, without its weights. Where checkpoints lie beside config.yml, these are the
    run's, whatever folder it was trained in. Nothing that the file says is run.

    Raises:
        TalkingError: there is no such file, it is no run's configuration, or it names something that is no part of a
            registered method's configuration.
    """
    if not load_config.is_file():
        raise TalkingError(load_config, expected="a config.yml", found="no such file", hint=_HINT)
    try:
        config, unknown = load_objects(load_config, registered_classes(), _HINT)
    except TalkingError as error:
        name = _method_name(load_config)
        if name is None or name in plugin_methods():
            raise
        found = f"method {name}, {error.found}"
        raise TalkingError(load_config, expected=_OUR_METHOD, found=found, hint=error.hint) from error
    if not isinstance(config, TrainerConfig):
        raise TalkingError(load_config, expected="a config.yml", found=f"a {type(config).__name__}", hint=_HINT)
    if config.method_name not in plugin_methods():
        raise TalkingError(load_config, expected=_OUR_METHOD, found=f"method {config.method_name}", hint=_HINT)
    manager = type(plugin_methods()[config.method_name].pipeline.datamanager)
    if type(config.pipeline.datamanager) is not manager:
        found = f"a {type(config.pipeline.datamanager).__name__} in a run of {config.method_name}"
        raise TalkingError(load_config, expected=f"a {manager.__name__}", found=found, hint=_HINT)
    if unknown:
        names = escape(f"{load_config}: this version has no {', '.join(sorted(set(unknown)))}")
        CONSOLE.print(f"[yellow]{names}: left out.[/]", soft_wrap=True)
    folder = load_config.parent
    beside = any((folder / config.relative_model_dir).glob(_CHECKPOINTS))
    if beside and folder.resolve() != config.get_base_dir().resolve():
        config.found_at = folder  # type: ignore[attr-defined]  # read by TalkingTrainerConfig.get_base_dir
    return config


def _method_name(load_config: Path) -> str | None:
    """The method that a configuration names at its end, whatever else it contains."""
    try:
        text = load_config.read_bytes() if load_config.stat().st_size <= MAX_BYTES else b""
    except OSError:
        return None
    found = _METHOD_NAME.search(text.decode("utf-8", "replace"))
    return None if found is None else found[1]


def set_data(config: TrainerConfig, load_config: Path, data: Path | None) -> None:
    """Let a run's configuration name another place of its dataset.

    Raises:
        TalkingError: no place is given, and the one that the run was trained on is gone.
    """
    manager: Any = config.pipeline.datamanager
    if data is not None:
        config.data = manager.data = manager.dataparser.data = data
        return
    trained_on = manager.data or manager.dataparser.data
    if not trained_on.is_dir():
        raise TalkingError(
            trained_on,
            expected=f"the dataset that {load_config} was trained on",
            found="no such folder",
            hint="Give the place where it is now: --data DIR. Relative paths count from the folder of ns-train.",
        )


@contextmanager
def located_config(load_config: Path, data: Path | None = None) -> Iterator[Path]:
    """A config.yml for nerfstudio's own scripts, which run what it says, and look for checkpoint and dataset where they
    were in training: what `read_run` read is written anew.

    Args:
        load_config: config.yml of a portrait.
        data: where its dataset is now; None where it was.

    Raises:
        TalkingError: there is no such run, or its dataset is gone.
    """
    config = read_run(load_config)
    set_data(config, load_config, data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / load_config.name
        path.write_text(yaml.dump(config), encoding="utf-8")
        yield path


def write_baked_config(load_config: Path, bake: Path) -> Path:
    """Write the configuration of a training run again, with a bake: `ns-eval`, `ns-viewer` and `ns-render` that load it
    render from the bake. Everything else stays equal, so that nerfstudio finds the same checkpoint.

    Args:
        load_config: config.yml of a portrait.
        bake: the portrait's bake. Its path is stored absolute where that of the run's outputs is; otherwise as given,
            since both count from the folder that the commands run in.

    Returns:
        The path of the configuration, in the folder of `load_config`.

    Raises:
        TalkingError: there is no such run.
    """
    config = read_run(load_config)
    config.pipeline.baked = bake.absolute() if config.output_dir.is_absolute() else bake  # type: ignore[attr-defined]
    path = load_config.with_name(BAKED_CONFIG_NAME)
    with new_file(path) as file:
        file.write(yaml.dump(config).encode("utf-8"))
    return path


def latest_checkpoint(load_config: Path) -> Path:
    """The newest checkpoint of a training run.

    Raises:
        TalkingError: there is no such run, or it has no checkpoint yet.
    """
    return _latest_checkpoint(read_run(load_config))


def _latest_checkpoint(config: TrainerConfig) -> Path:
    """`latest_checkpoint` of a configuration that was read."""
    folder = config.get_checkpoint_dir()
    checkpoints = sorted(folder.glob(_CHECKPOINTS))
    if not checkpoints:
        hint = "Train first; paths in config.yml count from the folder that ns-train ran in, so run from there."
        raise TalkingError(folder, expected="a checkpoint step-*.ckpt", found="none", hint=hint)
    return checkpoints[-1]


def load_portrait(load_config: Path, data: Path | None = None) -> tuple[VanillaPipeline, PortraitModel]:
    """The pipeline and model of a training run, ready to render.

    Args:
        load_config: config.yml of a portrait.
        data: where its dataset is now; None where it was in training.

    Raises:
        TalkingError: there is no such run, it has no checkpoint yet, its dataset is gone, or it is not a portrait.
    """
    config = read_run(load_config)
    if not isinstance(config.pipeline.model, PortraitModelConfig):
        found = f"method {config.method_name}"
        raise TalkingError(load_config, expected="a portrait of this package", found=found, hint=_HINT)
    checkpoint = _latest_checkpoint(config)
    state = load_state(checkpoint, "a portrait", _CHECKPOINT_HINT)
    if not isinstance(state.get("pipeline"), dict) or not state["pipeline"] or not isinstance(state.get("step"), int):
        found = f"no weights, but {', '.join(map(str, state)) or 'nothing'}"[:200]
        raise TalkingError(checkpoint, expected="this portrait's weights", found=found, hint=_CHECKPOINT_HINT)
    set_data(config, load_config, data)
    pipeline = config.pipeline.setup(device="cuda" if torch.cuda.is_available() else "cpu", test_mode="inference")
    pipeline.eval()
    try:
        pipeline.load_pipeline(state["pipeline"], state["step"])
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        found = str(error).splitlines()[-1].strip()
        raise TalkingError(
            checkpoint, expected="this portrait's weights", found=found, hint=_CHECKPOINT_HINT
        ) from error
    assert isinstance(pipeline, VanillaPipeline) and isinstance(pipeline.model, PortraitModel)
    return pipeline, pipeline.model


def find_bake(model: PortraitModel, config: Path, bake: Literal["auto", "none"] | Path) -> Bake | None:
    """The bake to play a portrait from, if any.

    Args:
        model: the portrait.
        config: its config.yml, beside which `ns-talking bake` leaves a bake.
        bake: a file; 'auto' takes the one beside config.yml where the model is on a CPU; 'none' takes none.

    Raises:
        TalkingError: the file is missing, or is the bake of another portrait.
    """
    from nerfstudio_talking.baking.file_format import BAKE_NAME, load_bake
    from nerfstudio_talking.baking.fit import bakeable
    from nerfstudio_talking.io.digests import weights_digest

    path = config.parent / BAKE_NAME
    if bake == "none" or (bake == "auto" and (model.device.type != "cpu" or not path.is_file())):
        return None
    path = path if bake == "auto" else Path(bake)
    found = load_bake(path, weights_digest(bakeable(model)))
    CONSOLE.print(escape(f"Playing from {path}."), soft_wrap=True)
    return found


def ensure_ffmpeg() -> None:
    """Put imageio-ffmpeg's program on PATH where none is: nerfstudio's renderer asks for one by that name."""
    import shutil

    import imageio_ffmpeg

    if shutil.which("ffmpeg") is None:
        folder = Path(tempfile.mkdtemp(prefix="ffmpeg-"))
        (folder / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"
