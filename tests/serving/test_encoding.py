"""Audio and frames as they leave."""

from __future__ import annotations

import numpy as np
import pytest

from nerfstudio_talking.media.writing import SYNTHETIC_NOTICE
from nerfstudio_talking.serving.encoding import FrameEncoder, Upsampler
from nerfstudio_talking.serving.marking import mark_description
from nerfstudio_talking.serving.timeline import BLOCK


@pytest.mark.parametrize("hertz, tolerance", [(50, 60), (440, 60), (3000, 60), (5500, 60), (6500, 800)])
def test_a_tone_stays_itself_at_three_times_the_rate(hertz, tolerance):
    time = np.arange(10 * BLOCK) / 16000
    blocks = np.round(10000 * np.sin(2 * np.pi * hertz * time)).astype(np.int16).reshape(-1, BLOCK)
    upsample = Upsampler()
    out = np.concatenate([upsample(block) for block in blocks])
    assert len(out) == 3 * time.size
    delay = (3 * 24 - 1) / 2 / 48000
    expected = 10000 * np.sin(2 * np.pi * hertz * (np.arange(len(out)) / 48000 - delay))
    np.testing.assert_allclose(out[200:], expected[200:], atol=tolerance)


def test_loud_audio_is_clipped_and_does_not_wrap():
    upsample = Upsampler()
    out = np.concatenate([upsample(np.tile([32767, 32767, -32768, -32768], 80).astype(np.int16)) for _ in range(4)])
    assert out.max() == 32767 and out.min() == -32768
    assert np.abs(np.diff(out.astype(int))).max() < 65535


@pytest.mark.parametrize("codec", ["h264", "jpeg"])
def test_every_frame_comes_out_at_once(codec):
    encoder = FrameEncoder(codec, 64, 48, 25.0)
    rng = np.random.default_rng(0)
    keys = []
    for _ in range(60):
        data, is_key = encoder.encode(rng.integers(0, 255, (48, 64, 3)).astype(np.uint8))
        assert data
        keys.append(is_key)
    assert [i for i, key in enumerate(keys) if key] == ([0, 50] if codec == "h264" else list(range(60)))


def test_the_mark_is_in_the_description():
    assert mark_description("v=0\r\ns=-\r\nt=0 0\r\n") == f"v=0\r\ns={SYNTHETIC_NOTICE}\r\nt=0 0\r\n"
