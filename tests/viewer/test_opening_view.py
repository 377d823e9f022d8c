"""The viewer: where it opens, and that its time slider moves the mouth."""

from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nerfstudio.viewer.viewer_elements import ViewerControl

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.viewer.opening_view import OpeningView


class Server:
    """What the control uses of a viser server; remembers the calls."""

    def __init__(self):
        self.up, self.hooks = None, []
        self.scene = SimpleNamespace(set_up_direction=lambda up: setattr(self, "up", up))

    def on_client_connect(self, hook):
        self.hooks.append(hook)
        return hook


def test_a_browser_opens_at_the_recording_camera():
    from contextlib import nullcontext

    poses = np.tile(np.eye(4)[:3], (3, 1, 1))
    poses[:, :, 3] = ((-0.1, 0.02, 0.9), (0.0, 0.02, 0.8), (0.1, 0.02, 0.9))
    view = OpeningView(poses, PinholeCamera(100.0, 200, 200))
    assert isinstance(view, ViewerControl)
    server = Server()
    config = SimpleNamespace(max_num_display_images=512)
    view._setup(SimpleNamespace(viser_server=server, config=config))  # type: ignore[arg-type]
    assert server.up == (0.0, 1.0, 0.0)
    assert config.max_num_display_images == 0
    client = SimpleNamespace(camera=SimpleNamespace(), atomic=nullcontext)
    server.hooks[0](client)
    # nerfstudio shows ten units for one
    np.testing.assert_allclose(client.camera.position, (0.0, 0.2, 8.0), atol=1e-9)
    np.testing.assert_allclose(client.camera.look_at, (0.0, 0.2, 0.0), atol=1e-9)
    assert client.camera.fov == pytest.approx(np.pi / 2)


@pytest.mark.slow
def test_the_time_slider_moves_the_mouth(talking_dataset, tmp_path):
    from nerfstudio.cameras.cameras import CameraType
    from nerfstudio.configs.base_config import ViewerConfig
    from nerfstudio.viewer.render_state_machine import RenderStateMachine
    from nerfstudio.viewer.utils import CameraState
    from nerfstudio.viewer.viewer import Viewer

    from nerfstudio_talking.method_configs.talking_portrait import talking_portrait_small

    torch.manual_seed(0)
    config = deepcopy(talking_portrait_small.config.pipeline)
    config.datamanager.data = talking_dataset
    pipeline = config.setup(device="cpu", test_mode="val")
    track = pipeline.model.track
    # nothing but the audio tells the frames apart, and it is loud enough for an untrained head
    conditioning = pipeline.model.conditioning
    conditioning.camera_to_worlds[:] = conditioning.camera_to_worlds[:1]
    conditioning.eyes[:] = conditioning.eyes[:1]
    conditioning.audio[: len(conditioning.audio) // 2] += 4.0
    viewer = Viewer(ViewerConfig(), tmp_path / "viewer.log", talking_dataset, pipeline, train_lock=None)
    try:
        viewer.init_scene(pipeline.datamanager.train_dataset, "completed")
        assert not viewer.camera_handles
        machine = RenderStateMachine(viewer, 10, client=None)  # type: ignore[arg-type]
        pose = torch.from_numpy(track.camera_to_worlds[0]).double()
        # an image that moves is drawn as large as there is time for; one at rest in full
        machine.state, viewer.control_panel._max_res.value = "high", 40
        images = []
        for time in (0.1, 0.1, 0.9):
            viewer.control_panel.time = time
            camera = CameraState(fov=0.3, aspect=1.0, c2w=pose, camera_type=CameraType.PERSPECTIVE)
            images.append(machine._render_img(camera)["rgb"])
    finally:
        viewer.viser_server.stop()
    assert torch.equal(images[0], images[1])
    assert (images[0] - images[2]).abs().max() > 1e-4
