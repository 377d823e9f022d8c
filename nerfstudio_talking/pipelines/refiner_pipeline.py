"""nerfstudio's pipeline for the refiner, in which two sides take turns."""

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
    """Alternates by steps: even ones are the discriminator's turn, odd ones the generator's, both on one batch.

    nerfstudio's trainer sums a step's losses, goes back through them and steps every optimiser that has gradients
    (`Optimizers.optimizer_scaler_step_some` passes over one whose gradients are all None, and every iteration begins
    with setting them to None). The model lets only the side whose turn it is require gradients, so the trainer, as it
    is, steps that side's optimiser alone: no loop is copied and no loss crosses over.
    """

    config: RefinerPipelineConfig
    datamanager: RefinerDataManager

    def __init__(self, config: RefinerPipelineConfig, *args: Any, **kwargs: Any) -> None:
        assert isinstance(config.datamanager, RefinerDataManagerConfig)
        super().__init__(config, *args, **kwargs)
        assert isinstance(config.model, MemoryGanModelConfig)
        network = config.model.network
        self._last: dict[str, Tensor] = {}
        self.datamanager.identity_dim = network.identity_dim if network.memory_slots else 0
        self.datamanager.successive = config.model.losses.flicker > 0

    @property
    def refiner(self) -> MemoryGanModel:
        """The model."""
        model = self.model
        assert isinstance(model, MemoryGanModel)
        return model

    def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, Tensor], dict[str, Tensor]]:
        """The losses of this step's turn; as metrics those of both sides: logged steps are even."""
        _, batch = self.datamanager.next_train(step)
        losses = self._model(TrainStep(step, batch["batch"]))
        self._last |= {name: value.detach() for name, value in losses.items()}
        return {}, losses, dict(self._last)

    def get_eval_loss_dict(self, step: int) -> tuple[Any, dict[str, Tensor], dict[str, Tensor]]:
        """The absolute error of a held-out frame, one after the other."""
        self.eval()
        dataset = self.datamanager.eval_dataset
        assert dataset is not None
        index = self.datamanager.eval_count % len(dataset)
        self.datamanager.eval_count += 1
        losses = self.refiner.eval_losses(dataset.track_frame(index), dataset.get_image_float32(index)[..., :3])
        self.train()
        return {}, losses, {}
