import numpy as np
import pytest

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.process.crop import choose_crop


def test_crops():
    boxes = np.array([[300, 200, 400, 330], [np.nan] * 4, [320, 210, 420, 340]], dtype=np.float32)
    whole = choose_crop("none", 512, 640, 480, boxes)
    assert (whole.width, whole.height, whole.out_width, whole.out_height) == (640, 480, 512, 384)
    np.testing.assert_allclose(whole.points(np.array([640.0, 480.0, 10.0])), [512, 384, 8])
    face = choose_crop("face", 256, 640, 480, boxes)
    assert face.width == face.height
    assert (face.out_width, face.out_height) == (256, 256)
    assert face.x <= 300 - 20 and face.x + face.width >= 420 + 20
    assert face.y <= 200 - 20 and face.y + face.height >= 340 + 20
    box = choose_crop("10,20,100,50", 200, 640, 480, boxes)
    np.testing.assert_allclose(box.points(np.array([[10.0, 20.0], [110.0, 70.0]])), [[0, 0], [200, 100]])
    frame = np.arange(480 * 640 * 3, dtype=np.uint32).astype(np.uint8).reshape(480, 640, 3)
    np.testing.assert_array_equal(choose_crop("0,0,64,32", 64, 640, 480, boxes).apply(frame), frame[:32, :64])
    for text in ("600,0,100,100", "1,2,3", "head"):
        with pytest.raises(TalkingError):
            choose_crop(text, 512, 640, 480, boxes)
