"""What every portrait shares, on a toy that is rendered as a whole image and trained by nerfstudio's trainer."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.image_portrait import ImagePortrait, image_portrait_trainer
from nerfstudio.utils import writer

from nerfstudio_talking.dataset_io.track import load_track, save_track
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.pipelines.portrait_pipeline import PortraitPipeline


@pytest.fixture(scope="module")
def trainer(talking_dataset, tmp_path_factory) -> Any:
    """Three steps."""
    torch.manual_seed(0)
    config = image_portrait_trainer(talking_dataset, tmp_path_factory.mktemp("toy"), 3)
    writer.EVENT_WRITERS.clear()
    writer.EVENT_STORAGE.clear()
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.before = {name: value.detach().clone() for name, value in trainer.pipeline.model.named_parameters()}
    trainer.train()
    return trainer


@pytest.fixture
def model(trainer) -> ImagePortrait:
    return trainer.pipeline.model.eval()


def recorded_camera(model: ImagePortrait, frame: int, width: int = 48, height: int = 48):
    track, one = model.sequence.track, slice(frame, frame + 1)
    view = track.camera.resize(width, height)
    return view.to_nerfstudio(track.camera_to_worlds[one], track.times[one])


def test_an_image_portrait_trains_with_nerfstudios_trainer(trainer):
    moved = {
        name
        for name, value in trainer.pipeline.model.named_parameters()
        if not torch.equal(value, trainer.before[name])
    }
    assert {"rgba", "gain"} <= moved
    assert not [name for name in trainer.before if name.startswith("mouth_shape_predictor")]  # the prior is fixed
    assert set(trainer.optimizers.optimizers) == {"images"}
    checkpoint = next((trainer.checkpoint_dir).glob("*.ckpt"))
    state = torch.load(checkpoint, weights_only=True)
    assert state["step"] == 2
    assert not [name for name in state["pipeline"] if "conditioning" in name or "tracked" in name]


def test_without_a_mouth_prior_the_audio_encoder_learns(talking_dataset, tmp_path):
    """Features of which no prior knows: log-mel by another name."""
    torch.manual_seed(0)
    data = tmp_path / "data"
    shutil.copytree(talking_dataset, data)
    save_track(load_track(data).replace(audio_kind="mfcc"), data)
    config = image_portrait_trainer(data, tmp_path, 2)
    writer.EVENT_WRITERS.clear()
    writer.EVENT_STORAGE.clear()
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    predictor = trainer.pipeline.model.mouth_shape_predictor
    before = [value.detach().clone() for value in predictor.parameters()]
    trainer.train()
    assert set(trainer.optimizers.optimizers) == {"audio", "images"}
    assert before and all(not torch.equal(a, b) for a, b in zip(before, predictor.parameters()))


@pytest.mark.slow
def test_an_image_portrait_is_evaluated_and_scored_as_a_video(trainer, model):
    """Without rendered parsing labels there is no agreement of parsings, and all else is scored."""
    metrics = trainer.pipeline.get_average_eval_image_metrics(get_std=True)
    assert {"psnr", "psnr_std", "ssim", "video_psnr_mouth", "video_ssim_mouth"} <= metrics.keys()
    assert not [name for name in metrics if "iou" in name]
    assert all(isinstance(value, float) for value in metrics.values())


def test_evaluation_during_training_scores_the_frames_alone(trainer, model):
    metrics = trainer.pipeline.get_average_eval_image_metrics(step=3)
    assert {"psnr", "ssim"} <= metrics.keys()
    assert not [name for name in metrics if name.startswith("video_")]
    camera, batch = next(iter(trainer.pipeline.datamanager.fixed_indices_eval_dataloader))
    with model.keep_renderings() as kept:
        scores, images = model.eval().get_image_metrics_and_images(model.get_outputs_for_camera(camera), batch)
    rgb = model.get_outputs_for_camera(camera)["rgb"]
    error = float(((rgb * 255).round() / 255 - batch["image"]).square().mean())
    assert scores["psnr"] == pytest.approx(-10 * np.log10(error), abs=1e-3)
    assert (kept[0].index, kept[0].parsing) == (0, None)
    assert (kept[0].rgb.float() / 255 - rgb).abs().max() < 0.6 / 255
    assert images.keys() == {"img", "accumulation"}
    assert torch.equal(images["img"][:, :48], batch["image"])


def test_several_frames_per_step(talking_dataset, tmp_path):
    torch.manual_seed(0)
    config = image_portrait_trainer(talking_dataset, tmp_path, 1, frames_per_step=3).pipeline
    pipeline = config.setup(device="cpu", test_mode="val")
    pipeline.train()
    outputs, losses, metrics = pipeline.get_train_loss_dict(0)
    assert outputs["rgb"].shape == (3, 48, 48, 3)
    assert losses.keys() == {"rgb_loss"}
    assert float(metrics["psnr"]) == pytest.approx(-10 * np.log10(float(losses["rgb_loss"].detach())), abs=1e-4)


def test_the_background_of_the_recording_camera_is_the_recorded_one(model):
    pose = model.conditioning.camera_to_worlds[3]
    image = model.background_image(recorded_camera(model, 3), pose)
    torch.testing.assert_close(image, model.background[0].permute(1, 2, 0), atol=1e-4, rtol=0)


def test_the_frame_renderer_is_asked_first_in_evaluation_alone(model):
    camera = recorded_camera(model, 2)
    own = model.get_outputs_for_camera(camera)
    asked = []

    def renderer(camera):
        asked.append(float(camera.times))
        return {"rgb": torch.ones(1, 1, 3)} if len(asked) == 1 else None

    model.frame_renderer = renderer
    try:
        assert model.get_outputs_for_camera(camera)["rgb"].shape == (1, 1, 3)
        # it passes, and the model renders
        assert torch.equal(model.get_outputs_for_camera(camera)["rgb"], own["rgb"])
        assert asked == pytest.approx([2 / 21] * 2)
        assert torch.equal(model.render_camera(camera)["rgb"], own["rgb"])
        model.train()
        model.get_outputs_for_camera(camera)
        assert len(asked) == 2
    finally:
        model.frame_renderer = None
        model.eval()


def test_another_track_is_spoken(model):
    track = model.sequence.track
    camera = recorded_camera(model, 2)
    with torch.no_grad():
        model.gain.fill_(1.0)
    before = model.get_outputs_for_camera(camera)["rgb"]
    model.drive(track.replace(audio=track.audio[::-1].copy()))
    try:
        assert not torch.equal(model.get_outputs_for_camera(camera)["rgb"], before)
    finally:
        model.drive(track)
    assert torch.equal(model.get_outputs_for_camera(camera)["rgb"], before)


def test_cameras_without_times_show_the_first_frame_and_say_so_once(model, capsys):
    camera = recorded_camera(model, 0)
    first = model.get_outputs_for_camera(camera)["rgb"]
    camera.times = None
    assert torch.equal(model.get_outputs_for_camera(camera)["rgb"], first)
    model.get_outputs_for_camera(camera)
    assert capsys.readouterr().out.count("without times") == 1


def test_a_checkpoint_of_another_sequence_is_refused(model):
    state = model.state_dict()
    state["sequence_digest"] = torch.zeros_like(state["sequence_digest"]) + ord("7")
    with pytest.raises(TalkingError, match="trained on clip 777777777777"):
        model.load_state_dict(state)


def test_a_checkpoint_of_other_audio_features_is_refused(model):
    state = model.state_dict()
    state["audio_normalization.mean"] = torch.zeros(39)
    with pytest.raises(TalkingError, match="39 channels"):
        model.load_state_dict(state)


def test_a_loaded_portrait_is_not_fitted_and_speaks_as_trained(trainer, model, talking_dataset, tmp_path, monkeypatch):
    """Only training fits the regression from audio; evaluation, rendering and the viewer load its result."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("fitted at load")

    monkeypatch.setattr("nerfstudio_talking.field_components.mouth_shape_predictor.fit_audio_regression", refuse)
    config = image_portrait_trainer(talking_dataset, tmp_path, 3).pipeline
    for mode in ("test", "inference"):
        pipeline = config.setup(device="cpu", test_mode=mode)
        assert isinstance(pipeline, PortraitPipeline)
        pipeline.eval()
        with pytest.raises(TalkingError, match="never fitted"):
            pipeline.model.get_outputs_for_camera(recorded_camera(model, 1))
        pipeline.load_pipeline(trainer.pipeline.state_dict(), step=2)
        for frame in (0, 21):
            camera = recorded_camera(model, frame)
            assert torch.equal(
                pipeline.model.get_outputs_for_camera(camera)["rgb"], model.get_outputs_for_camera(camera)["rgb"]
            )
    with pytest.raises(AssertionError, match="fitted at load"):
        config.setup(device="cpu", test_mode="val")


def test_a_clip_without_landmarks_is_conditioned_on_a_free_code(talking_dataset, tmp_path, capsys):
    config = image_portrait_trainer(talking_dataset, tmp_path, 1).pipeline
    manager = config.datamanager.setup(device="cpu", test_mode="inference")
    metadata = dict(manager.train_dataset.metadata)
    sequence = metadata["sequence"]
    metadata["sequence"] = replace(sequence, track=load_track(talking_dataset).replace(landmarks=None))
    model = config.model.setup(scene_box=manager.train_dataset.scene_box, num_train_data=1, metadata=metadata)
    assert "no landmarks" in capsys.readouterr().out
    assert model.condition_dims == {"audio": 32, "eyes": 2}
    assert model.frame_condition(torch.arange(3)).audio.shape == (3, 32)
    model.prepare_training()  # nothing to fit
