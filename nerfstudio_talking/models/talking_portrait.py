"""`talking-portrait`: Wang et al. 2025 (Computer Science 52(3):58-67) as a nerfstudio model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.utils.external import TCNN_EXISTS
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor
from torch.nn import Parameter
from torchmetrics.functional.image import structural_similarity_index_measure

from nerfstudio_talking.clip import Clip, load_parsing
from nerfstudio_talking.compositing import accumulate, intersect_box, over, ray_weights
from nerfstudio_talking.errors import TalkingError
from nerfstudio_talking.field_components.articulator import Articulator, mouth_shapes
from nerfstudio_talking.field_components.audio_encoder import AudioEncoder
from nerfstudio_talking.field_components.conditioning import ConditioningTrack, FrameCondition
from nerfstudio_talking.field_components.hash_planes import Implementation
from nerfstudio_talking.field_components.occupancy import OccupancyGrid
from nerfstudio_talking.field_components.reference_features import sample_maps
from nerfstudio_talking.field_components.region_saliency import RegionModule
from nerfstudio_talking.fields.head_field import HeadField
from nerfstudio_talking.fields.torso_field import TorsoField, TorsoKind
from nerfstudio_talking.proxy_plane import plane_positions
from nerfstudio_talking.semantics import CLASS_ID, HEAD_CLASSES, PALETTE, TORSO_CLASSES, class_mask
from nerfstudio_talking.track import TalkingTrack
from nerfstudio_talking.viewer.opening_view import OpeningView

_AUDIO_CLASSES = ("skin", "inner_mouth", "lips", "neck")
_EYE_CLASSES = ("skin", "brows", "eyes")


@dataclass
class TalkingPortraitModelConfig(ModelConfig):
    """Options of `talking-portrait`."""

    _target: type = field(default_factory=lambda: TalkingPortraitModel)
    """Target class to instantiate."""
    enable_collider: bool = False
    """Rays are cut to the head's box by the model itself."""
    eval_num_rays_per_chunk: int = 1 << 16
    """Rays rendered at a time."""
    region_module: RegionModule = "external"
    """How a modality is spread over space: external attention with the condition, ER-NeRF's network, or not at all."""
    torso: TorsoKind = "reference"
    """Torso from reference images, or ER-NeRF's deformable grid."""
    audio_condition: Literal["articulation", "code"] = "articulation"
    """What sound tells the head: the mouth's shape, learned from tracked landmarks (short clips), or a free code,
    learned from the picture (minutes of speech, or clips without landmarks)."""
    articulation_dim: int = 6
    """Components of the mouth's shape."""
    audio_dim: int = 32
    """Length of the free sound code."""
    audio_dropout: float = 0.3
    """Dropout in the audio encoder."""
    audio_noise: float = 0.3
    """Noise on the normalised sound features in training."""
    num_levels: int = 12
    """Levels of the head's hash planes."""
    log2_table_size: int = 14
    """Largest table of a level, as a power of two."""
    max_resolution: int = 512
    """Finest level of the head's hash planes."""
    hidden_dim: int = 64
    """Width of the head's networks."""
    torso_hidden_dim: int = 64
    """Width of the torso's networks."""
    implementation: Implementation = "auto"
    """Of the hash planes."""
    num_samples: int = 48
    """Places along a ray through the head's box; those in empty cells cost nothing."""
    occupancy_resolution: int = 48
    """Cells of the occupancy grid along an axis."""
    occupancy_interval: int = 128
    """Steps between refreshes of the occupancy grid."""
    occupancy_threshold: float = 0.02
    """Rendering weight of a sample under which its cell shows nothing."""
    mask_loss_mult: float = 0.02
    """Weight of the opacity of head and torso against the parsing."""
    entropy_loss_mult: float = 1e-3
    """Weight of the entropy of the head's opacity."""
    spread_loss_mult: float = 0.2
    """Weight of the variance of depth along a ray, in units of the box's depth: a head has a skin."""
    saliency_loss_mult: float = 1e-4
    """Weight of saliency outside the region that a modality belongs to."""
    semantic_loss_mult: float = 0.01
    """Weight of the parsing branch."""
    articulation_loss_mult: float = 0.1
    """Weight of the articulation predicted from sound."""
    deformation_loss_mult: float = 1e-3
    """Weight of the torso's mean square deformation."""
    patch_loss_mult: float = 0.02
    """Weight of 1 - SSIM on mouth patches in the lips phase."""


