"""Writing behind: a thread writes while the next frame is rendered."""

from __future__ import annotations

import numpy as np
import pytest

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.write_behind import write_behind


def test_frames_are_written_in_order_and_errors_come_back():
    written = []
    frames = [np.full((2, 2, 3), i, np.uint8) for i in range(7)]
    assert write_behind(iter(frames), lambda frame: written.append(int(frame[0, 0, 0]))) == 7
    assert written == list(range(7))

    def fail(frame):
        raise TalkingError("disk", expected="room", found="none", hint="Free some.")

    with pytest.raises(TalkingError, match="disk"):
        write_behind(iter(frames), fail)
