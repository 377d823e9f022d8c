"""The bake as a portrait's frame renderer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.portraits import loaded_pipeline

from nerfstudio_talking.baking.file_format import save_bake
from nerfstudio_talking.baking.fit import bakeable
from nerfstudio_talking.baking.renderer import BakeRenderer
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.metrics.images import psnr
from nerfstudio_talking.motion.driving_track import driving_track


@pytest.fixture
def model(pipeline, bake):
    """The portrait with the bake as its frame renderer."""
    pipeline.model.frame_renderer = BakeRenderer(pipeline.model, bake)
    yield pipeline.model
    pipeline.model.frame_renderer = None
    pipeline.model.drive(pipeline.model.sequence.track)


def camera_of(model, frame, width=48, height=48, shift=(0.0, 0.0, 0.0)):
    """The recording camera of a frame of the present track, moved by some metres."""
    track, one = model.track, slice(frame, frame + 1)
    poses = track.camera_to_worlds[one].copy()
    poses[:, :, 3] += np.asarray(shift, np.float32)
    return track.camera.resize(width, height).to_nerfstudio(poses, track.times[one])


def field_calls(model, monkeypatch) -> list[int]:
    """Numbers of points at which the head's field is evaluated from here on."""
    calls, forward = [], model.field.forward

    def counted(points, *rest):
        calls.append(len(points))
        return forward(points, *rest)

    monkeypatch.setattr(model.field, "forward", counted)
    return calls


def test_recorded_views_come_from_the_bake_without_the_field(model, monkeypatch):
    calls = field_calls(model, monkeypatch)
    for frame in (3, 20):
        full = model.render_camera(camera_of(model, frame))
        assert sum(calls) > 0
        calls.clear()
        baked = model.get_outputs_for_camera(camera_of(model, frame))
        assert calls == []
        assert baked.keys() == {"rgb", "accumulation", "depth"}
        for name, value in baked.items():
            assert value.shape == full[name].shape
        assert psnr(baked["rgb"], full["rgb"]) > 30
        assert (baked["accumulation"] - full["accumulation"]).abs().mean() < 0.02
        assert (baked["depth"] == model.plane_distance).all()


def test_images_of_any_size(model):
    for width, height in ((96, 96), (24, 24), (96, 96), (36, 36), (40, 40), (44, 44), (60, 60)):
        camera = camera_of(model, 5, width, height)
        baked = model.get_outputs_for_camera(camera)["rgb"]
        assert baked.shape == (height, width, 3)
        assert psnr(baked, model.render_camera(camera)["rgb"]) > 28


def test_views_between_the_recorded_directions_come_from_the_bake(model, monkeypatch):
    """As the viewer's camera stands, which does not move with the head."""
    calls = field_calls(model, monkeypatch)
    camera = camera_of(model, 9, shift=(0.04, 0.01, 0.05))
    baked = model.get_outputs_for_camera(camera)
    assert calls == []
    full = model.render_camera(camera)
    assert psnr(baked["rgb"], full["rgb"]) > 28
    # the background has parallax: it is not the recording camera's
    recorded = model.get_outputs_for_camera(camera_of(model, 9))["rgb"]
    assert psnr(baked["rgb"], full["rgb"]) > psnr(recorded, full["rgb"]) + 3


@pytest.mark.parametrize("change", ["aside", "behind", "no time", "off centre", "cropped"])
def test_other_views_are_rendered_by_the_field(model, monkeypatch, change):
    camera, options = camera_of(model, 4), {}
    if change == "aside":
        camera = camera_of(model, 4, shift=(0.3, 0.0, 0.0))
    elif change == "behind":
        camera = camera_of(model, 4, shift=(0.0, 0.0, -1.6))
    elif change == "no time":
        camera.times = None
    elif change == "off centre":
        camera.cx = camera.cx + 5
    else:
        from nerfstudio.data.scene_box import OrientedBox

        options["obb_box"] = OrientedBox(torch.eye(3), torch.zeros(3), torch.full((3,), 0.1))
    outputs = model.get_outputs_for_camera(camera, **options)
    expected = model.render_camera(camera, **options)
    assert outputs.keys() == expected.keys()
    assert torch.equal(outputs["rgb"], expected["rgb"])