class TalkingPortraitModel(Model):
    """Head volume over torso field over background, under sound and eyes."""

    config: TalkingPortraitModelConfig
    background: Tensor
    torso_region: Tensor
    palette: Tensor
    head_classes: Tensor
    torso_classes: Tensor
    clip_digest: Tensor

    def populate_modules(self) -> None:
        """Build the fields from the clip in the dataparser's metadata."""
        super().populate_modules()
        config = self.config
        clip: Clip = self.kwargs["metadata"]["clip"]
        train_frames = clip.train_frames
        self.track: TalkingTrack = clip.track
        self.plane_distance = float(np.median(np.linalg.norm(self.track.camera_to_worlds[:, :, 3], axis=1)))
        self.conditioning = ConditioningTrack(self.track)
        self.articulator: Articulator | None = None
        self.audio_encoder: AudioEncoder | None = None
        if config.audio_condition == "articulation" and mouth_shapes(self.track) is not None:
            self.articulator = Articulator(
                self.track, train_frames, config.articulation_dim, config.audio_dropout, config.audio_noise
            )
            audio_dim = config.articulation_dim
        else:
            if config.audio_condition == "articulation":
                CONSOLE.print("[yellow]The clip carries no landmarks: sound conditions the head by a free code.")
            self.audio_encoder = AudioEncoder(
                self.track.audio.shape[2], config.audio_dim, config.audio_dropout, config.audio_noise
            )
            audio_dim = config.audio_dim
        mlp = "tcnn" if TCNN_EXISTS and torch.cuda.is_available() else "torch"
        self.head = HeadField(
            self.scene_box.aabb,
            {"audio": audio_dim, "eyes": self.track.eyes.shape[1]},
            region_module=config.region_module,
            num_levels=config.num_levels,
            log2_table_size=config.log2_table_size,
            max_resolution=config.max_resolution,
            hidden_dim=config.hidden_dim,
            implementation=config.implementation,
            mlp_implementation=mlp,
        )
        self.occupancy = OccupancyGrid(config.occupancy_resolution, config.occupancy_threshold)
        references = clip.torso_references
        if references is None:
            references = np.zeros((1, self.track.height, self.track.width, 4), np.uint8)
        self.torso = TorsoField(
            torch.from_numpy(references).permute(0, 3, 1, 2).float() / 255,
            self.track.focal,
            self.track.width,
            self.track.height,
            kind=config.torso,
            reference_motions=None if clip.torso_frames is None else self.conditioning.body[clip.torso_frames],
            hidden_dim=config.torso_hidden_dim,
            implementation=config.implementation,
            mlp_implementation=mlp,
        )
        trained = torch.from_numpy(train_frames)
        self.torso.set_rest(self.conditioning.camera_to_worlds[trained], self.conditioning.body[trained])
        background = clip.background
        if background is None:
            background = np.full((self.track.height, self.track.width, 3), 255, np.uint8)
        self.register_buffer("background", torch.from_numpy(background).permute(2, 0, 1)[None].float() / 255, False)
        self.register_buffer("torso_region", _torso_region(clip), persistent=False)
        self.register_buffer("palette", torch.from_numpy(PALETTE).float() / 255, persistent=False)
        for name, classes in (("head", HEAD_CLASSES), ("torso", TORSO_CLASSES)):
            table = torch.from_numpy(class_mask(np.arange(256, dtype=np.uint8), classes))
            self.register_buffer(f"{name}_classes", table, persistent=False)
        for name, classes in (("audio", _AUDIO_CLASSES), ("eyes", _EYE_CLASSES)):
            table = torch.from_numpy(class_mask(np.arange(256, dtype=np.uint8), classes))
            self.register_buffer(f"{name}_region", table, persistent=False)
        digest = np.frombuffer(self.track.digest.encode()[:64].ljust(64, b"0"), dtype=np.uint8)
        self.register_buffer("clip_digest", torch.from_numpy(digest.copy()))
        self.register_load_state_dict_pre_hook(_refuse_other_clip)
        self.opening_view = OpeningView(self.track.camera_to_worlds, self.track.focal, self.track.height)
        self._warned_no_time = False
        self._eval_maps: Tensor | None = None

    def drive(self, track: TalkingTrack) -> None:
        """Speak another track: same weights, other sound, poses and eyes.

        Raises:
            TalkingError: the track's features are not what the portrait was trained with.
        """
        self.conditioning.load(track)
        self.track = track

    def train(self, mode: bool = True) -> TalkingPortraitModel:
        """Switch between training and evaluation; what evaluation keeps is forgotten."""
        self._eval_maps = None
        return super().train(mode)

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """Tables learn fast, networks slowly, the articulation from sound apart."""
        tables = [self.head.planes.table, self.torso.planes.table]
        audio = list((self.articulator or self.audio_encoder).parameters())  # type: ignore[union-attr]
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
        """The conditions of distinct frames of the track; the tracked articulation in training, else the predicted."""
        track = self.conditioning
        if self.articulator is None:
            assert self.audio_encoder is not None
            audio = self.audio_encoder(track.windows(frames))
        elif self.training:
            audio = self.articulator.tracked[frames]
        else:
            audio = self.articulator(track.audio[frames], track.windows(frames))
        # open eyes are the rest position: a blink is then a signal, and its absence none
        return FrameCondition(audio, 2 * (1 - track.eyes[frames]), track.camera_to_worlds[frames], track.body[frames])

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:  # type: ignore[override]
        """Colour, depth (metres from the camera), opacity of the head, parsing colours, saliency of each modality."""
        origins, directions = ray_bundle.origins, ray_bundle.directions
        if ray_bundle.times is None and not self._warned_no_time:
            CONSOLE.print("[yellow]Cameras without times: showing the first frame of the track throughout.")
            self._warned_no_time = True
        frames, of_ray = self.conditioning.frames_of(ray_bundle.times, len(origins))
        condition = self.frame_condition(frames)
        uv = plane_positions(
            origins,
            directions,
            condition.poses[of_ray],
            self.plane_distance,
            self.track.focal,
            self.track.width,
            self.track.height,
        )
        torso_rgb, torso_alpha, offset = self._render_torso(uv, condition, of_ray)
        background = sample_maps(self.background, uv[None])[0]
        backdrop = torso_alpha * torso_rgb + (1 - torso_alpha) * background
        outputs = self._render_head(origins, directions, condition, of_ray)
        outputs["rgb"] = over(outputs.pop("head"), outputs["accumulation"], backdrop)
        if not self.training:
            outputs["rgb"] = outputs["rgb"].clamp(0.0, 1.0)
            outputs["depth"] = over(
                outputs["depth"], outputs["accumulation"], torch.full_like(torso_alpha, self.plane_distance)
            )
            classes = outputs.pop("semantics").softmax(-1)
            behind = torch.zeros_like(classes)
            behind[:, CLASS_ID["cloth"]] = torso_alpha[:, 0]
            behind[:, CLASS_ID["background"]] = 1 - torso_alpha[:, 0]
            winner = over(outputs["accumulation"] * classes, outputs["accumulation"], behind).argmax(-1)
            outputs["parsing"] = self.palette[winner]
            outputs.pop("spread", None)
            outputs = {"rgb": outputs.pop("rgb"), **outputs}
        outputs["torso_alpha"] = torso_alpha
        if self.training:
            outputs["torso_offset"] = offset
            if self.articulator is not None:
                outputs["articulation_error"] = self._articulation_error()
        return outputs

    def _render_torso(self, uv: Tensor, condition: FrameCondition, of_ray: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Colour, opacity and deformation of the torso under every ray; nothing is evaluated where it never is."""
        inside = sample_maps(self.torso_region, uv.clamp(-1, 1)[None])[0, :, 0] > 0
        rgb, alpha = uv.new_zeros(len(uv), 3), uv.new_zeros(len(uv), 1)
        if not inside.any():
            return rgb, alpha, uv.new_zeros(1, 2)
        if self.training:
            maps = self.torso.reference_maps()
        else:
            if self._eval_maps is None:
                self._eval_maps = self.torso.reference_maps()
            maps = self._eval_maps
        torso = self.torso(uv[inside].clamp(-1, 1), condition.poses, condition.body, of_ray[inside], maps)
        index = inside.nonzero()[:, 0]
        return rgb.index_copy(0, index, torso.rgb), alpha.index_copy(0, index, torso.alpha), torso.offset

    def _render_head(
        self, origins: Tensor, directions: Tensor, condition: FrameCondition, of_ray: Tensor
    ) -> dict[str, Tensor]:
        """The head's premultiplied colour and what else is accumulated along its rays."""
        num_samples, box = self.config.num_samples, self.head.box
        near, far = intersect_box(origins, directions, box)
        hit = far > near
        near, length = near[hit], (far - near)[hit]
        # equal steps; one random shift per sample in training
        at = torch.arange(num_samples, device=origins.device) + (
            torch.rand(len(near), num_samples, device=origins.device) if self.training else 0.5
        )
        distance = near[:, None] + at / num_samples * length[:, None]  # (H, S)
        points = origins[hit][:, None] + distance[..., None] * directions[hit][:, None]
        unit = (points - box[0]) / (box[1] - box[0])
        occupied = self.occupancy.occupied(unit)
        if not occupied.any():
            # nothing to evaluate, as in a view past the head: the outputs are there all the same
            nothing = {name: origins.new_zeros(len(origins), 1) for name in ("accumulation", "depth", "spread")}
            nothing |= {f"saliency_{name}": origins.new_zeros(len(origins), 1) for name in self.head.regions}
            semantics = origins.new_zeros(len(origins), len(self.palette))
            return {"head": origins.new_zeros(len(origins), 3), "semantics": semantics, **nothing}
        ray = occupied.nonzero()[:, 0]
        frame = of_ray[hit][ray]
        samples = self.head(
            points[occupied],
            directions[hit][ray],
            {"audio": condition.audio[frame], "eyes": condition.eyes[frame]},
        )
        density = distance.new_zeros(distance.shape).masked_scatter(occupied, samples.density)
        weights = ray_weights(density, (length / num_samples)[:, None].expand_as(density))
        if self.training:
            self.occupancy.record(unit[occupied], weights.detach()[occupied])
        values = [samples.rgb, distance[occupied][:, None], *samples.saliency.values()]
        summed = accumulate(weights, torch.cat(values, -1), occupied)
        index = hit.nonzero()[:, 0]

        def to_rays(value: Tensor) -> Tensor:
            return value.new_zeros(len(origins), value.shape[-1]).index_copy(0, index, value)

        outputs = {
            "head": to_rays(summed[:, :3]),
            "accumulation": to_rays(weights.sum(-1, keepdim=True)),
            "depth": to_rays(summed[:, 3:4]),
            # parsing reads the volume and must not shape it
            "semantics": to_rays(accumulate(weights.detach(), samples.semantics, occupied)),
        }
        if self.training:
            depth = summed[:, 3:4] / outputs["accumulation"][index].clamp_min(1e-4)
            variance = (weights * (distance - depth) ** 2).sum(-1, keepdim=True)
            outputs["spread"] = to_rays(variance / (box[1] - box[0])[2] ** 2)
        for column, name in enumerate(samples.saliency, start=4):
            outputs[f"saliency_{name}"] = to_rays(summed[:, column : column + 1]).clamp(0.0, 1.0)
        return outputs

    def _articulation_error(self) -> Tensor:
        """Mean square error of the encoder's articulation on random training frames."""
        assert self.articulator is not None
        train = self.kwargs["metadata"]["clip"].train_frames
        frames = torch.from_numpy(np.random.choice(train, 12)).to(self.device)
        predicted = self.articulator.from_encoder(self.conditioning.windows(frames))
        return F.mse_loss(predicted, self.articulator.tracked[frames])

    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """PSNR of the rays."""
        error = F.mse_loss(outputs["rgb"].detach(), batch["image"].to(self.device))
        return {"psnr": -10 * torch.log10(error.clamp_min(1e-10))}

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Photometric, opacity, entropy, saliency, parsing, articulation and deformation losses."""
        config = self.config
        image = batch["image"].to(self.device)
        losses = {"rgb_loss": F.mse_loss(outputs["rgb"], image)}
        if not self.training:
            return losses
        accumulation = outputs["accumulation"][:, 0].clamp(1e-4, 1 - 1e-4)
        entropy = -(accumulation * accumulation.log() + (1 - accumulation) * (1 - accumulation).log())
        losses["entropy_loss"] = config.entropy_loss_mult * entropy.mean()
        losses["spread_loss"] = config.spread_loss_mult * outputs["spread"].mean()
        losses["deformation_loss"] = config.deformation_loss_mult * outputs["torso_offset"].square().mean()
        if "articulation_error" in outputs:
            losses["articulation_loss"] = config.articulation_loss_mult * outputs["articulation_error"]
        if "parsing" in batch:
            parsing = batch["parsing"].to(self.device).reshape(-1).long()
            losses.update(self._parsing_losses(outputs, parsing, accumulation))
        if "patch_size" in batch:
            side = int(batch["patch_size"])
            patches = [x.view(-1, side, side, 3).permute(0, 3, 1, 2) for x in (outputs["rgb"], image)]
            ssim = structural_similarity_index_measure(patches[0], patches[1], data_range=1.0, kernel_size=7, sigma=1.0)
            losses["patch_loss"] = config.patch_loss_mult * (1 - ssim)  # type: ignore[operator]
        return losses

    def _parsing_losses(self, outputs: dict[str, Tensor], parsing: Tensor, accumulation: Tensor) -> dict[str, Tensor]:
        config = self.config
        is_head, is_torso = self.head_classes[parsing], self.torso_classes[parsing]
        torso_alpha = outputs["torso_alpha"][:, 0].clamp(1e-4, 1 - 1e-4)
        head = F.binary_cross_entropy(accumulation, is_head.float())
        # what the head covers, the torso may be or not: the parsing does not say
        torso = F.binary_cross_entropy(torso_alpha, is_torso.float(), reduction="none")[~is_head].mean()
        losses = {"mask_loss": config.mask_loss_mult * (head + torso.nan_to_num())}
        stray = sum(
            (outputs[f"saliency_{name}"][:, 0] * ~getattr(self, f"{name}_region")[parsing]).mean()
            for name in ("audio", "eyes")
        )
        losses["saliency_loss"] = config.saliency_loss_mult * stray  # type: ignore[assignment]
        if is_head.any():
            losses["semantic_loss"] = config.semantic_loss_mult * F.cross_entropy(
                outputs["semantics"][is_head], parsing[is_head]
            )
        return losses

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """PSNR and SSIM of a whole frame; truth and rendering side by side, opacity and parsing."""
        image = batch["image"].to(self.device)[..., :3]
        rgb = outputs["rgb"].to(self.device)
        error = F.mse_loss(rgb, image)
        pair = [x.permute(2, 0, 1)[None] for x in (rgb, image)]
        metrics: dict[str, Any] = {
            "psnr": float(-10 * torch.log10(error.clamp_min(1e-10))),
            "ssim": float(structural_similarity_index_measure(*pair, data_range=1.0)),  # type: ignore[arg-type]
        }
        images = {
            "img": torch.cat([image, rgb], dim=1),
            "accumulation": outputs["accumulation"].expand(-1, -1, 3),
            "parsing": outputs["parsing"],
        }
        return metrics, images


def _refuse_other_clip(module: torch.nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """A checkpoint belongs to one clip: its torso, background and poses come from there."""
    saved, own = state.get(prefix + "clip_digest"), module.clip_digest
    if saved is not None and not torch.equal(saved.cpu(), own.cpu()):  # type: ignore[arg-type]
        names = [bytes(digest.cpu().tolist()).decode()[:12] for digest in (saved, own)]  # type: ignore[union-attr]
        raise TalkingError(
            "the checkpoint",
            expected=f"one trained on this dataset (clip {names[1]})",
            found=f"one trained on clip {names[0]}",
            mend="Give the --data that it was trained on, or train anew.",
        )


def _torso_region(clip: Clip, most: int = 64, side: int = 64) -> Float[Tensor, "1 1 side side"]:
    """Coarse map of where the torso is seen in the training frames, with a margin, upwards under the chin most."""
    if clip.parsing_paths is None:
        return torch.ones(1, 1, side, side)
    chosen = clip.train_frames[:: max(len(clip.train_frames) // most, 1)]
    seen = torch.zeros(1, 1, side, side)
    for frame in chosen:
        torso = torch.from_numpy(class_mask(load_parsing(clip, int(frame)), TORSO_CLASSES))
        seen = torch.maximum(seen, F.adaptive_max_pool2d(torso[None, None].float(), side))
    if clip.torso_references is not None:
        alpha = torch.from_numpy(clip.torso_references[..., 3]).amax(0)[None, None]
        seen = torch.maximum(seen, F.adaptive_max_pool2d((alpha > 0).float(), side))
    return F.max_pool2d(seen, 5, 1, 2)
