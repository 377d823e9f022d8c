"""The studio in nerfstudio's viewer: the portrait plays at full size, with sound.

nerfstudio's render loop shrinks its images until they keep up with the rays that it has measured per second, which on a
CPU leaves 39x30 pixels. The studio replaces the loop of each browser by one that stands back while the studio's own
thread shows the portrait, one whole frame at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from nerfstudio.viewer.render_state_machine import RenderAction, RenderStateMachine
from nerfstudio.viewer.viewer_elements import ViewerControl
from torch import Tensor

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.inference.controls import PortraitControls
from nerfstudio_talking.inference.driver import PortraitDriver
from nerfstudio_talking.inference.frames import outputs_renderer
from nerfstudio_talking.inference.performance import Performance
from nerfstudio_talking.models.portrait_model import PortraitModel
from nerfstudio_talking.models.volume_portrait import VolumePortraitModel
from nerfstudio_talking.viewer.framing import free_view, scaled_size
from nerfstudio_talking.viewer.panel import StudioPanel

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer
    from viser import ClientHandle

_TOO_SLOW = "Rendering does not keep up with the audio on this machine."
_TRIAL_SCALE, _TRIAL_LIMIT = 0.25, 2.0
"""Size of the frames that are rendered before the first browser comes, and the seconds that one of full size may take
for it to be rendered too."""
_BAKE = " A bake plays in real time: run `ns-talking bake`, and view its `config_baked.yml`."


class StudioRenderLoop(RenderStateMachine):
    """nerfstudio's render loop of one browser, which stands back while the studio shows the portrait.

    Args:
        viewer: nerfstudio's viewer.
        scale_ratio: of the viewer's units to metres.
        client: the browser.
        studio_shows: whether the studio shows the portrait now.
        changed: called where camera or weights have changed meanwhile.
    """

    def __init__(
        self,
        viewer: Viewer,
        scale_ratio: float,
        client: ClientHandle,
        studio_shows: Callable[[], bool],
        changed: Callable[[str], None],
    ) -> None:
        super().__init__(viewer, scale_ratio, client)
        self._studio_shows, self._changed_while_shown = studio_shows, changed

    def action(self, action: RenderAction) -> None:
        """Take an action, or hand it to the studio."""
        if self._studio_shows():
            self._changed_while_shown(action.action)
        else:
            super().action(action)


class Studio(ViewerControl):
    """Adds the studio's panel to every browser that opens nerfstudio's viewer.

    Args:
        model: the portrait; it may be in training.
    """

    def __init__(self, model: PortraitModel) -> None:
        self._model = model
        self._panels: dict[int, StudioPanel] = {}
        self._outputs: tuple[str, ...] = ()
        self._cost = 0.0

    @cached_property
    def _driver(self) -> PortraitDriver:
        return PortraitDriver(self._model)

    @cached_property
    def _render(self) -> Callable[..., dict[str, Tensor]]:
        return outputs_renderer(self._model, self._driver.track, self._model.frame_renderer)

    @cached_property
    def _clip(self) -> Performance:
        return Performance.of_clip(self._driver.track)

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        self._viewer = viewer
        portrait = self._driver.track
        track, position = self._clip.frame(0, portrait, PortraitControls())
        for scale in (_TRIAL_SCALE, _TRIAL_SCALE, 1.0):  # the first one loads what renders it
            if scale < 1 or self._cost < _TRIAL_LIMIT:
                view = portrait.camera.resize(*scaled_size(portrait.camera, scale))
                with self._ready():
                    start = time.monotonic()
                    outputs = self._render_frame(track, position, view, track.camera_to_worlds[position])
                    self._cost = (time.monotonic() - start) / scale**2
                self._outputs = tuple(outputs)
        # nerfstudio does both with the first image of its own; until then a gizmo of its crop stands before the face
        viewer.control_panel.update_output_options(list(self._outputs))
        viewer.control_panel.update_control_panel()
        viewer.viser_server.on_client_connect(self._add_client)
        viewer.viser_server.on_client_disconnect(self._remove_client)

    def _render_frame(
        self, track: TalkingTrack, frame: int, view: PinholeCamera, pose: Float[np.ndarray, "3 4"]
    ) -> dict[str, Tensor]:
        return self._render(track, frame, view, pose)

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """Nothing else uses the model, which is in evaluation mode; training waits while a portrait plays."""
        viewer: Any = self._viewer
        lock = viewer.train_lock
        while lock is not None:
            viewer.last_move_time = time.time()  # the trainer makes a break of 0.1 s after this
            if lock.acquire(timeout=0.05):
                break
        was_training = self._model.training
        try:
            self._model.eval()
            yield
        finally:
            self._model.train(was_training)
            if lock is not None:
                lock.release()

    def _add_client(self, client: ClientHandle) -> None:
        """Called in the server's thread, after nerfstudio's own function of this kind."""
        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

        viewer, key = self._viewer, client.client_id

        def switched() -> None:
            viewer._trigger_rerender()

        def view(scale: float) -> tuple[PinholeCamera, Float[np.ndarray, "3 4"]]:
            state: Any = viewer.get_camera_state(client)
            camera = free_view(self._driver.track.camera, float(state.fov), float(state.aspect), scale)
            return camera, state.c2w.double().cpu().numpy()[:3].astype(np.float32)

        bakeable = isinstance(self._model, VolumePortraitModel)
        panel = StudioPanel(
            client,
            self._clip,
            self._outputs,
            self._model.mouth_shape_predictor is not None,
            self._voice_of_file,
            self._render_frame,
            view,
            self._ready,
            self._cost,
            _TOO_SLOW + (_BAKE if bakeable and self._model.frame_renderer is None else ""),
            switched,
            self._driver.origin(),
        )
        self._panels[key] = panel

        def shows() -> bool:
            return panel.is_on and not viewer.render_tab_state.preview_render

        def changed(action: str) -> None:
            if action in ("rerender", "step") or panel.playback.scene.free:
                panel.playback.refresh()

        # it has started already, and would render once more before it ends
        own = viewer.render_statemachines[key]
        own.running, own.action = False, lambda action: None
        viewer.render_statemachines[key] = loop = StudioRenderLoop(
            viewer, VISER_NERFSTUDIO_SCALE_RATIO, client, shows, changed
        )
        loop.start()

    def _voice_of_file(self, path: Path) -> Performance:
        return Performance.of_file(self._driver, path)

    def _remove_client(self, client: ClientHandle) -> None:
        panel = self._panels.pop(client.client_id, None)
        if panel is not None:
            panel.close()
