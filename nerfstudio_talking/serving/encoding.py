"""Audio and frames as they leave: resampled, and encoded one frame at a time without delay."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import numpy as np
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from jaxtyping import Int16, UInt8

VideoCodec = Literal["h264", "jpeg", "rgb"]
"""Encodings of frames on a socket: H.264 (Annex B, no B-frames), JPEG, or raw RGB bytes row by row."""
_FACTOR, _TAPS = 3, 24
_KEY_SECONDS = 2


class Upsampler:
    """16 kHz to 48 kHz, block by block; delays by 12 samples of 16 kHz (0.75 ms)."""

    def __init__(self) -> None:
        x = (np.arange(_FACTOR * _TAPS) - (_FACTOR * _TAPS - 1) / 2) / _FACTOR
        kernel = np.sinc(0.92 * x) * np.kaiser(len(x), 8.0)
        self._phases = kernel.reshape(_TAPS, _FACTOR).T * (_FACTOR / kernel.sum())
        self._past = np.zeros(_TAPS - 1)

    def __call__(self, block: Int16[np.ndarray, " samples"]) -> Int16[np.ndarray, " three_samples"]:
        """The next block."""
        samples = np.concatenate([self._past, block])
        self._past = samples[len(samples) - len(self._past) :]
        out = np.stack([np.convolve(samples, phase, mode="valid") for phase in self._phases], axis=1)
        return np.clip(np.round(out.reshape(-1)), -32768, 32767).astype(np.int16)


class FrameEncoder:
    """Encodes frames one by one.

    Args:
        codec: the encoding.
        width: even, pixels.
        height: even, pixels.
        fps: frames per second.
    """

    def __init__(self, codec: VideoCodec, width: int, height: int, fps: float) -> None:
        self.codec, self._fps = codec, fps
        self._count = 0
        if codec == "rgb":
            self._context: VideoCodecContext | None = None
            return
        name, pixels = ("libx264", "yuv420p") if codec == "h264" else ("mjpeg", "yuvj420p")
        context = CodecContext.create(name, "w")
        assert isinstance(context, VideoCodecContext)
        context.width, context.height, context.pix_fmt = width, height, pixels
        context.framerate = Fraction(fps).limit_denominator(1001)
        context.time_base = 1 / context.framerate
        if codec == "h264":
            context.options = {"preset": "veryfast", "tune": "zerolatency", "crf": "21", "threads": "1"}
            context.options["sc_threshold"] = "0"  # a key frame where the image changes would be a peak in the delay
            context.gop_size = round(_KEY_SECONDS * fps)
        else:
            context.options = {"qmin": "2", "qmax": "5"}
        self._context = context

    def encode(self, frame: UInt8[np.ndarray, "height width 3"]) -> tuple[bytes, bool]:
        """The encoded frame, and whether it can be decoded without those before it."""
        if self._context is None:
            return np.ascontiguousarray(frame).tobytes(), True
        image = VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        image = image.reformat(format=self._context.pix_fmt)
        image.pts, image.pict_type = self._count, PictureType.NONE
        self._count += 1
        packets = self._context.encode(image)
        return b"".join(bytes(packet) for packet in packets), any(packet.is_keyframe for packet in packets)
