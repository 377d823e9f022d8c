"""`ns-talking drive`: which voice goes where."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nerfstudio_talking.cli.drive import Drive
from nerfstudio_talking.inference.driver import PortraitDriver
from nerfstudio_talking.io.errors import TalkingError

CONFIG = Path("config.yml")


class FakeDriver:
    """Writes what it is asked to speak; fails at a voice called bad."""

    fps = 25.0

    def num_frames(self, audio):
        return 10

    def write_video(self, audio, output, **options):
        if audio.stem == "bad":
            raise TalkingError(audio, expected="a voice", found="none", hint="Take another.")
        output.write_text(audio.stem)
        return 10


@pytest.fixture
def voices(talking_dataset, tmp_path, monkeypatch):
    """Three files, and a portrait that needs no training."""
    monkeypatch.setattr(PortraitDriver, "load", lambda *_: FakeDriver())
    return tuple(
        Path(shutil.copy(talking_dataset / "audio.wav", tmp_path / f"{name}.wav")) for name in ("a", "bad", "c")
    )


def test_one_voice_becomes_the_file(voices, tmp_path):
    Drive(CONFIG, voices[:1], tmp_path / "spoken.mp4").main()
    assert (tmp_path / "spoken.mp4").read_text() == "a"


def test_one_voice_goes_into_a_folder(voices, tmp_path):
    Drive(CONFIG, voices[:1], tmp_path / "spoken").main()
    assert (tmp_path / "spoken" / "a.mp4").read_text() == "a"


def test_a_voice_that_fails_does_not_keep_the_others(voices, tmp_path, capsys):
    with pytest.raises(TalkingError, match="expected 3 videos; found 2; 1 failed"):
        Drive(CONFIG, voices, tmp_path / "spoken").main()
    assert sorted(path.name for path in (tmp_path / "spoken").iterdir()) == ["a.mp4", "c.mp4"]
    assert "bad.wav: expected a voice" in capsys.readouterr().out


def test_what_cannot_be_read_is_named_before_anything_is_loaded(voices, tmp_path, monkeypatch):
    monkeypatch.setattr(PortraitDriver, "load", lambda *_: pytest.fail("loaded"))
    (tmp_path / "no.wav").write_bytes(b"no audio")
    with pytest.raises(TalkingError, match=r"no\.wav"):
        Drive(CONFIG, (voices[0], tmp_path / "no.wav"), tmp_path / "spoken").main()
    assert not (tmp_path / "spoken").exists() or not list((tmp_path / "spoken").iterdir())


@pytest.mark.parametrize(
    ("audio", "output", "found"),
    [
        ((), "spoken.mp4", "--audio"),
        (("a.wav", "c.wav"), "spoken.mp4", "a folder for 2 voices"),
        (("a.wav", "other/A.mp3"), "spoken", "files of different names"),
        (("a.wav",), "spoken.gif", "ending in .mp4"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, audio, output, found):
    with pytest.raises(TalkingError, match=found):
        Drive(CONFIG, tuple(map(Path, audio)), tmp_path / output).main()


def test_no_voice_is_overwritten(voices, tmp_path):
    clip = Path(shutil.copy(voices[0], tmp_path / "clip.mp4"))
    for output in (tmp_path, clip):
        with pytest.raises(TalkingError, match="found one of --audio"):
            Drive(CONFIG, (clip,), output).main()
    assert clip.read_bytes() == voices[0].read_bytes()


def test_ready_made_features_belong_to_one_voice(voices, tmp_path):
    with pytest.raises(TalkingError, match="one voice"):
        Drive(CONFIG, voices, tmp_path / "spoken", audio_features=tmp_path / "x.npy").main()
