"""The panel of one browser: voice, motion, view, recording."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfstudio_talking.inference.audio_input import RATE
from nerfstudio_talking.inference.controls import PortraitControls
from nerfstudio_talking.inference.performance import Performance
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.provenance.credentials import VideoOrigin
from nerfstudio_talking.viewer.audio_clock import audio_element, parse_report
from nerfstudio_talking.viewer.framing import pad_to_aspect
from nerfstudio_talking.viewer.playback import FreeView, Playback, PlaybackStatistics, RenderOutputs, Scene
from nerfstudio_talking.viewer.recording import record

if TYPE_CHECKING:
    from viser import ClientHandle

CLIP_VOICE = "the clip's own"
"""Name of the voice that was recorded."""
LONGEST_VOICE = 300.0
"""Seconds of a voice that is uploaded."""
_LARGEST_FILE = 100 * 2**20
"""Bytes of a file that is uploaded."""
_MOST_VOICES = 10
_MOTIONS = {
    "recorded, forth and back": "ping-pong",
    "recorded, from the start": "replay",
    "recorded, then still": "hold",
    "still": "still",
}
_GENERATED = "generated"
_SIZES = {"automatic": None, "full": 1.0, "half": 0.5, "quarter": 0.25}
_VIEWS = ("recording camera", "free")
_JPEG_QUALITY = 85


class StudioPanel:
    """Widgets of one browser, and the thread that shows the portrait in it.

    Args:
        client: the browser.
        performance: the voice it begins with.
        outputs: names of the model's outputs.
        mouth: whether the model has a mouth shape that a gain applies to.
        of_file: makes a voice of a file.
        render: renders outputs.
        free_view: the browser's camera.
        ready: entered around each rendering.
        cost: seconds that a frame takes at full size.
        hint: what to say where rendering cannot keep up.
        switched: called when the user switches between the studio and nerfstudio's own view.
        origin: what the credentials of its recordings say.
    """

    def __init__(
        self,
        client: ClientHandle,
        performance: Performance,
        outputs: tuple[str, ...],
        mouth: bool,
        of_file: Callable[[Path], Performance],
        render: RenderOutputs,
        free_view: FreeView,
        ready: Callable[[], AbstractContextManager[object]],
        cost: float,
        hint: str,
        switched: Callable[[], None],
        origin: VideoOrigin,
    ) -> None:
        self._client, self._of_file, self._render = client, of_file, render
        self._free_view, self._ready, self._hint, self._switched = free_view, ready, hint, switched
        self._origin = origin
        self._voices = {CLIP_VOICE: performance}
        self._files = tempfile.TemporaryDirectory(prefix="studio-")
        self._motion_model: Path | None = None
        self._blinks: tuple[float, ...] = ()
        self._token = 0
        self._recording = threading.Event()
        self._changing = threading.RLock()  # viser calls back from several threads
        self._widgets(performance, outputs, mouth)
        self.playback = Playback(Scene(performance), render, free_view, self._show, ready, self._tell, cost)
        self._say_silence(performance)
        self.playback.start()

    @property
    def is_on(self) -> bool:
        """Whether the studio shows the portrait, and not nerfstudio's own view."""
        return bool(self._on.value)

    def close(self) -> None:
        """The browser has gone."""
        self._recording.clear()
        self.playback.stop()
        self._files.cleanup()

    def _widgets(self, performance: Performance, outputs: tuple[str, ...], mouth: bool) -> None:
        gui: Any = self._client.gui
        with gui.add_folder("Studio", order=-1.0):
            self._clock = gui.add_text("Audio clock", "")  # hidden by the audio element
            self._audio = gui.add_markdown(self._audio_element(performance, autoplay=False))
            self._voice = gui.add_dropdown("Voice", (CLIP_VOICE,), hint="The audio that the portrait speaks.")
            self._upload = gui.add_upload_button(
                "Speak a file", mime_type="audio/*,video/*", hint="Any audio or video file of up to five minutes."
            )
            self._status = gui.add_markdown("Press play.")
            with gui.add_folder("Head and eyes"):
                self._motion = gui.add_dropdown("Motion", tuple(_MOTIONS), hint="Where the head's motion comes from.")
                self._yaw = gui.add_slider("Yaw", -20.0, 20.0, 0.5, 0.0, hint="Degrees to the image's right.")
                self._pitch = gui.add_slider("Pitch", -20.0, 20.0, 0.5, 0.0, hint="Degrees upwards.")
                self._roll = gui.add_slider("Roll", -20.0, 20.0, 0.5, 0.0, hint="Degrees to the image's right.")
                self._eyes = gui.add_slider("Eyes", 0.0, 1.3, 0.05, 1.0, hint="Factor of the eye opening; 0 is closed.")
                self._mouth = gui.add_slider(
                    "Mouth gain",
                    0.0,
                    2.0,
                    0.05,
                    1.0,
                    visible=mouth,
                    hint="Factor of the mouth's motion about its rest.",
                )
                self._blink = gui.add_button("Blink now")
                self._reset = gui.add_button("Reset")
                with gui.add_folder("Generated motion", expand_by_default=False):
                    self._model = gui.add_upload_button(
                        "Motion model", hint="From `ns-talking motion finetune` or `ns-talking motion generate`."
                    )
                    self._seed = gui.add_number("Seed", 0, min=0, max=10**6, step=1, hint="Of generated motion.")
            with gui.add_folder("View"):
                self._output = gui.add_dropdown("Output", outputs, hint="The model's output that is shown.")
                self._view = gui.add_dropdown("Camera", _VIEWS, hint="'free' looks from where you drag the scene.")
                self._size = gui.add_dropdown(
                    "Size", tuple(_SIZES), hint="Of the frames; 'automatic' keeps up with the audio while it plays."
                )
                self._delay = gui.add_slider(
                    "Delay (ms)", -300, 300, 10, 0, hint="Of the image after the audio, for slow loudspeakers or lines."
                )
                self._on = gui.add_checkbox("Play here", True, hint="Off: nerfstudio's own view, time and render path.")
            self._record = gui.add_button("Record mp4", hint="All of the voice as it is set now, with its audio.")
            self._progress = gui.add_progress_bar(0.0, visible=False)
        self._clock.on_update(lambda _: self._take_report())
        self._voice.on_update(lambda _: self._guarded(lambda: self._load_voice(self._voices[self._voice.value])))
        self._upload.on_upload(lambda _: self._guarded(self._take_voice))
        self._model.on_upload(lambda _: self._guarded(self._take_motion_model))
        self._blink.on_click(lambda _: self._add_blink())
        self._reset.on_click(lambda _: self._reset_controls())
        self._record.on_click(lambda _: self._guarded(self._toggle_recording))
        self._on.on_update(lambda _: self._switch())
        for widget in (
            self._yaw,
            self._pitch,
            self._roll,
            self._eyes,
            self._mouth,
            self._output,
            self._view,
            self._size,
        ):
            widget.on_update(lambda _: self._apply())
        self._delay.on_update(lambda _: self._apply())
        self._motion.on_update(lambda _: self._guarded(self._apply_motion))
        self._seed.on_update(lambda _: self._guarded(self._apply_motion))

    def _guarded(self, act: Callable[[], None]) -> None:
        """Do something; say what went wrong."""
        try:
            act()
        except TalkingError as error:
            self._warn("That did not work", f"Expected {error.expected}; found {error.found}. {error.hint}")

    def _warn(self, title: str, text: str) -> None:
        self._client.add_notification(title, text, color="red", auto_close=15000)

    def _show(self, image: Any) -> None:
        padded = pad_to_aspect(image, float(self._client.camera.aspect))
        self._client.scene.set_background_image(padded, format="jpeg", jpeg_quality=_JPEG_QUALITY)

    def _tell(self, measured: PlaybackStatistics) -> None:
        width, height = measured.size
        rate = f"{measured.fps:.0f} frames/s, " if measured.fps else ""
        lines = [f"{rate}{measured.render_ms:.0f} ms per frame, {width}x{height}"]
        if measured.fps:
            lines.append(f"image {measured.lag_ms:+.0f} ms after the audio")
            if measured.fps < 0.5 * self.playback.scene.performance.fps:
                lines.append(f"*{self._hint}*")
        self._status.content = "  \n".join(lines)

    def _take_report(self) -> None:
        report = parse_report(str(self._clock.value))
        if report is not None and report.token == f"v{self._token}":
            self.playback.clock.report(report, time.monotonic())
            self.playback.wake()

    def _load_voice(self, performance: Performance) -> None:
        """Play another voice from its beginning."""
        with self._changing:
            scene = self.playback.scene
            performance.prepare(scene.motion, scene.motion_model, scene.seed)
            self._blinks = ()
            self._token += 1
            self.playback.set_scene(replace(scene, performance=performance, controls=self._controls()))
            self._audio.content = self._audio_element(performance, autoplay=True)
            self._status.content = "Playing."
        self._say_silence(performance)

    def _audio_element(self, performance: Performance, autoplay: bool) -> str:
        return audio_element(performance.samples, RATE, self._clock._impl.id, f"v{self._token}", autoplay)

    def _say_silence(self, performance: Performance) -> None:
        if performance.is_silent:
            self._warn("Silence", "There is nothing to hear in this voice: the mouth stays as it is at rest.")

    def _take_voice(self) -> None:
        path = self._save(self._upload, ".audio")
        performance = self._of_file(path)
        path.unlink()
        if performance.num_frames / performance.fps > LONGEST_VOICE:
            raise TalkingError(
                "the file",
                expected=f"up to {LONGEST_VOICE:.0f} s of audio",
                found=f"{performance.num_frames / performance.fps:.0f} s",
                hint="Use `ns-talking drive` for longer ones.",
            )
        name = f"{len(self._voices)}: {Path(self._upload.value.name).name[:40]}"
        if len(self._voices) >= _MOST_VOICES:
            del self._voices[list(self._voices)[1]]
        self._voices[name] = performance
        self._voice.options = tuple(self._voices)
        self._voice.value = name  # plays it

    def _take_motion_model(self) -> None:
        self._motion_model = self._save(self._model, ".motion")
        scene = self.playback.scene
        scene.performance.prepare("generated", self._motion_model, int(self._seed.value))  # refuses another file
        self._motion.options = (*_MOTIONS, _GENERATED)
        self._motion.value = _GENERATED

    def _save(self, button: Any, suffix: str) -> Path:
        """An uploaded file on the disk, under a name of ours."""
        content = button.value.content
        if len(content) > _LARGEST_FILE:
            found = f"{len(content) / 2**20:.0f} MiB"
            limit = f"up to {_LARGEST_FILE / 2**20:.0f} MiB"
            raise TalkingError("the file", expected=limit, found=found, hint="Use `ns-talking drive`.")
        path = Path(self._files.name) / f"{time.monotonic_ns()}{suffix}"
        path.write_bytes(content)
        return path

    def _controls(self) -> PortraitControls:
        return PortraitControls(
            still=self._motion.value == "still",
            yaw=float(self._yaw.value),
            pitch=float(self._pitch.value),
            roll=float(self._roll.value),
            eyes=float(self._eyes.value),
            mouth_gain=float(self._mouth.value),
            blinks=self._blinks,
        )

    def _apply(self) -> None:
        """Show what the widgets say."""
        with self._changing:
            self.playback.set_scene(
                replace(
                    self.playback.scene,
                    controls=self._controls(),
                    output=self._output.value,
                    free=self._view.value == "free",
                    scale=_SIZES[self._size.value],
                    delay=float(self._delay.value) / 1000,
                )
            )

    def _apply_motion(self) -> None:
        with self._changing:
            motion: Any = _MOTIONS.get(self._motion.value, self._motion.value)
            scene = self.playback.scene
            scene = replace(scene, motion=motion, motion_model=self._motion_model, seed=int(self._seed.value))
            scene.performance.prepare(motion, scene.motion_model, scene.seed)
            self.playback.set_scene(scene)
            self._apply()

    def _add_blink(self) -> None:
        fps = self.playback.scene.performance.fps
        self._blinks = (*self._blinks[-20:], (self.playback.number + 3) / fps)
        self._apply()

    def _reset_controls(self) -> None:
        for slider in (self._yaw, self._pitch, self._roll):
            slider.value = 0.0
        self._eyes.value = self._mouth.value = 1.0
        self._blinks = ()
        self._apply()

    def _switch(self) -> None:
        self.playback.pause(not self.is_on)
        self._switched()

    def _toggle_recording(self) -> None:
        if self._recording.is_set():
            self._recording.clear()
            return
        self._recording.set()
        self._record.label = "Stop recording"
        self._progress.visible = True
        self.playback.pause(True)
        try:
            scene = self.playback.scene
            content = record(scene, self._render, self._free_view, self._ready, self._advance, self._origin)
        finally:
            self._recording.clear()
            self._record.label = "Record mp4"
            self._progress.visible = False
            self.playback.pause(not self.is_on)
        if content is not None:
            self._client.send_file_download("portrait.mp4", content)

    def _advance(self, done: int, total: int) -> bool:
        self._progress.value = 100.0 * done / total
        return self._recording.is_set()
