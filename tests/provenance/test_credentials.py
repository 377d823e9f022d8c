"""Content Credentials of written videos, read back, and refused keys."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.reading import probe_video
from nerfstudio_talking.media.writing import VideoWriter
from nerfstudio_talking.provenance import credentials, signing
from nerfstudio_talking.provenance.credentials import SYNTHETIC_SOURCE, VideoOrigin, read_credentials, signed_by
from nerfstudio_talking.provenance.inspection import inspect_video
from nerfstudio_talking.provenance.signing import SigningKey, machine_key, signing_key

pytest.importorskip("c2pa")
ORIGIN = VideoOrigin("SplatPortraitModel", "a" * 64, "b" * 64)


@pytest.fixture(autouse=True)
def own_keys(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("NERFSTUDIO_TALKING_SIGNING", str(tmp_path / "keys"))
    return tmp_path / "keys"


def write(path: Path, key: SigningKey | None = None, metadata: dict[str, str] | None = None) -> Path:
    finish = signed_by(ORIGIN, path, key)
    with VideoWriter(path, 25, 96, 64, metadata=metadata, finish=finish) as writer:
        for level in range(5):
            writer.write(np.full((64, 96, 3), 40 * level, np.uint8))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_video_says_what_made_it(tmp_path, suffix):
    path = write(tmp_path / f"video{suffix}")
    found = read_credentials(path)
    assert found is not None and found.say_synthetic
    assert (found.state, found.source) == ("Valid", SYNTHETIC_SOURCE)
    assert found.origin == {"model": "SplatPortraitModel", "portrait": "a" * 64, "audio": "b" * 64}
    assert probe_video(path).width == 96
    assert sorted(p.name for p in tmp_path.iterdir()) == ["keys", path.name]


def test_a_changed_video_is_found_out(tmp_path):
    content = bytearray(write(tmp_path / "video.mp4").read_bytes())
    content[content.rindex(b"mdat") + 60] ^= 1
    changed = tmp_path / "changed.mp4"
    changed.write_bytes(content)
    found = read_credentials(changed)
    assert found is not None and found.state == "Invalid" and not found.say_synthetic


def test_matroska_has_no_credentials_but_its_tag(tmp_path):
    path = write(tmp_path / "video.mkv")
    assert read_credentials(path) is None
    assert inspect_video(path).has_tag and inspect_video(path).is_marked


def test_an_unmarked_video_is_unmarked(tmp_path):
    path = tmp_path / "video.mp4"
    with VideoWriter(path, 25, 96, 64, metadata={"comment": "a holiday"}) as writer:
        writer.write(np.full((64, 96, 3), 40, np.uint8))
    found = inspect_video(path)
    assert found.credentials is None and found.credentials_were_read and not found.has_tag and not found.is_marked


def test_the_machines_key_is_made_once_and_nobody_else_reads_it(own_keys, capsys):
    key = machine_key()
    assert key == machine_key()
    assert capsys.readouterr().out.count("Made a key") == 1
    assert stat.S_IMODE(key.private_key.stat().st_mode) == 0o600
    assert key.private_key.parent == own_keys
    from cryptography import x509

    leaf, root = x509.load_pem_x509_certificates(key.certificates.read_bytes())
    leaf.verify_directly_issued_by(root)


def test_processes_that_make_a_key_at_once_agree(own_keys, monkeypatch):
    make = signing._make_chain

    def after_another() -> tuple[bytes, bytes]:
        monkeypatch.setattr(signing, "_make_chain", make)
        machine_key()
        return make()

    monkeypatch.setattr(signing, "_make_chain", after_another)
    key = machine_key()
    assert write(own_keys.parent / "video.mp4", key).is_file()
    assert [path.name for path in own_keys.parent.iterdir() if path.name.startswith(".")] == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(TalkingError, match="NERFSTUDIO_TALKING_SIGNING"):
        machine_key(tmp_path / "file" / "keys")


def test_a_refused_certificate_leaves_no_video(tmp_path):
    """The chain without the certificate that issued it, and one with another's key."""
    key, other = machine_key(), machine_key(tmp_path / "other")
    mixed = SigningKey(key.certificates, other.private_key)
    with pytest.raises(TalkingError, match="a certificate that C2PA accepts"):
        write(tmp_path / "video.mp4", mixed)
    assert not list(tmp_path.glob("video*"))


def test_a_key_is_two_pem_files(tmp_path):
    key = machine_key()
    assert signing_key(None, None) is None
    assert signing_key(key.certificates, key.private_key) == key
    with pytest.raises(TalkingError, match="one of them"):
        signing_key(key.certificates, None)
    with pytest.raises(TalkingError, match=r"absent\.pem"):
        signing_key(tmp_path / "absent.pem", key.private_key)
    with pytest.raises(TalkingError, match="PEM file with a private key"):
        signing_key(key.certificates, key.certificates)


def test_without_c2pa_videos_are_written_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(credentials, "credentials_exist", lambda: False)
    assert probe_video(write(tmp_path / "video.mp4")).width == 96
    with pytest.raises(TalkingError, match="not installed"):
        write(tmp_path / "signed.mp4", SigningKey(tmp_path / "a", tmp_path / "b"))
