"""The storage, in a folder and on a local S3 server: what has no manifest does not exist."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import pytest

from nerfstudio_talking.batch import Storage
from nerfstudio_talking.batch import storage as storage_module
from nerfstudio_talking.io.errors import TalkingError

ADDRESS = hashlib.sha256(b"an address").hexdigest()


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return Storage(str(tmp_path / "storage"))
    return Storage(f"{request.getfixturevalue('s3_server')}/{tmp_path.name}")


def output(folder: Path, count: int, text: str = "") -> Path:
    """An output of some files in two folders."""
    for number in range(count):
        path = folder / ("inner" if number % 2 else ".") / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number} {text}")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def keys(storage: Storage) -> list[str]:
    fs, root = storage_module.open_filesystem(storage.url)
    return sorted(str(name).removeprefix(root + "/") for name in fs.find(root))


@pytest.mark.parametrize("count", [1, 4, 9])
def test_an_output_comes_back_as_it_was(storage, tmp_path, count):
    folder = output(tmp_path / "made", count)
    assert storage.finished() == set() and storage.manifest(ADDRESS) is None
    manifest = storage.put(ADDRESS, folder, {"cpu_s": 1.5})
    assert manifest == storage.manifest(ADDRESS) and storage.finished() == {ADDRESS}
    assert manifest.record == {"cpu_s": 1.5} and manifest.packed == (count == 9)
    assert manifest.size == sum(map(len, contents(folder).values()))
    again = pickle.loads(pickle.dumps(storage))
    assert again.get(ADDRESS, tmp_path / "fetched") == manifest
    assert contents(tmp_path / "fetched") == contents(folder)
    assert len(keys(storage)) == 1 + (1 if count == 9 else count), "files, or an archive, and a manifest"


def test_the_digest_of_an_output_is_that_of_paths_and_contents(tmp_path):
    storage = Storage(str(tmp_path / "storage"))
    manifest = storage.put(ADDRESS, output(tmp_path / "a", 2), {"machine": "one"})
    lines = [
        f"{name}\0{hashlib.sha256(text).hexdigest()}\n" for name, text in [("0.txt", b"0 "), ("inner/1.txt", b"1 ")]
    ]
    assert manifest.digest == hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("count", [2, 9])
def test_a_broken_off_upload_leaves_nothing_that_counts(storage, tmp_path, count, monkeypatch):
    folder = output(tmp_path / "made", count)
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            storage.put(ADDRESS, folder, {})
    assert keys(storage), "its files were stored"
    assert storage.finished() == set() and storage.manifest(ADDRESS) is None
    with pytest.raises(TalkingError, match="expected an output"):
        storage.get(ADDRESS, tmp_path / "fetched")
    storage.put(ADDRESS, folder, {})
    storage.get(ADDRESS, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(folder)


def test_the_first_of_two_workers_counts(storage, tmp_path):
    first = storage.put(ADDRESS, output(tmp_path / "one", 2, "one"), {})
    assert storage.put(ADDRESS, output(tmp_path / "two", 2, "two"), {}) == first
    storage.get(ADDRESS, tmp_path / "fetched")
    assert contents(tmp_path / "fetched") == contents(tmp_path / "one")
    assert len(keys(storage)) == 3, "the other one's files are gone"


def test_two_workers_that_finish_together_do_not_mix(storage, tmp_path, monkeypatch):
    """Both have looked for a manifest and found none: the last one counts, as a whole."""
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "manifest", lambda *_: None)
        storage.put(ADDRESS, output(tmp_path / "one", 2, "one"), {})
        storage.put(ADDRESS, output(tmp_path / "two", 2, "two"), {})
    storage.get(ADDRESS, tmp_path / "fetched")
    assert contents(tmp_path / "fetched") == contents(tmp_path / "two")


def test_damage_is_found(tmp_path):
    storage = Storage(str(tmp_path / "storage"))
    manifest = storage.put(ADDRESS, output(tmp_path / "made", 2), {})
    (tmp_path / "storage" / manifest.folder / "0.txt").write_text("1 ")
    with pytest.raises(TalkingError, match=r"0\.txt: expected SHA-256"):
        storage.get(ADDRESS, tmp_path / "fetched")


def test_small_files(storage):
    assert storage.read_json("a/b.json") is None
    storage.write_json("a/b.json", {"é": [1, None]})
    storage.write_json("a/b.json", {"é": [2]})
    assert storage.read_json("a/b.json") == {"é": [2]}
    storage.write_json("set_aside/x.json", {})
    assert storage.set_aside() == {"x"}
    storage.remove("set_aside/x.json")
    storage.remove("set_aside/x.json")
    assert storage.set_aside() == set() and keys(storage) == ["a/b.json"]


def test_files_of_any_storage_are_found_and_read(storage, tmp_path):
    path = tmp_path / "hello.wav"
    path.write_bytes(os.urandom(3_000_000))
    for name in ("hello.wav", "again.wav", "other.mp4"):
        storage.put_file(path, f"voices/{name}")
    found = storage_module.find_files(storage.locate("voices/*.wav"))
    assert found == [storage.locate(f"voices/{name}.wav") for name in ("again", "hello")]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert storage_module.stream_digest(found[0]) == digest
    assert storage_module.fetch_file(found[1], tmp_path / "copy.wav") == digest
    assert (tmp_path / "copy.wav").read_bytes() == path.read_bytes()
    with pytest.raises(TalkingError, match="no such file"):
        storage_module.fetch_file(storage.locate("voices/none.wav"), tmp_path / "none.wav")


def test_a_wrong_key_is_an_error_of_one_line(s3_server, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    filesystem = pytest.importorskip("obstore.fsspec").FsspecStore
    monkeypatch.setattr(filesystem, "cachable", False)  # as in a process of its own
    with pytest.raises(TalkingError, match="a storage that answers") as error:
        Storage(f"{s3_server}/x").finished()
    assert "\n" not in str(error.value)


def test_an_unknown_protocol():
    with pytest.raises(TalkingError, match="a protocol that fsspec knows"):
        Storage("nonsense://bucket").finished()
