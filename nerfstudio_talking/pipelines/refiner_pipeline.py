"""nerfstudio's pipeline for the refiner: discriminator and generator steps alternate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from torch import Tensor

from nerfstudio_talking.data.refiner_datamanager import RefinerDataManager, RefinerDataManagerConfig
from nerfstudio_talking.models.memory_gan import MemoryGanModel, MemoryGanModelConfig, TrainStep


@dataclass
class RefinerPipelineConfig(VanillaPipelineConfig):
    """Options of the pipeline."""

    _target: type = field(default_factory=lambda: RefinerPipeline)
    """Target class to instantiate."""


class RefinerPipeline(VanillaPipeline):
    """Even steps are discriminator steps, odd ones generator steps; the two of a pair use one batch.

    nerfstudio's trainer adds up the losses of a step, runs one backward pass and steps every optimiser that has
    gradients: each iteration begins with setting all gradients to None, and `Optimizers.optimizer_scaler_step_some`
    skips an optimiser whose gradients are all None. The model lets only the parameters of the step's own side require
    gradients. So the unchanged trainer steps that side's optimiser alone.
    """

    config: RefinerPipelineConfig
    datamanager: RefinerDataManager

    def __init__(self, config: RefinerPipelineConfig, *args: Any, **kwargs: Any) -> None:
        assert isinstance(config.datamanager, RefinerDataManagerConfig)
        super().__init__(config, *args, **kwargs)
        assert isinstance(config.model, MemoryGanModelConfig)
        network = config.model.network
        self._last_losses: dict[str, Tensor] = {}
        self.datamanager.identity_dim = network.identity_dim if network.memory_slots else 0

    @property
    def refiner(self) -> MemoryGanModel:
        """The model, without the wrapper of distributed training."""
        model = self.model
        assert isinstance(model, MemoryGanModel)
        return model

    def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, Tensor], dict[str, Tensor]]:
        """The losses of a step; as metrics the latest losses of both sides, since the logged steps are all even."""
        _, batch = self.datamanager.next_train(step)
        losses = self._model(TrainStep(step, batch["batch"]))
        self._last_losses |= {name: value.detach() for name, value in losses.items()}
        return {}, losses, dict(self._last_losses)

    def get_eval_loss_dict(self, step: int) -> tuple[Any, dict[str, Tensor], dict[str, Tensor]]:
        """The weighted absolute error of one held-out frame; the next call takes the next frame."""
        self.eval()
        dataset = self.datamanager.eval_dataset
        assert dataset is not None
        index = self.datamanager.eval_count % len(dataset)
        self.datamanager.eval_count += 1
        losses = self.refiner.eval_losses(dataset.track_frame(index), dataset.get_image_float32(index)[..., :3])
        self.train()
        return {}, losses, {}
