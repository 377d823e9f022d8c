"""Base class of all portraits, whatever renders them, as a nerfstudio model.

A portrait knows a recorded sequence, maps times to frame conditions (mouth shape, eyes, poses), composites over the
recorded background, is scored frame by frame, and speaks another voice when it is given another track. How the person
is rendered is left to subclasses: along rays (`volume_portrait.py`), or as a whole image, for which `get_outputs` takes
a `Cameras` as nerfstudio's splatfacto does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.models.base_model import Model, ModelConfig
from torch import Tensor
from torch.nn import Parameter

from nerfstudio_talking.cameras.image_plane import plane_positions
from nerfstudio_talking.dataset_io.parsing_labels import PALETTE, class_mask
from nerfstudio_talking.dataset_io.sequence import TalkingSequence
from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.field_components.audio_encoder import AudioEncoder
from nerfstudio_talking.field_components.audio_normalization import AudioNormalization
from nerfstudio_talking.field_components.conditioning import ConditioningTrack, FrameCondition
from nerfstudio_talking.field_components.mouth_shape_predictor import MouthShapePredictor, mouth_coordinates
from nerfstudio_talking.field_components.reference_features import sample_maps
from nerfstudio_talking.io.console import CONSOLE
from nerfstudio_talking.io.digests import digest_tensor
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.metrics.functional.images import psnr, quantize, ssim
from nerfstudio_talking.models.evaluation import Rendering

FrameRenderer = Callable[[Cameras], dict[str, Tensor] | None]
"""Renders the outputs (height, width, channels) of one camera, or returns None for a camera that it cannot serve."""


@dataclass
class PortraitModelConfig(ModelConfig):
    """Options of every portrait."""

    enable_collider: bool = False
    """Whether nerfstudio's collider cuts rays; portraits do it themselves."""
    audio_condition: Literal["mouth_shape", "code"] = "mouth_shape"
    """What the portrait is conditioned on for audio: 'mouth_shape' is predicted from audio and learned from tracked
    landmarks (short clips); 'code' is a free code learned from the images (minutes of speech, or clips without
    landmarks)."""
    mouth_shape_dim: int = 6
    """Number of mouth-shape coefficients: lip gap, mouth width, lip thickness, then PCA of lips and chin."""
    predicted_mouth_prob: float = 0.5
    """Probability that a training frame is conditioned on the audio-predicted mouth shape (as at test time) instead of
    the tracked one (scheduled sampling)."""
    audio_dim: int = 32
    """Length of the free audio code."""
    audio_dropout: float = 0.3
    """Dropout probability in the audio encoder."""
    audio_noise: float = 0.3
    """Standard deviation of the noise on the normalised audio features in training."""
    mouth_shape_loss_mult: float = 0.1
    """Weight of the squared error of the mouth shape that the audio encoder predicts; unused with a mouth prior."""

    def learning_rates(self) -> dict[str, float]:
        """Initial learning rate of each parameter group of the model."""
        return {"audio": 1e-3}


