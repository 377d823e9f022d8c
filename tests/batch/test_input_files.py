"""Digests of inputs: kept while the file stays the same, and named with the job file's line where there is none."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from nerfstudio_talking.batch import Storage, input_files, load_jobs
from nerfstudio_talking.batch.input_files import digest_inputs, upload_inputs
from nerfstudio_talking.io.errors import TalkingError


def jobs_of(folder: Path):
    path = folder / "jobs.yaml"
    path.write_text("videos: {anna: anna.mp4}\nvoices: {hello: hello.wav, unused: none.wav}\n"
                    "portraits: {splat: {method: splat-portrait}}\ndrives: [{voices: hello}]\n")  # fmt: skip
    return load_jobs(path)


def test_only_what_changed_is_read_again(tmp_path, monkeypatch):
    storage = Storage(str(tmp_path / "storage"))
    for name, text in (("anna.mp4", "a video"), ("hello.wav", "a voice")):
        (tmp_path / name).write_text(text)
    read: list[str] = []
    real = input_files.stream_digest
    monkeypatch.setattr(input_files, "stream_digest", lambda url: read.append(Path(url).name) or real(url))
    first = digest_inputs(jobs_of(tmp_path), storage)
    assert sorted(read) == ["anna.mp4", "hello.wav"]
    assert first[str(tmp_path / "anna.mp4")].digest == hashlib.sha256(b"a video").hexdigest()
    assert digest_inputs(jobs_of(tmp_path), storage) == first and len(read) == 2
    (tmp_path / "hello.wav").write_text("A voice")  # as long as before
    assert digest_inputs(jobs_of(tmp_path), storage) != first and read[2:] == ["hello.wav"]
    digest_inputs(jobs_of(tmp_path), None)
    assert len(read) == 5, "without a storage every file is read"


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir])
def test_a_missing_input_is_named_with_its_line(tmp_path, make):
    (tmp_path / "anna.mp4").write_text("a video")
    make(tmp_path / "hello.wav")
    with pytest.raises(TalkingError, match=r"jobs\.yaml, line 2, voices\.hello: expected a file"):
        digest_inputs(jobs_of(tmp_path), None)


def test_inputs_go_to_a_storage_that_others_reach_once(tmp_path, monkeypatch):
    for name in ("anna.mp4", "hello.wav"):
        (tmp_path / name).write_text(name)
    inputs = digest_inputs(jobs_of(tmp_path), None)
    assert upload_inputs(inputs, Storage(str(tmp_path / "local"))) == inputs
    storage = Storage(f"memory://{tmp_path.name}")
    places = upload_inputs(inputs, storage)
    video = places[str(tmp_path / "anna.mp4")]
    assert video.url == storage.locate(f"inputs/{video.digest}.mp4")
    assert input_files.stream_digest(video.url) == video.digest == inputs[str(tmp_path / "anna.mp4")].digest
    monkeypatch.setattr(Storage, "put_file", lambda *_: pytest.fail("it is there"))
    assert upload_inputs(inputs, storage) == places
    assert upload_inputs({video.url: video}, storage) == {video.url: video}
