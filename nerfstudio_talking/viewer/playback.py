"""Shows a portrait in one browser: a thread that renders the frame that the audio has reached."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.inference.controls import PortraitControls
from nerfstudio_talking.inference.performance import HeadMotion, Performance
from nerfstudio_talking.viewer.audio_clock import AudioClock
from nerfstudio_talking.viewer.framing import FrameCost, output_image, scaled_size

RenderOutputs = Callable[[TalkingTrack, int, PinholeCamera, Float[np.ndarray, "3 4"]], dict[str, Tensor]]
"""Outputs of a frame of a track, seen by a camera at a pose."""
FreeView = Callable[[float], tuple[PinholeCamera, Float[np.ndarray, "3 4"]]]
"""The browser's camera at a scale, and its pose."""
_IDLE = 0.5
"""Seconds between looks at a portrait that stands still."""
_FRAMES = 2
"""Frames of the clip that the rendering of one may last while it plays."""
_PATIENCE = 2.0
"""Seconds that the rendering of a portrait that stands still may last."""


@dataclass(frozen=True)
class Scene:
    """What is shown of a portrait, and how."""

    performance: Performance
    """The voice."""
    motion: HeadMotion = "ping-pong"
    """Where the head's motion comes from."""
    motion_model: Path | None = None
    """Of generated motion."""
    seed: int = 0
    """Of generated motion."""
    controls: PortraitControls = field(default_factory=PortraitControls)
    """What is changed of the motion."""
    output: str = "rgb"
    """The model's output that is shown."""
    free: bool = False
    """Whether the browser's camera looks, in place of the recording camera."""
    scale: float | None = None
    """Size relative to the recording; None keeps up with the audio while it plays."""
    delay: float = 0.0
    """Seconds that the image comes after the audio clock."""


@dataclass(frozen=True)
class PlaybackStatistics:
    """Measured over the last second."""

    fps: float
    """Frames shown per second."""
    render_ms: float
    """Time to render a frame, milliseconds."""
    lag_ms: float
    """Audio position at the moment that a frame is sent, less the time from which it is due; milliseconds."""
    size: tuple[int, int]
    """Width and height of the frames, pixels."""


def render_image(
    scene: Scene, number: int, render: RenderOutputs, free_view: FreeView, scale: float
) -> UInt8[np.ndarray, "height width 3"]:
    """A frame of a scene.

    Args:
        scene: what is shown.
        number: of the frame.
        render: renders.
        free_view: the browser's camera.
        scale: size relative to the recording.
    """
    performance = scene.performance
    whole = performance.prepare(scene.motion, scene.motion_model, scene.seed)
    track, position = performance.frame(number, whole, scene.controls)
    if scene.free:
        camera, pose = free_view(scale)
    else:
        recording = performance.portrait.camera
        camera, pose = recording.resize(*scaled_size(recording, scale)), track.camera_to_worlds[position]
    return output_image(render(track, position, camera, pose), scene.output)


