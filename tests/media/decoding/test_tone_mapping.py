"""HDR video against colours that are encoded here by the formulas of ITU-R BT.2100."""

from __future__ import annotations

import av
import numpy as np
import pytest

from nerfstudio_talking.media.decoding.tone_mapping import HLG, PQ, compress, tone_map
from nerfstudio_talking.media.reading import probe_video, read_frames

COLOURS = np.array(
    [(16, 16, 16), (90, 90, 90), (180, 180, 180), (232, 232, 232), (224, 172, 140), (150, 90, 70), (40, 80, 160)],
    np.uint8,
)
"""Greys, skin and a blue, of BT.709."""
TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def encode(colours: np.ndarray, transfer: int) -> np.ndarray:
    """BT.709 levels (display gamma 2.4, white at 203 cd/m2) as BT.2100 signals in [0, 1]."""
    light = 203 * (colours / 255) ** 2.4 @ TO_BT2020.T  # cd/m2
    if transfer == PQ:
        power = (light / 10000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    luminance = light @ [0.2627, 0.6780, 0.0593]
    scene = light / 1000 * ((luminance / 1000) ** (1 / 1.2 - 1))[..., None]
    logarithmic = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), logarithmic)


@pytest.mark.parametrize("transfer", [HLG, PQ])
def test_colours_come_back(transfer):
    codes = np.round(65535 * encode(COLOURS.astype(float), transfer)).astype(np.uint16)
    found = tone_map(codes[None], transfer)[0]
    assert np.abs(found.astype(int) - COLOURS).max() <= 2


@pytest.mark.parametrize("transfer", [HLG, PQ])
def test_a_file_is_tone_mapped(tmp_path, transfer):
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 32 * len(COLOURS), 32, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.colorspace, context.color_primaries, context.color_range = transfer, 9, 9, 1
        signal = encode(COLOURS.astype(float), transfer)
        luma = signal @ [0.2627, 0.6780, 0.0593]
        planes = (
            64 + 876 * luma,
            512 + 896 * (signal[:, 2] - luma) / 1.8814,
            512 + 896 * (signal[:, 0] - luma) / 1.4746,
        )
        frame = av.VideoFrame(stream.width, stream.height, "yuv420p10le")
        for plane, values, side in zip(frame.planes, planes, (32, 16, 16)):
            row = np.repeat(np.round(values).astype("<u2"), side)
            padded = np.zeros((plane.height, plane.line_size // 2), "<u2")
            padded[:, : len(row)] = row
            plane.update(padded.tobytes())
        frame.color_trc, frame.colorspace, frame.color_primaries, frame.color_range = transfer, 9, 9, 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (note,) = probe_video(path).notes
    assert ("HLG" if transfer == HLG else "PQ") in note and "BT.709" in note
    image = next(iter(read_frames(path)))
    assert image.dtype == np.uint8
    found = image[16, 16::32].astype(int)
    assert np.abs(found - COLOURS).max() <= 6


def test_highlights_are_compressed_and_not_cut():
    light = np.array([0.0, 0.5, 0.8, 1.0, 2.0, 1000 / 203, 20.0])
    found = compress(light)
    np.testing.assert_allclose(found[:3], light[:3])
    assert (np.diff(found[:6]) > 0).all() and found[3] < 1
    assert found[5] == found[6] == pytest.approx(1.0, abs=0.005)
    slope = np.diff(compress(np.array([0.8, 0.8 + 1e-5])))[0] / 1e-5
    assert slope == pytest.approx(1.0, abs=0.01)
