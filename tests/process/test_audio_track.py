import numpy as np

from nerfstudio_talking.process.audio_track import cut_audio


def test_audio_is_cut_and_padded():
    samples = np.arange(10, dtype=np.float32)
    np.testing.assert_array_equal(cut_audio(samples, 0.2, 0.3, rate=10), [2, 3, 4])
    np.testing.assert_array_equal(cut_audio(samples, -0.2, 0.4, rate=10), [0, 0, 0, 1])
    np.testing.assert_array_equal(cut_audio(samples, 0.8, 0.4, rate=10), [8, 9, 0, 0])
