"""What every portrait shares: a volume under audio and eyes before a background, as a nerfstudio model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.utils.external import TCNN_EXISTS
from torch import Tensor
from torch.nn import Parameter
from torchmetrics.functional.image import structural_similarity_index_measure

from nerfstudio_talking.cameras.image_plane import plane_positions
from nerfstudio_talking.dataset_io.parsing_labels import PALETTE, class_mask
from nerfstudio_talking.dataset_io.sequence import TalkingSequence
from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.field_components.audio_encoder import AudioEncoder
from nerfstudio_talking.field_components.conditioning import ConditioningTrack, FrameCondition
from nerfstudio_talking.field_components.hash_planes import HashPlanes, Implementation
from nerfstudio_talking.field_components.mouth_shape_predictor import MouthShapePredictor, mouth_coordinates
from nerfstudio_talking.field_components.reference_features import sample_maps
from nerfstudio_talking.field_components.region_saliency import RegionModule
from nerfstudio_talking.fields.conditioned_field import ConditionedField
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.digests import digest_tensor
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.io.weights import find_weights
from nerfstudio_talking.metrics.functional.images import lpips_loss, psnr, quantize, ssim
from nerfstudio_talking.metrics.functional.networks import ALEXNET_FILES, lpips_network
from nerfstudio_talking.model_components.occupancy_grid import OccupancyGrid
from nerfstudio_talking.model_components.volume_renderer import FrameRays
from nerfstudio_talking.viewer.opening_view import OpeningView

_REACH = {"audio": ("skin", "inner_mouth", "lips", "neck"), "eyes": ("skin", "brows", "eyes")}
"""Parsing classes that a modality may change."""


@dataclass
class PortraitModelConfig(ModelConfig):
    """Options of every portrait."""

    enable_collider: bool = False
    """Rays are cut to the volume's box by the model itself."""
    eval_num_rays_per_chunk: int = 1 << 16
    """Rays rendered at a time; a CPU is quickest with what its caches hold, a GPU with more."""
    region_module: RegionModule = "external"
    """How a modality is spread over space: external attention with the condition, ER-NeRF's network, or not at all."""
    audio_condition: Literal["mouth_shape", "code"] = "mouth_shape"
    """What audio tells the volume: the mouth's shape, learned from tracked landmarks (short clips), or a free code,
    learned from the image (minutes of speech, or clips without landmarks)."""
    mouth_shape_dim: int = 6
    """Components of the mouth's shape."""
    predicted_mouth_prob: float = 0.5
    """Share of the training frames whose mouth's shape the volume is told by audio, as ever after; it is shown the
    tracked one of the others."""
    audio_dim: int = 32
    """Length of the free audio code."""
    audio_dropout: float = 0.3
    """Dropout in the audio encoder."""
    audio_noise: float = 0.3
    """Noise on the normalised audio features in training."""
    num_levels: int = 12
    """Levels of the volume's hash planes."""
    log2_table_size: int = 14
    """Largest table of a level, as a power of two."""
    max_resolution: int = 512
    """Finest level of the volume's hash planes."""
    hidden_dim: int = 64
    """Width of the volume's networks."""
    direction_levels: int = 2
    """Degree of the spherical harmonics of the view direction."""
    implementation: Implementation = "auto"
    """Of the hash planes."""
    num_samples: int = 48
    """Places along a ray through the volume's box; those in empty cells cost nothing."""
    occupancy_resolution: int = 48
    """Cells of the occupancy grid along an axis."""
    occupancy_interval: int = 128
    """Steps between refreshes of the occupancy grid."""
    occupancy_threshold: float = 0.02
    """Rendering weight of a sample under which its cell shows nothing."""
    mask_loss_mult: float = 0.02
    """Weight of the opacity of the layers against the parsing."""
    entropy_loss_mult: float = 1e-3
    """Weight of the entropy of the volume's opacity."""
    spread_loss_mult: float = 0.2
    """Weight of the variance of depth along a ray, in units of the box's depth: a person has a skin."""
    saliency_loss_mult: float = 1e-4
    """Weight of saliency outside the region that a modality belongs to."""
    parsing_branch: bool = False
    """Whether the parsing teaches the volume's features; without, it is only read off them."""
    semantic_loss_mult: float = 0.01
    """Weight of the parsing."""
    mouth_shape_loss_mult: float = 0.1
    """Weight of the mouth shape predicted from audio."""
    patch_loss_mult: float = 0.02
    """Weight of LPIPS, or of 1 - SSIM where its weights are not to be had, on mouth patches in the lips phase."""
    lpips_weights: Path | None = None
    """Torchvision's AlexNet for LPIPS in the lips phase; the torch cache is looked through where not given."""


