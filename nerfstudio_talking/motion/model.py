"""The motion model and its file: a face basis and a network shared by people, and the parameters of one person."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from nerfstudio_talking.audio.kernel_regression import AudioRegression
from nerfstudio_talking.face.linear_face_model import FaceBasis, FaceModel
from nerfstudio_talking.io.arrays import require_shapes
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.files import make_folder, save_atomically
from nerfstudio_talking.io.weights import load_state
from nerfstudio_talking.motion.audio_features import COEFFICIENTS, WINDOW
from nerfstudio_talking.motion.blinks import Blinking
from nerfstudio_talking.motion.head_process import HeadProcess
from nerfstudio_talking.motion.learning import Sample
from nerfstudio_talking.motion.network import MotionNetwork, MotionNetworkConfig
from nerfstudio_talking.motion.recording import Recording

SCHEMA = 3
_KIND = "nerfstudio-talking motion"
_WIDEST = 4096
"""Most channels of a network that is read from a file."""
NUM_AXES = 6
"""Numbers of a head pose (`linear_face_model.pose_vectors`)."""


@dataclass(frozen=True)
class Person:
    """Parameters of one person that fine-tuning learns besides the network's weights."""

    name: str
    """Name of the person's dataset folder."""
    digest: str
    """SHA-256 of the source video."""
    mean_shape: Float[np.ndarray, "478 3"]
    """Mean shape with open eyes, head's frame, metres."""
    pose_mean: Float[np.ndarray, " axes"]
    """Mean pose."""
    pose_scale: Float[np.ndarray, " axes"]
    """Standard deviation of the pose."""
    pose_gain: Float[np.ndarray, " axes"]
    """Least-squares factor, 0 to 1, of the predicted pose on held-out frames."""
    expression_gain: Float[np.ndarray, " expression"]
    """Factor that stretches predicted coefficients to the person's standard deviation."""
    expression_range: Float[np.ndarray, "2 expression"]
    """Least and greatest coefficients of the person."""
    expression_rest: Float[np.ndarray, " expression"]
    """Coefficients of the mouth at rest: the mean over the frames whose lips are least open."""
    regression: AudioRegression
    """Kernel regression from flattened patches to the expression, which needs fewer frames than the network."""
    process: HeadProcess
    """Random process of the head motion that audio does not predict."""
    blinking: Blinking
    """Blink statistics."""


@dataclass
class MotionModel:
    """Predicts motion from audio: a general model, or a personal one."""

    network: MotionNetwork
    """Audio to expression and pose."""
    network_config: MotionNetworkConfig
    """Widths of the network."""
    basis: FaceBasis
    """Face basis of the expression coefficients."""
    record: dict[str, Any] = field(default_factory=dict)
    """Provenance: seed, datasets, held-out losses."""
    person: Person | None = None
    """Parameters of the person; None in a general model."""

    def face(self) -> FaceModel:
        """The linear face model of the person, which a general model does not have."""
        assert self.person is not None
        return FaceModel(self.person.mean_shape, self.basis)

    def predict(
        self, patches: Float32[np.ndarray, "frames 28 12"]
    ) -> tuple[Float[np.ndarray, "frames expression"], Float[np.ndarray, "frames 6"]]:
        """Expression and pose from audio, both of unit variance, before any gain.

        The expression of a personal model is the mean of network and kernel regression, whose errors differ.
        """
        outputs = self.network.predict(torch.from_numpy(patches)).double().numpy()
        expression, pose = outputs[:, : self.basis.count], outputs[:, self.basis.count :]
        if self.person is not None:
            expression = 0.5 * (expression + self.person.regression.predict(flatten_patches(patches)))
        return expression, pose

    def importance(self) -> Float[Tensor, " expression"]:
        """Weight of each coefficient in the expression's error: its squared displacement per unit, of mean 1."""
        from nerfstudio_talking.face.linear_face_model import point_weights

        energy = (self.basis.components**2 * point_weights()[:, None]).sum((1, 2))
        return torch.from_numpy(energy / energy.mean()).float()


def flatten_patches(patches: Float32[np.ndarray, "frames 28 12"]) -> Float[np.ndarray, "frames inputs"]:
    """Flatten patches to the inputs of the kernel regression."""
    return patches.reshape(len(patches), -1).astype(np.float64)