class Playback(threading.Thread):
    """Renders the frame that the audio has reached, again and again, until `stop`.

    While the audio stands still a frame is rendered only where something has changed. Frames that come too late are
    left out.

    Args:
        scene: what is shown at first.
        render: renders outputs.
        free_view: the browser's camera.
        show: takes each image.
        ready: entered around each rendering: locks, and sets the model to evaluation.
        tell: takes the statistics, once a second.
        cost: seconds that a frame takes at full size, for the beginning.
    """

    def __init__(
        self,
        scene: Scene,
        render: RenderOutputs,
        free_view: FreeView,
        show: Callable[[UInt8[np.ndarray, "height width 3"]], None],
        ready: Callable[[], AbstractContextManager[object]],
        tell: Callable[[PlaybackStatistics], None],
        cost: float = 0.0,
    ) -> None:
        super().__init__(daemon=True, name="portrait playback")
        self._scene, self._render, self._free_view = scene, render, free_view
        self._show, self._ready, self._tell = show, ready, tell
        self.clock = AudioClock(scene.performance.num_frames / scene.performance.fps)
        self._changed = threading.Event()
        self._version = 0
        self._shown: tuple[int, int] | None = None
        self._shown_scale = 0.0
        self._running, self._paused = True, False
        self._cost, self._render_cost = 0.0, FrameCost(cost)
        self._times: deque[tuple[float, float, float]] = deque(maxlen=200)
        self._told = 0.0

    @property
    def scene(self) -> Scene:
        """What is shown."""
        return self._scene

    def set_scene(self, scene: Scene) -> None:
        """Show something else; another voice starts at its beginning."""
        if scene.performance is not self._scene.performance:
            self.clock = AudioClock(scene.performance.num_frames / scene.performance.fps)
        self._scene = scene
        self.refresh()

    def refresh(self) -> None:
        """Render again."""
        self._version += 1
        self._changed.set()

    def wake(self) -> None:
        """Look at the clock again."""
        self._changed.set()

    def pause(self, paused: bool) -> None:
        """Show nothing for a while: something else does."""
        self._paused = paused
        self.refresh()

    def stop(self) -> None:
        """End the thread."""
        self._running = False
        self._changed.set()

    @property
    def number(self) -> int:
        """The frame that is heard now."""
        scene = self._scene
        return _frame_at(scene.performance, self.clock.position(time.monotonic()) - scene.delay)

    def run(self) -> None:
        """Show frames."""
        while self._running:
            if self._paused or not self._step():
                self._changed.wait(_IDLE)
            self._changed.clear()

    def _step(self) -> bool:
        """Show the frame that is due, or wait for the next one. Returns whether to look again at once."""
        version = self._version  # read first: a scene that is newer than its version is shown once more
        scene, clock = self._scene, self.clock
        fps, now = scene.performance.fps, time.monotonic()
        playing = clock.is_playing(now)
        # a frame is due when it is sent, not when its rendering starts
        position = clock.position(now) - scene.delay + (min(self._cost, 0.2) if playing else 0.0)
        number = _frame_at(scene.performance, position)
        scale = scene.scale or self._render_cost.affordable_scale(_FRAMES / fps)
        shown_scale = self._shown_scale if self._shown == (number, version) else 0.0
        if playing and shown_scale > 0:
            self._changed.wait(float(np.clip((number + 1) / fps - position, 0.001, 0.1)))
            return True
        if shown_scale > 0:  # what stands still gets a larger size later, where that takes long
            scale = scene.scale or self._render_cost.affordable_scale(_PATIENCE)
            if shown_scale >= scale:
                return False
            if self._changed.wait(_IDLE):
                return True
        with self._ready():
            start = time.monotonic()
            image = render_image(scene, number, self._render, self._free_view, scale)
        end = time.monotonic()
        self._show(image)
        sent = time.monotonic()
        self._shown, self._shown_scale = (number, version), scale
        self._cost = _smooth(self._cost, sent - now)
        self._render_cost.add(end - start, scale)
        self._times.append((sent, end - start, clock.position(sent) - scene.delay - number / fps))
        if sent - self._told >= 1.0:
            self._told = sent
            self._tell(self._statistics(sent, playing, image.shape))
        return True

    def _statistics(self, now: float, playing: bool, shape: tuple[int, ...]) -> PlaybackStatistics:
        recent = np.array([entry for entry in self._times if now - entry[0] < 1.0])
        render_ms, lag_ms = (1000 * recent[:, 1:].mean(0)).tolist()
        return PlaybackStatistics(len(recent) if playing else 0.0, render_ms, lag_ms, (shape[1], shape[0]))


def _frame_at(performance: Performance, position: float) -> int:
    """The frame that belongs to a position of the audio, seconds."""
    return int(np.clip(np.floor(position * performance.fps + 1e-6), 0, performance.num_frames - 1))


def _smooth(mean: float, value: float) -> float:
    """A running mean; 0 stands for none yet."""
    return value if mean == 0 else 0.8 * mean + 0.2 * value
