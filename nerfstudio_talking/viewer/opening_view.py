"""Opening view of nerfstudio's viewer: upright, at the recording camera, without frusta."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from nerfstudio.viewer.viewer_elements import ViewerControl

from nerfstudio_talking.cameras.body_frame import middle_frame
from nerfstudio_talking.cameras.pinhole import PinholeCamera

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer
    from viser import ClientHandle

_UP = (0.0, 1.0, 0.0)


class OpeningView(ViewerControl):
    """Turns the viewer's world upright and sets each browser's first camera.

    nerfstudio's scenes have z upwards, a head has y: without this the viewer opens above the head, rotated by 90
    degrees. All cameras of a recording stand in nearly one place, where the images on their frusta would hide the
    portrait, so no frusta are drawn.

    Args:
        poses: (frames, 3, 4) camera-to-world of the recording, metres.
        camera: the recording camera.
    """

    def __init__(self, poses: Float[np.ndarray, "frames 3 4"], camera: PinholeCamera) -> None:
        pose = poses[middle_frame(poses)]
        self.position = pose[:, 3].astype(np.float64)
        # the point of the optical axis beside the head's centre: the world's origin
        forward = -pose[:, 2].astype(np.float64)
        self.look_at = self.position - forward * (self.position @ forward)
        self.fov = camera.fov_y

    def _setup(self, viewer: Viewer) -> None:
        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

        super()._setup(viewer)
        viewer.viser_server.scene.set_up_direction(_UP)
        viewer.config.max_num_display_images = (
            0  # ns-viewer brings a configuration of its own, which is reached here only
        )

        @viewer.viser_server.on_client_connect
        def _(client: ClientHandle) -> None:
            with client.atomic():
                client.camera.up_direction = _UP
                client.camera.fov = self.fov
                client.camera.position = self.position * VISER_NERFSTUDIO_SCALE_RATIO
                client.camera.look_at = self.look_at * VISER_NERFSTUDIO_SCALE_RATIO
