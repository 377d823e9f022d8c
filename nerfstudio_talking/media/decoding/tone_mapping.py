"""High dynamic range to BT.709: HLG and PQ video (ITU-R BT.2100) as a standard display shows it.

The light that a BT.2100 display of 1000 cd/m2 emits is divided by 203 cd/m2, its reference white (ITU-R BT.2408).
Colours go from BT.2020 to BT.709 primaries and are compressed by a Moebius curve of their largest channel: identity up
to 0.8, then smoothly to 1 at 1000 cd/m2. The result is encoded for a display of gamma 2.4 (ITU-R BT.1886). So faces and
white paper keep their levels, and highlights are compressed instead of cut.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float, Float32, UInt8, UInt16

PQ, HLG = 16, 18
"""Transfer characteristics of ITU-T H.273: SMPTE ST 2084 and ARIB STD-B67."""
CURVE = "a Moebius curve (linear to 0.8 of reference white, 203 cd/m2; 1000 cd/m2 is white)"
_WHITE, _PEAK = 203.0, 1000.0
_KNEE = 0.8
_HLG_GAMMA = 1.2
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)
_TO_BT709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]],
    dtype=np.float32,
)
_STEPS = 1 << 14


def name_of_transfer(transfer: int) -> str | None:
    """'HLG' or 'PQ' for their code of ITU-T H.273; None for standard dynamic range."""
    return {PQ: "PQ", HLG: "HLG"}.get(transfer)


def tone_map(image: UInt16[np.ndarray, "height width 3"], transfer: int) -> UInt8[np.ndarray, "height width 3"]:
    """An image of standard dynamic range.

    Args:
        image: RGB of BT.2020 primaries in full range, encoded by `transfer`.
        transfer: `HLG` or `PQ`.
    """
    import cv2

    linear = _decoding_table(transfer)[image]
    if transfer == HLG:  # scene light to display light
        luminance = linear @ _LUMINANCE
        linear *= (_PEAK / _WHITE) * np.power(luminance, _HLG_GAMMA - 1, where=luminance > 0, out=luminance)[..., None]
    linear = np.maximum(cv2.transform(linear, _TO_BT709), 0)
    brightest = linear.max(axis=2)
    linear *= (compress(brightest) / np.maximum(brightest, 1e-6))[..., None]
    codes = (np.sqrt(np.minimum(linear, 1.0)) * (_STEPS - 1) + 0.5).astype(np.uint16)
    return _encoding_table()[codes]


def compress(light: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """The Moebius curve: identity up to 0.8, then smoothly to 1 at the peak; not above."""
    peak = _PEAK / _WHITE
    a = -(_KNEE**2) * (peak - 1) / (_KNEE**2 - 2 * _KNEE + peak)
    b = (_KNEE**2 - 2 * _KNEE * peak + peak) / (peak - 1)
    scale = (b + _KNEE) ** 2 / (b - a)
    above = np.clip(light, _KNEE, peak)
    return np.where(light <= _KNEE, light, np.minimum(scale * (above + a) / (above + b), 1.0)).astype(light.dtype)


@cache
def _decoding_table(transfer: int) -> Float32[np.ndarray, " codes"]:
    """Light of each 16-bit code: of the scene for HLG, 1 at most; of the display over reference white for PQ."""
    code = np.arange(1 << 16) / 65535.0
    if transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)
    power = code ** (1 / 78.84375)
    light = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
    return (10000 / _WHITE * light ** (1 / 0.1593017578125)).astype(np.float32)


@cache
def _encoding_table() -> UInt8[np.ndarray, " steps"]:
    """Level of each square root of light: gamma 2.4."""
    light = np.linspace(0, 1, _STEPS) ** 2
    return np.round(255 * light ** (1 / 2.4)).astype(np.uint8)