class PortraitModel(Model):
    """A person under audio, eyes and poses before a recorded background.

    Subclasses build in `populate_modules` what renders the person, render in `get_outputs`, and add losses and
    parameter groups. `get_outputs` returns `rgb`, and for the viewer `depth` and `accumulation`, per ray or per pixel;
    `parsing`, colours of parsing labels, is scored where it is returned.
    """

    config: PortraitModelConfig
    background: Tensor
    palette: Tensor
    sequence_digest: Tensor

    def populate_modules(self) -> None:
        """Take the sequence from the dataparser's metadata; build what every portrait has."""
        super().populate_modules()
        self.sequence: TalkingSequence = self.kwargs["metadata"]["sequence"]
        self.track: TalkingTrack = self.sequence.track
        self.plane_distance = float(np.median(np.linalg.norm(self.track.camera_to_worlds[:, :, 3], axis=1)))
        self.conditioning = ConditioningTrack(self.track)
        self.audio_normalization = AudioNormalization(self.track)
        self._populate_audio()
        background = self.sequence.background
        if background is None:
            background = np.full((self.track.height, self.track.width, 3), 255, np.uint8)
        self.register_buffer("background", torch.from_numpy(background).permute(2, 0, 1)[None].float() / 255, False)
        self.register_buffer("palette", torch.from_numpy(PALETTE).float() / 255, persistent=False)
        self.register_buffer("sequence_digest", digest_tensor(self.track.digest))
        self.register_load_state_dict_pre_hook(_refuse_other_sequence)
        self.frame_renderer: FrameRenderer | None = None
        """Asked first for the image of a camera in evaluation mode; set by the pipeline for a bake."""
        self._warned_no_time = False
        self._kept: list[Rendering] | None = None

    def _populate_audio(self) -> None:
        """Build the mouth-shape predictor, or the encoder of a free code."""
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
            CONSOLE.print("[yellow]The clip has no landmarks: the portrait is conditioned on a free audio code.")
        self.audio_encoder = AudioEncoder(
            self.track.audio.shape[2], config.audio_dim, config.audio_dropout, config.audio_noise
        )

    @property
    def condition_dims(self) -> dict[str, int]:
        """Number of channels of the audio and eye conditions."""
        predictor = self.mouth_shape_predictor
        audio = self.config.audio_dim if predictor is None else predictor.condition_dim
        return {"audio": audio, "eyes": self.track.eyes.shape[1]}

    def register_classes(self, name: str, classes: tuple[str, ...]) -> None:
        """Register a table, (256,) bool, of which parsing class ids belong to a group."""
        table = class_mask(np.arange(256, dtype=np.uint8)[None], classes)[0]
        self.register_buffer(name, torch.from_numpy(table), persistent=False)

    def prepare_training(self) -> None:
        """Fit the regression from audio to mouth shape, as training begins; a checkpoint brings its result."""
        if self.mouth_shape_predictor is not None:
            self.mouth_shape_predictor.fit(self.sequence.track, self.sequence.train_frames)

    def drive(self, track: TalkingTrack) -> None:
        """Speak another track: same weights, other audio, poses and eyes.

        Raises:
            TalkingError: the track's features are not those that the portrait was trained with.
        """
        self.conditioning.load(track)
        self.track = track

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """The parameters of the audio condition, where it has any. Subclasses add groups, and a learning rate of each
        to the config."""
        module = self.mouth_shape_predictor or self.audio_encoder
        assert module is not None
        parameters = list(module.parameters())
        return {"audio": parameters} if parameters else {}

    def frame_condition(self, frames: Int64[Tensor, " frames"]) -> FrameCondition:
        """The conditions of distinct frames of the track; in training partly under the tracked mouth shape."""
        track = self.conditioning
        if self.mouth_shape_predictor is None:
            assert self.audio_encoder is not None
            audio = self.audio_encoder(track.windows(frames))
        elif self.training:
            audio = self.mouth_shape_predictor.training_condition(frames)
        else:
            adaptation = None if track.mouth_adaptation is None else track.mouth_adaptation[frames]
            audio = self.mouth_shape_predictor(
                track.audio[frames], track.windows(frames), track.mouth_activity[frames], adaptation
            )
        return FrameCondition(audio, track.eye_condition(frames), track.camera_to_worlds[frames], track.body[frames])

    def frames_of(
        self, times: Float[Tensor, "*rays 1"] | None, count: int
    ) -> tuple[Int64[Tensor, " frames"], Int64[Tensor, " rays"]]:
        """The distinct frames that times mean, and the row of each time among them; no times mean the first frame.

        Args:
            times: times of rays or cameras, in [0, 1].
            count: number of rays or cameras.
        """
        if times is None and not self._warned_no_time:
            CONSOLE.print("[yellow]Cameras without times: showing the first frame of the track throughout.")
            self._warned_no_time = True
        return self.conditioning.frames_of(times, count)

    def background_of(self, uv: Float[Tensor, "rays 2"]) -> Float[Tensor, "rays 3"]:
        """Colours of the background at positions on the image plane, in [-1, 1]."""
        return sample_maps(self.background, uv[None])[0]

    def image_plane_of(
        self, camera: Cameras, pose: Float[Tensor, "3 4"]
    ) -> tuple[Float[Tensor, "pixels 2"], tuple[int, int]]:
        """Where the pixels of one camera meet the image plane, row by row, and the image's height and width.

        Args:
            camera: one camera.
            pose: recording camera of the frame that is shown.
        """
        rays = camera.generate_rays(camera_indices=0, keep_shape=True)
        height, width = rays.origins.shape[:2]
        origins, directions = (x.reshape(-1, 3).to(pose) for x in (rays.origins, rays.directions))
        poses = pose.expand(len(origins), 3, 4)
        uv = plane_positions(origins, directions, poses, self.plane_distance, self.track.camera)
        return uv, (height, width)

    def background_image(self, camera: Cameras, pose: Float[Tensor, "3 4"]) -> Float[Tensor, "height width 3"]:
        """The background as one camera sees it.

        Args:
            camera: one camera.
            pose: recording camera of the frame that is shown.
        """
        uv, size = self.image_plane_of(camera, pose)
        return self.background_of(uv).view(*size, 3)

    def forward(self, ray_bundle: RayBundle | Cameras) -> dict[str, Tensor]:  # type: ignore[override]
        """The outputs; in training also the mouth shape's error: DistributedDataParallel averages the gradients of
        what is computed in here, and of nothing else."""
        outputs: dict[str, Any] = super().forward(ray_bundle)
        predictor = self.mouth_shape_predictor
        if self.training and predictor is not None and predictor.encoder is not None:
            outputs["mouth_shape_error"] = self._mouth_shape_error(predictor)
        return outputs

    def _mouth_shape_error(self, predictor: MouthShapePredictor) -> Float[Tensor, ""]:
        """Mean square error of the encoder's mouth shape on random training frames."""
        frames = torch.from_numpy(np.random.choice(self.sequence.train_frames, 12)).to(self.device)
        predicted = predictor.from_encoder(self.conditioning.windows(frames))
        return F.mse_loss(predicted, predictor.tracked_mouth_shape(frames))

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: OrientedBox | None = None) -> dict[str, Tensor]:
        """The outputs (height, width, channels) of one camera: by the frame renderer in evaluation mode, where one is
        set and serves this camera, else by the model itself.

        Args:
            camera: one camera.
            obb_box: box that the viewer crops to; the frame renderer knows no crop.
        """
        if self.frame_renderer is not None and not self.training and obb_box is None:
            outputs = self.frame_renderer(camera)
            if outputs is not None:
                return outputs
        return self.render_camera(camera, obb_box)

    @torch.no_grad()
    def render_camera(self, camera: Cameras, obb_box: OrientedBox | None = None) -> dict[str, Tensor]:
        """The outputs (height, width, channels) of one camera, by the model itself."""
        return self.get_outputs(camera.to(self.device))  # type: ignore[return-value]

    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """PSNR of the batch, dB."""
        error = F.mse_loss(outputs["rgb"].detach(), batch["image"].to(self.device))
        return {"psnr": -10 * torch.log10(error.clamp_min(1e-10))}

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The photometric loss and, in training, the loss of the mouth shape that is predicted from audio."""
        image = batch["image"].to(self.device)
        losses = {"rgb_loss": self.photometric_loss(outputs["rgb"], image, batch)}
        if "mouth_shape_error" in outputs:
            losses["mouth_shape_loss"] = self.config.mouth_shape_loss_mult * outputs["mouth_shape_error"]
        return losses

    def refuse_infinite(self, losses: Mapping[str, Tensor], batch: dict[str, Any]) -> None:
        """Stop a training whose losses are not finite.

        Raises:
            TalkingError: a loss is infinite or no number; names the loss and the frames.
        """
        if torch.isfinite(sum(losses.values(), torch.zeros((), device=self.device))):
            return
        indices = batch["indices"][:, 0].unique() if "indices" in batch else np.atleast_1d(batch["image_idx"])
        frames = ", ".join(str(int(self.sequence.train_frames[int(i)])) for i in indices[:8])
        raise TalkingError(
            f"frame {frames} of the dataset",
            expected="a finite loss",
            found=", ".join(name for name, value in losses.items() if not torch.isfinite(value)) + " is not finite",
            hint="Resume from the last checkpoint with smaller learning rates.",
        )

    def photometric_loss(
        self, rgb: Float[Tensor, "*pixels 3"], image: Float[Tensor, "*pixels 3"], batch: dict[str, Any]
    ) -> Float[Tensor, ""]:
        """Mean square error of the colours, in [0, 1]."""
        return F.mse_loss(rgb, image)

    def parsing_of(self, batch: dict[str, Tensor]) -> Int64[Tensor, " pixels"]:
        """Parsing class ids of a batch's rays or pixels."""
        return batch["parsing"].to(self.device).reshape(-1).long()

    @contextmanager
    def keep_renderings(self) -> Iterator[list[Rendering]]:
        """Keep the frames that are evaluated within the block, as bytes."""
        self._kept = []
        try:
            yield self._kept
        finally:
            self._kept = None

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """`psnr` and `ssim` of a frame as it would be written, of 256 levels; ground truth and rendering side by side,
        and where rendered opacity and parsing. All other scores are the pipeline's."""
        image = batch["image"].to(self.device)[..., :3]
        rgb = outputs["rgb"].to(self.device)
        images = {"img": torch.cat([image, rgb], dim=1)}
        if "accumulation" in outputs:
            images["accumulation"] = outputs["accumulation"].expand(-1, -1, 3)
        if "parsing" in outputs:
            images["parsing"] = outputs["parsing"]
        if self._kept is not None:
            parsing = _to_bytes(outputs["parsing"]) if "parsing" in outputs else None
            self._kept.append(Rendering(int(batch["image_idx"]), _to_bytes(rgb), parsing))
        written = quantize(rgb)
        return {"psnr": psnr(written, image), "ssim": ssim(written, image)}, images


