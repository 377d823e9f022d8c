"""`ns-talking verify`."""

from __future__ import annotations

import numpy as np
import pytest

from nerfstudio_talking.cli.main import parse
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.writing import VideoWriter
from nerfstudio_talking.provenance.credentials import VideoOrigin, signed_by


def test_it_tells_what_it_finds(tmp_path, capsys, monkeypatch):
    pytest.importorskip("c2pa")
    monkeypatch.setenv("NERFSTUDIO_TALKING_SIGNING", str(tmp_path / "keys"))
    path = tmp_path / "a [1].mp4"
    with VideoWriter(path, 25, 96, 64, finish=signed_by(VideoOrigin("model", "portrait digest"), path)) as writer:
        writer.write(np.full((64, 96, 3), 90, np.uint8))
    parse(["verify", str(path)]).main()
    shown = " ".join(capsys.readouterr().out.split())
    for text in (
        "on no list of trusted ones",
        "trainedAlgorithmicMedia",
        "portrait digest",
        "says that it is synthetic",
    ):
        assert text in shown
    assert "not found (score" in shown


def test_a_video_without_marks_ends_with_an_error(tmp_path):
    path = tmp_path / "video.mp4"
    with VideoWriter(path, 25, 96, 64, metadata={"comment": ""}) as writer:
        writer.write(np.full((64, 96, 3), 90, np.uint8))
    with pytest.raises(TalkingError, match="none that holds"):
        parse(["verify", str(path)]).main()
    with pytest.raises(TalkingError, match="positive"):
        parse(["verify", str(path), "--frames", "0"]).main()