def make_sample(
    recording: Recording,
    basis: FaceBasis,
    pose_mean: Float[np.ndarray, " axes"],
    pose_scale: Float[np.ndarray, " axes"],
) -> Sample:
    """Inputs and targets of a recording, with the expression relative to its own mean shape."""
    coefficients = FaceModel(recording.shapes.mean(0), basis).encode(recording.shapes)
    pose = (recording.pose - pose_mean) / pose_scale
    targets = np.concatenate([coefficients, pose], axis=1)
    return Sample(torch.from_numpy(recording.patches), torch.from_numpy(targets).float())


def save_model(model: MotionModel, path: Path) -> None:
    """Write a motion model atomically; `torch.load(weights_only=True)` reads it."""
    person = None
    if model.person is not None:
        person = _flatten(dataclasses.asdict(model.person))
    record = {
        "kind": _KIND,
        "schema": SCHEMA,
        "network_config": dataclasses.asdict(model.network_config),
        "network": model.network.state_dict(),
        "components": torch.from_numpy(model.basis.components),
        "lid": torch.from_numpy(model.basis.lid),
        "record": model.record,
        "person": person,
    }
    make_folder(path.parent)
    save_atomically(record, path)


def load_model(path: Path, personal: bool = False) -> MotionModel:
    """Read a motion model.

    Args:
        path: the file.
        personal: require a fine-tuned model.

    Raises:
        TalkingError: there is no such file, it is not a motion model, or it is not fine-tuned.
    """
    hint = "Make one with `ns-talking motion train --data DIR ... --output M`."
    if not path.is_file():
        raise TalkingError(path, expected="a motion model", found="no such file", hint=hint)
    record = load_state(path, "a motion model", hint)
    if record.get("kind") != _KIND or record.get("schema") != SCHEMA:
        raise TalkingError(path, expected=f"a motion model of schema {SCHEMA}", found="something else", hint=hint)
    try:
        model = _model_of(record)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        found = f"no {error}" if isinstance(error, KeyError) else (str(error) or type(error).__name__).splitlines()[-1]
        raise TalkingError(path, expected="a whole motion model", found=found.strip(), hint=hint) from error
    if personal and model.person is None:
        raise TalkingError(
            path,
            expected="a personal motion model",
            found="a general one",
            hint="Make it personal: `ns-talking motion finetune --model M --data DIR --output P`.",
        )
    return model


def _model_of(record: dict[str, Any]) -> MotionModel:
    """The model of a record as of `save_model`; what is damaged raises what its use raises."""
    config = dict(record["network_config"])
    network_config = MotionNetworkConfig(**{**config, "widths": tuple(config["widths"])})
    sizes = (*network_config.widths, network_config.features, network_config.hidden, network_config.layers)
    if len(network_config.widths) != 4 or not all(type(size) is int and 0 < size <= _WIDEST for size in sizes):
        raise ValueError(f"a network of {sizes}")
    basis = FaceBasis(record["components"].numpy(), record["lid"].numpy())
    require_shapes(basis)
    network = MotionNetwork(network_config, basis.count)
    network.load_state_dict(record["network"])
    network.eval()
    person = None
    if record["person"] is not None:
        fields: dict[str, Any] = {k: v.numpy() if isinstance(v, Tensor) else v for k, v in record["person"].items()}
        plain = {k: v for k, v in fields.items() if "." not in k}
        kinds = {"process": HeadProcess, "blinking": Blinking, "regression": AudioRegression}
        parts: dict[str, Any] = {
            name: kind(**{k.removeprefix(f"{name}."): v for k, v in fields.items() if k.startswith(f"{name}.")})
            for name, kind in kinds.items()
        }
        person = Person(**plain, **parts)
        require_shapes(basis, person, *parts.values())
        sizes = (person.pose_mean.shape, person.expression_rest.shape, person.regression.mean.shape)
        flat = flatten_patches(np.zeros((1, WINDOW, COEFFICIENTS), np.float32))
        if sizes != ((NUM_AXES,), (basis.count,), flat.shape[1:]):
            raise ValueError(f"pose, expression and audio of {sizes}")
        if person.process.rate.shape != (2,) or not len(person.process.matrices) or len(person.blinking.shape) < 4:
            raise ValueError("a process of head motion or blinks that is none")
    return MotionModel(network, network_config, basis, dict(record["record"]), person)


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries with dotted keys, arrays as tensors."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
    return flat