def _to_bytes(image: Float[Tensor, "height width 3"]) -> Tensor:
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).cpu()


def _refuse_other_sequence(module: torch.nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """A checkpoint belongs to one sequence and its audio features: background and poses come from there."""
    saved, own = state.get(prefix + "sequence_digest"), module.sequence_digest
    if saved is not None and not torch.equal(saved.cpu(), own.cpu()):  # type: ignore[arg-type]
        names = [bytes(digest.cpu().tolist()).decode()[:12] for digest in (saved, own)]  # type: ignore[union-attr]
        raise TalkingError(
            "the checkpoint",
            expected=f"one trained on this dataset (clip {names[1]})",
            found=f"one trained on clip {names[0]}",
            hint="Give the --data that it was trained on as it was then, or train anew.",
        )
    features = state.get(prefix + "audio_normalization.mean")
    channels = module.audio_normalization.mean.shape[0]  # type: ignore[union-attr]
    if features is not None and len(features) != channels:
        raise TalkingError(
            "the checkpoint",
            expected=f"one trained on this dataset's audio features ({channels} channels)",
            found=f"one trained on features of {len(features)} channels",
            hint="Give the dataset the features of that training (--audio-model), or train anew.",
        )
    # nerfstudio loads what there is, and leaves the rest untrained; it loads the rest of the pipeline by itself
    missing = [name for name in module.state_dict() if prefix + name not in state]
    if missing and any(name.startswith(prefix) for name in state):
        raise TalkingError(
            "the checkpoint",
            expected="all weights of this portrait",
            found=f"none for {', '.join(missing[:3])}" + (f" and {len(missing) - 3} more" if len(missing) > 3 else ""),
            hint="It is of another method, of other options or of another version: train anew.",
        )
