"""Checkpoints are whole or not there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from nerfstudio.engine.optimizers import Optimizers

from nerfstudio_talking.engine.trainer import TalkingTrainer
from nerfstudio_talking.engine.trainer_config import TalkingTrainerConfig
from nerfstudio_talking.io.errors import TalkingError


@pytest.fixture
def trainer(tmp_path) -> TalkingTrainer:
    made = object.__new__(TalkingTrainer)
    made.config = TalkingTrainerConfig(save_only_latest_checkpoint=True)
    made.checkpoint_dir = tmp_path / "run" / "nerfstudio_models"
    made.pipeline = torch.nn.Linear(2, 2)  # type: ignore[assignment]
    made.optimizers = cast(Optimizers, SimpleNamespace(optimizers={}, schedulers={}))
    made.grad_scaler = torch.amp.GradScaler("cpu", enabled=False)  # type: ignore[assignment]
    return made


def test_only_the_latest_is_kept(trainer):
    trainer.save_checkpoint(3)
    trainer.save_checkpoint(7)
    folder = trainer.checkpoint_dir
    assert [path.name for path in folder.iterdir()] == ["step-000000007.ckpt"]
    assert torch.load(folder / "step-000000007.ckpt", weights_only=True)["step"] == 7
    assert [path.name for path in folder.parent.iterdir()] == ["nerfstudio_models"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("unexpected pos 64 vs 0")])
def test_full_disk_leaves_the_last_whole_one(trainer, monkeypatch, error):
    trainer.save_checkpoint(3)
    whole = trainer.checkpoint_dir / "step-000000003.ckpt"
    before = whole.read_bytes()

    def half_written(_: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise error

    monkeypatch.setattr(torch, "save", half_written)
    with pytest.raises(TalkingError, match="room for a checkpoint"):
        trainer.save_checkpoint(7)
    assert [path.name for path in trainer.checkpoint_dir.iterdir()] == [whole.name]
    assert whole.read_bytes() == before
    assert [path.name for path in trainer.checkpoint_dir.parent.iterdir()] == ["nerfstudio_models"]