@dataclass
class Rendering:
    """A rendered evaluation frame."""

    index: int
    """Of the frame among the evaluation frames."""
    rgb: UInt8[Tensor, "height width 3"]
    parsing: UInt8[Tensor, "height width 3"]
    """In the palette's colours."""


class PortraitModel(Model):
    """A volume under audio and eyes, and what surrounds it. Subclasses build `field` and say how layers meet."""

    config: PortraitModelConfig
    field: ConditionedField
    background: Tensor
    palette: Tensor
    sequence_digest: Tensor

    def populate_modules(self) -> None:
        """Take the clip from the dataparser's metadata; build what every portrait needs around the volume."""
        super().populate_modules()
        config = self.config
        self.sequence: TalkingSequence = self.kwargs["metadata"]["sequence"]
        self.track: TalkingTrack = self.sequence.track
        self.plane_distance = float(np.median(np.linalg.norm(self.track.camera_to_worlds[:, :, 3], axis=1)))
        self.conditioning = ConditioningTrack(self.track)
        self._populate_audio()
        self.occupancy = OccupancyGrid(config.occupancy_resolution, config.occupancy_threshold)
        background = self.sequence.background
        if background is None:
            background = np.full((self.track.height, self.track.width, 3), 255, np.uint8)
        self.register_buffer("background", torch.from_numpy(background).permute(2, 0, 1)[None].float() / 255, False)
        self.register_buffer("palette", torch.from_numpy(PALETTE).float() / 255, persistent=False)
        for name, classes in _REACH.items():
            self.register_classes(f"{name}_reach", classes)
        self.register_buffer("sequence_digest", digest_tensor(self.track.digest))
        self.register_load_state_dict_pre_hook(_refuse_other_sequence)
        self.opening_view = OpeningView(self.track.camera_to_worlds, self.track.camera)
        self._warned_no_time = False
        self._lpips: tuple[torch.nn.Module | None] | None = None
        self._kept: list[Rendering] | None = None

    def _populate_audio(self) -> None:
        """The articulator, or the encoder of a free code."""
        config = self.config
        self.mouth_shape_predictor: MouthShapePredictor | None = None
        self.audio_encoder: AudioEncoder | None = None
        if config.audio_condition == "mouth_shape" and mouth_coordinates(self.track) is not None:
            self.mouth_shape_predictor = MouthShapePredictor(
                self.track,
                self.sequence.train_frames,
                config.mouth_shape_dim,
                config.audio_dropout,
                config.audio_noise,
                config.predicted_mouth_prob,
            )
            return
        if config.audio_condition == "mouth_shape":
            CONSOLE.print("[yellow]The clip carries no landmarks: audio conditions the volume by a free code.")
        self.audio_encoder = AudioEncoder(
            self.track.audio.shape[2], config.audio_dim, config.audio_dropout, config.audio_noise
        )

    @property
    def mlp_implementation(self) -> Literal["tcnn", "torch"]:
        """Of nerfstudio's networks."""
        return "tcnn" if TCNN_EXISTS and torch.cuda.is_available() else "torch"

    def make_field(
        self,
        box: Float[Tensor, "2 3"],
        ellipsoids: Float[Tensor, "ellipsoids 2 3"],
    ) -> ConditionedField:
        """The volume, under the configured conditions."""
        config = self.config
        return ConditionedField(
            box,
            {
                "audio": config.audio_dim
                if self.mouth_shape_predictor is None
                else self.mouth_shape_predictor.condition_dim,
                "eyes": self.track.eyes.shape[1],
            },
            ellipsoids,
            parsing_branch=config.parsing_branch,
            region_module=config.region_module,
            num_levels=config.num_levels,
            log2_table_size=config.log2_table_size,
            max_resolution=config.max_resolution,
            hidden_dim=config.hidden_dim,
            direction_levels=config.direction_levels,
            implementation=config.implementation,
            mlp_implementation=self.mlp_implementation,
        )

    def register_classes(self, name: str, classes: tuple[str, ...]) -> None:
        """A table that says which class ids belong to a group."""
        table = torch.from_numpy(class_mask(np.arange(256, dtype=np.uint8), classes))
        self.register_buffer(name, table, persistent=False)

    def drive(self, track: TalkingTrack) -> None:
        """Speak another track: same weights, other audio, poses and eyes.

        Raises:
            TalkingError: the track's features are not what the portrait was trained with.
        """
        self.conditioning.load(track)
        self.track = track

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Tables learn fast, networks slowly, the mouth shape from audio apart."""
        tables = [module.table for module in self.modules() if isinstance(module, HashPlanes)]
        audio = list((self.mouth_shape_predictor or self.audio_encoder).parameters())  # type: ignore[union-attr]
        apart = {id(p) for p in [*tables, *audio, self.device_indicator_param]}
        return {
            "tables": tables,
            "audio": audio,
            "networks": [p for p in self.parameters() if id(p) not in apart],
        }

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Refresh the occupancy grid as the training goes on."""
        return [
            TrainingCallback(
                where_to_run=[TrainingCallbackLocation.BEFORE_TRAIN_ITERATION],
                update_every_num_iters=self.config.occupancy_interval,
                func=lambda step: self.occupancy.refresh() if step > 0 else None,
            )
        ]

    def frame_condition(self, frames: Tensor) -> FrameCondition:
        """The conditions of distinct frames of the track; in training partly under the tracked mouth shape."""
        track = self.conditioning
        if self.mouth_shape_predictor is None:
            assert self.audio_encoder is not None
            audio = self.audio_encoder(track.windows(frames))
        elif self.training:
            audio = self.mouth_shape_predictor.training_condition(frames)
        else:
            audio = self.mouth_shape_predictor(track.audio[frames], track.windows(frames))
        # open eyes are the rest position: a blink is then a signal, and its absence none
        return FrameCondition(audio, 2 * (1 - track.eyes[frames]), track.camera_to_worlds[frames], track.body[frames])

    def frame_rays(self, ray_bundle: RayBundle) -> FrameRays:
        """Rays with the condition of the frame that each one's time means."""
        origins, directions = ray_bundle.origins, ray_bundle.directions
        if ray_bundle.times is None and not self._warned_no_time:
            CONSOLE.print("[yellow]Cameras without times: showing the first frame of the track throughout.")
            self._warned_no_time = True
        frames, of_ray = self.conditioning.frames_of(ray_bundle.times, len(origins))
        condition = self.frame_condition(frames)
        uv = plane_positions(origins, directions, condition.poses[of_ray], self.plane_distance, self.track.camera)
        return FrameRays(origins, directions, condition, of_ray, uv)

    def background_of(self, uv: Float[Tensor, "rays 2"]) -> Float[Tensor, "rays 3"]:
        """The background behind positions on the image plane."""
        return sample_maps(self.background, uv[None])[0]

    def mouth_shape_error(self) -> Float[Tensor, ""]:
        """Mean square error of the encoder's mouth shape on random training frames."""
        assert self.mouth_shape_predictor is not None
        frames = torch.from_numpy(np.random.choice(self.sequence.train_frames, 12)).to(self.device)
        predicted = self.mouth_shape_predictor.from_encoder(self.conditioning.windows(frames))
        return F.mse_loss(predicted, self.mouth_shape_predictor.tracked[frames])

    def forward(self, ray_bundle: RayBundle) -> dict[str, Tensor]:  # type: ignore[override]
        """The outputs; in training also the mouth shape's error, since DistributedDataParallel joins the gradients of
        the processes for what is computed in here alone."""
        outputs: dict[str, Any] = super().forward(ray_bundle)
        if self.training and self.mouth_shape_predictor is not None:
            outputs["mouth_shape_error"] = self.mouth_shape_error()
        return outputs

    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """PSNR of the rays."""
        error = F.mse_loss(outputs["rgb"].detach(), batch["image"].to(self.device))
        return {"psnr": -10 * torch.log10(error.clamp_min(1e-10))}

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Photometric loss; in training also entropy, spread, saliency, mouth shape and patch losses."""
        config = self.config
        image = batch["image"].to(self.device)
        losses = {"rgb_loss": self.photometric_loss(outputs["rgb"], image, batch)}
        if not self.training:
            return losses
        accumulation = outputs["accumulation"][:, 0].clamp(1e-4, 1 - 1e-4)
        entropy = -(accumulation * accumulation.log() + (1 - accumulation) * (1 - accumulation).log())
        losses["entropy_loss"] = config.entropy_loss_mult * entropy.mean()
        losses["spread_loss"] = config.spread_loss_mult * outputs["spread"].mean()
        if self.mouth_shape_predictor is not None:
            losses["mouth_shape_loss"] = config.mouth_shape_loss_mult * outputs["mouth_shape_error"]
        if "parsing" in batch:
            parsing = self.parsing_of(batch)
            stray = sum(
                (outputs[f"saliency_{name}"][:, 0] * ~getattr(self, f"{name}_reach")[parsing]).mean() for name in _REACH
            )
            losses["saliency_loss"] = config.saliency_loss_mult * stray  # type: ignore[assignment]
        if "patch_size" in batch:
            side = int(batch["patch_size"])
            patches = [x.view(-1, side, side, 3).permute(0, 3, 1, 2) for x in (outputs["rgb"], image)]
            losses["patch_loss"] = config.patch_loss_mult * self.patch_distance(patches[0], patches[1])
        return losses

    def photometric_loss(
        self, rgb: Float[Tensor, "rays 3"], image: Float[Tensor, "rays 3"], batch: dict[str, Tensor]
    ) -> Float[Tensor, ""]:
        """Mean square error of the colours, in [0, 1]."""
        return F.mse_loss(rgb, image)

    def patch_distance(
        self, rendered: Float[Tensor, "patches 3 side side"], gt: Float[Tensor, "patches 3 side side"]
    ) -> Float[Tensor, ""]:
        """LPIPS of AlexNet where its weights are to be had, else 1 - SSIM; which one is said once."""
        if self._lpips is None:
            weights = find_weights(self.config.lpips_weights, ALEXNET_FILES)
            network = lpips_network(weights).to(self.device).requires_grad_(False) if weights is not None else None
            self._lpips = (network,)  # in a tuple it is no submodule: checkpoints stay without it
            CONSOLE.print(f"Lips phase: patches are compared by {'SSIM' if network is None else 'LPIPS'}.")
        (network,) = self._lpips
        if network is None:
            ssim = structural_similarity_index_measure(rendered, gt, data_range=1.0, kernel_size=7, sigma=1.0)
            return 1 - ssim  # type: ignore[operator]
        return lpips_loss(rendered, gt, network)

    def parsing_of(self, batch: dict[str, Tensor]) -> Tensor:
        """Class ids of a batch's rays, (rays,) long."""
        return batch["parsing"].to(self.device).reshape(-1).long()

    @contextmanager
    def keep_renderings(self) -> Iterator[list[Rendering]]:
        """Keeps the frames that are evaluated within the block, as bytes."""
        self._kept = []
        try:
            yield self._kept
        finally:
            self._kept = None

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """`psnr` and `ssim` of a frame as it would be written, of 256 levels; ground truth and rendering side by side,
        opacity and parsing. All other scores are the pipeline's."""
        image = batch["image"].to(self.device)[..., :3]
        rgb = outputs["rgb"].to(self.device)
        written = quantize(rgb)
        metrics = {"psnr": psnr(written, image), "ssim": ssim(written, image)}
        if self._kept is not None:
            levels = [(x.clamp(0, 1) * 255).round().to(torch.uint8).cpu() for x in (rgb, outputs["parsing"])]
            self._kept.append(Rendering(int(batch["image_idx"]), *levels))
        images = {
            "img": torch.cat([image, rgb], dim=1),
            "accumulation": outputs["accumulation"].expand(-1, -1, 3),
            "parsing": outputs["parsing"],
        }
        return metrics, images


def _refuse_other_sequence(module: torch.nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """A checkpoint belongs to one clip: its background and poses come from there."""
    saved, own = state.get(prefix + "sequence_digest"), module.sequence_digest
    if saved is not None and not torch.equal(saved.cpu(), own.cpu()):  # type: ignore[arg-type]
        names = [bytes(digest.cpu().tolist()).decode()[:12] for digest in (saved, own)]  # type: ignore[union-attr]
        raise TalkingError(
            "the checkpoint",
            expected=f"one trained on this dataset (clip {names[1]})",
            found=f"one trained on clip {names[0]}",
            hint="Give the --data that it was trained on, or train anew.",
        )
