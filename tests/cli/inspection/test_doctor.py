"""`ns-talking doctor`."""

from __future__ import annotations

import pytest

from nerfstudio_talking.cli.inspection import doctor
from nerfstudio_talking.cli.main import parse
from nerfstudio_talking.io.errors import TalkingError


def test_a_machine_that_works(capsys):
    parse(["doctor"]).main()
    shown = " ".join(capsys.readouterr().out.split())
    for text in ("All that is installed works", "splat-portrait-small", "H.264 with AAC", "by "):
        assert text in shown


def test_what_is_broken_is_named(monkeypatch, capsys):
    def fail() -> str:
        raise OSError("no [codec] here")

    monkeypatch.setattr(doctor, "_video", fail)
    monkeypatch.setattr(doctor, "_rasterizer", lambda: "not there")
    with pytest.raises(TalkingError, match="a video is written and read broken"):
        parse(["doctor"]).main()
    assert "OSError: no [codec] here" in " ".join(capsys.readouterr().out.split())


def test_a_machine_without_mediapipe_is_not_broken(monkeypatch, capsys):
    version = doctor.importlib.metadata.version

    def without(name: str) -> str:
        if name == "mediapipe":
            raise doctor.importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(doctor.importlib.metadata, "version", without)
    parse(["doctor", "--try-parts", "False"]).main()
    assert "All that is installed works" in capsys.readouterr().out