def test_it_follows_another_track(model):
    """Conditions are the present track's, for tracks longer than a block of conditions and shorter ones."""
    track = model.sequence.track
    audio = np.tile(track.audio, (4, 1, 1))[:70]
    for features in (audio, audio[:9]):
        model.drive(driving_track(track, features, "ping-pong", 0.0))
        for frame in (0, len(features) - 1):
            baked, full = (
                render(camera_of(model, frame))["rgb"] for render in (model.get_outputs_for_camera, model.render_camera)
            )
            assert psnr(baked, full) > 28


def test_a_frame_does_not_depend_on_those_before(model, bake):
    model.drive(driving_track(model.sequence.track, np.tile(model.sequence.track.audio, (12, 1, 1)), "ping-pong", 0.0))
    count = model.track.num_frames
    forwards = [model.get_outputs_for_camera(camera_of(model, frame))["rgb"] for frame in range(0, count, 40)]
    for k, frame in reversed(list(enumerate(range(0, count, 40)))):
        assert torch.equal(model.get_outputs_for_camera(camera_of(model, frame))["rgb"], forwards[k])
    renderer = model.frame_renderer
    assert len(renderer._conditions) <= 4 < count / 32


def test_conditions_are_encoded_when_they_are_needed(pipeline, bake, monkeypatch):
    encoded = []
    condition = pipeline.model.frame_condition
    monkeypatch.setattr(
        pipeline.model, "frame_condition", lambda frames: encoded.append(len(frames)) or condition(frames)
    )
    renderer = BakeRenderer(pipeline.model, bake)
    assert encoded == []
    renderer.render(3, 48, 48)
    renderer.render(4, 48, 48)
    assert encoded == [22]


def test_a_loaded_portrait_reads_its_bake_at_the_first_frame(pipeline, bake, talking_dataset, tmp_path):
    path = tmp_path / "baked.pt"
    loaded = loaded_pipeline(talking_dataset, pipeline, path).model
    with pytest.raises(TalkingError, match="no such file"):
        loaded.get_outputs_for_camera(camera_of(loaded, 3))
    save_bake(bake, path)
    baked = loaded.get_outputs_for_camera(camera_of(loaded, 3))["rgb"]
    assert torch.equal(baked, BakeRenderer(pipeline.model, bake).render(3, 48, 48)[0])


def test_a_bake_of_other_weights_is_refused_at_the_first_frame(pipeline, bake, talking_dataset, tmp_path):
    path = tmp_path / "baked.pt"
    save_bake(bake, path)
    loaded = loaded_pipeline(talking_dataset, pipeline, path).model
    with torch.no_grad():
        loaded.field.density_net.layers[0].bias[0] += 1e-3
    with pytest.raises(TalkingError, match="weights"):
        loaded.get_outputs_for_camera(camera_of(loaded, 3))


@pytest.mark.slow
def test_evaluation_with_a_bake_scores_the_baked_frames(pipeline, bake, talking_dataset, tmp_path):
    save_bake(bake, tmp_path / "baked.pt")
    full = loaded_pipeline(talking_dataset, pipeline)
    baked = loaded_pipeline(talking_dataset, pipeline, tmp_path / "baked.pt")
    scores = [p.get_average_eval_image_metrics() for p in (full, baked)]
    assert scores[0]["psnr"] != scores[1]["psnr"]
    assert scores[1]["psnr"] == pytest.approx(scores[0]["psnr"], abs=0.2)
    # a bake knows no parsing labels
    assert {name for name in scores[0] if "iou" in name} == {name for name in scores[0].keys() - scores[1].keys()}


def test_other_methods_are_not_bakeable():
    with pytest.raises(TalkingError, match="cannot be baked"):
        bakeable(torch.nn.Linear(1, 1))
