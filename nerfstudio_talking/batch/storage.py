"""Outputs by address, in a folder or an object store, and nothing half-written.

    manifests/ab/abcd....json       written last: what has no manifest does not exist
    files/ab/abcd.../TRY/...        the output's files, or one folder.tar where there are many
    set_aside/abcd....json          stages that failed too often, with their messages
    inputs/abcd....mp4              local inputs, where the storage is not local
    input_digests.json              digests of inputs that need not be read again
    report.json                     what the last run did

Every try writes under a name of its own, and the manifest says which one counts. So two workers that finish the same
stage cannot mix their files. Whoever can write here can run code on the machines of the batch: a portrait's config.yml
is executed when it is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from nerfstudio_talking.io.digests import file_digest
from nerfstudio_talking.io.errors import TalkingError

_TAR_NAME = "folder.tar"
_MOST_SINGLE_FILES = 4
"""Outputs of more files are one archive: an object store takes its time for every object."""
_BLOCK = 1 << 20
_RETRIES: Any = {"max_retries": 6, "retry_timeout": timedelta(seconds=60)}


@dataclass(frozen=True)
class OutputFile:
    """A file of an output."""

    path: str
    """Relative to the output's folder, with slashes."""
    size: int
    """Bytes."""
    digest: str
    """SHA-256."""


@dataclass(frozen=True)
class Manifest:
    """What a finished output consists of."""

    folder: str
    """Where its files are, below the storage's root."""
    packed: bool
    """Whether the files are in one archive."""
    files: tuple[OutputFile, ...]
    """All files, in the order of their paths."""
    record: Mapping[str, Any]
    """What the run says of itself: stage, CPU seconds, machine."""

    @property
    def digest(self) -> str:
        """SHA-256 over paths and contents of all files."""
        return hashlib.sha256("".join(f"{file.path}\0{file.digest}\n" for file in self.files).encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


class Storage:
    """The storage of a batch. It can be pickled; every process makes its own connections.

    Args:
        url: a folder, or a URL that fsspec opens, such as `s3://bucket/folder`.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url}

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        fs, root = open_filesystem(self.url)
        return fs, root.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return is_local(self.url)

    def locate(self, key: str) -> str:
        """The path or URL of a key, for a person or for `open_filesystem`."""
        return f"{self.url.rstrip('/')}/{key}"

    # small files

    def read_json(self, key: str) -> dict[str, Any] | None:
        """A JSON file; None where there is none.

        Raises:
            TalkingError: the storage does not answer, or the file is damaged.
        """
        fs, root = self._opened
        with self._errors(key):
            try:
                data = fs.cat_file(f"{root}/{key}")
            except FileNotFoundError:
                return None
        try:
            return json.loads(data)
        except ValueError as error:
            hint = "Delete it and run again."
            raise TalkingError(self.locate(key), expected="JSON", found=str(error), hint=hint) from error

    def write_json(self, key: str, record: Mapping[str, Any]) -> None:
        """Write a JSON file; a reader sees the old one or the new one."""
        data = json.dumps(record, indent=1, ensure_ascii=False).encode("utf-8")
        fs, root = self._opened
        with self._errors(key):
            if not self.is_local:
                fs.pipe_file(f"{root}/{key}", data)  # one request, which an object store answers for as a whole
                return
            path = Path(root, key)
            part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)

    def remove(self, key: str) -> None:
        """Delete a file, if it is there."""
        fs, root = self._opened
        with self._errors(key):
            try:
                fs.rm_file(f"{root}/{key}")
            except FileNotFoundError:
                return

    def _names(self, folder: str) -> set[str]:
        fs, root = self._opened
        with self._errors(folder):
            if hasattr(fs, "invalidate_cache"):
                fs.invalidate_cache()
            try:
                found = fs.find(f"{root}/{folder}")
            except FileNotFoundError:
                return set()
        return {name.rsplit("/", 1)[-1][: -len(".json")] for name in found if name.endswith(".json")}

    # outputs

    def finished(self) -> set[str]:
        """Addresses of all finished outputs, by one listing."""
        return self._names("manifests")

    def manifest(self, address: str) -> Manifest | None:
        """What an output consists of; None while it does not exist."""
        record = self.read_json(_manifest_key(address))
        if record is None:
            return None
        files = tuple(OutputFile(**file) for file in record["files"])
        return Manifest(record["folder"], record["packed"], files, record["record"])

    def put(self, address: str, folder: Path, record: Mapping[str, Any]) -> Manifest:
        """Store a finished output: its files first, its manifest last. Where another worker has stored one in the
        meantime, that one stays.

        Args:
            address: its address.
            folder: its files, on this machine.
            record: what the manifest says of the run.
        """
        files = tuple(
            OutputFile(path.relative_to(folder).as_posix(), path.stat().st_size, file_digest(path))
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        )
        place = f"files/{address[:2]}/{address}/{uuid.uuid4().hex[:12]}"
        packed = len(files) > _MOST_SINGLE_FILES
        manifest = Manifest(place, packed, files, dict(record))
        if packed:
            archive = folder.with_name(folder.name + ".tar")
            with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
                for file in files:
                    tar.add(folder / file.path, arcname=file.path, recursive=False)
            self.put_file(archive, f"{place}/{_TAR_NAME}")
            archive.unlink()
        else:
            for file in files:
                self.put_file(folder / file.path, f"{place}/{file.path}")
        before = self.manifest(address)
        if before is not None:
            self._remove_tree(place)
            return before
        self.write_json(_manifest_key(address), {**asdict(manifest), "output_digest": manifest.digest})
        return manifest

    def get(self, address: str, folder: Path) -> Manifest:
        """Fetch a finished output into an empty folder and check every file against its digest.

        Raises:
            TalkingError: there is no such output, or a file differs from what was stored.
        """
        manifest = self.manifest(address)
        if manifest is None:
            hint = "Run the batch again: it makes what is missing."
            raise TalkingError(self.locate(_manifest_key(address)), expected="an output", found="none", hint=hint)
        folder.mkdir(parents=True, exist_ok=True)
        if manifest.packed:
            archive = folder.with_name(folder.name + ".tar")
            self.get_file(f"{manifest.folder}/{_TAR_NAME}", archive)
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
            archive.unlink()
        else:
            for file in manifest.files:
                self.get_file(f"{manifest.folder}/{file.path}", folder / file.path)
        for file in manifest.files:
            path = folder / file.path
            found = file_digest(path) if path.is_file() else "no such file"
            if found != file.digest:
                hint = f"Delete {self.locate(_manifest_key(address))} and run again: it is made anew."
                place = self.locate(f"{manifest.folder}/{file.path}")
                raise TalkingError(place, expected=f"SHA-256 {file.digest}", found=found, hint=hint)
        return manifest

    def put_file(self, path: Path, key: str) -> None:
        """Store a file of this machine."""
        fs, root = self._opened
        with self._errors(key):
            if self.is_local:
                target = Path(root, key)
                target.parent.mkdir(parents=True, exist_ok=True)
                with path.open("rb") as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file, _BLOCK)
                    file.flush()
                    os.fsync(file.fileno())  # before its manifest
            else:
                fs.put_file(str(path), f"{root}/{key}")

    def get_file(self, key: str, path: Path) -> None:
        """Fetch a file."""
        fetch_file(self.locate(key), path)

    def _remove_tree(self, folder: str) -> None:
        fs, root = self._opened
        with self._errors(folder):
            for name in fs.find(f"{root}/{folder}"):
                fs.rm_file(name)

    # stages that failed too often

    def set_aside(self) -> set[str]:
        """Addresses of the stages that were set aside."""
        return self._names("set_aside")

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        with storage_errors(self.locate(key)):
            yield


def _manifest_key(address: str) -> str:
    return f"manifests/{address[:2]}/{address}.json"


def is_local(url: str) -> bool:
    """Whether a path or URL is a file of this machine."""
    return "://" not in url or url.startswith("file://")


def open_filesystem(url: str) -> tuple[Any, str]:
    """A file system of fsspec and the path in it. `s3://` goes through obstore, which reads the AWS_* variables.

    Raises:
        TalkingError: the protocol is not known, or a package for it is missing.
    """
    try:
        import fsspec

        if url.startswith("s3://"):
            from obstore.fsspec import FsspecStore

            fs = FsspecStore("s3", client_options=_client_options(), retry_config=_RETRIES)
            return fs, url.removeprefix("s3://")
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        hint = 'Install the extra, pip install "nerfstudio-talking[batch]", or the package that the message names.'
        raise TalkingError(url, expected="a file system that can be opened", found=str(error), hint=hint) from error
    except ValueError as error:
        hint = "Take a folder, s3://BUCKET/FOLDER, or another protocol of fsspec."
        raise TalkingError(url, expected="a protocol that fsspec knows", found=str(error), hint=hint) from error


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn what a file system raises into an error for the user; a missing file passes as FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        if not (isinstance(error, OSError) or type(error).__module__.startswith(("obstore", "botocore"))):
            raise
        found = " ".join(str(error).split("Debug source")[0].split())[:400]
        hint = "Check address, permissions and credentials (AWS_* variables for s3://), and the space that is left."
        raise TalkingError(what, expected="a storage that answers", found=found, hint=hint) from error


def fetch_file(url: str, path: Path) -> str:
    """Copy a file of any storage to this machine.

    Returns:
        The SHA-256 of its bytes.

    Raises:
        TalkingError: it is missing or cannot be read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as target:
        return stream_digest(url, target)


def stream_digest(url: str, target: IO[bytes] | None = None) -> str:
    """SHA-256 of a file of any storage, read in blocks, which are written to `target` on the way.

    Raises:
        TalkingError: it is missing or cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with storage_errors(url):
            for block in _blocks(url):
                digest.update(block)
                if target is not None:
                    target.write(block)
    except FileNotFoundError as error:
        raise TalkingError(url, expected="a file", found="no such file", hint="Check the path.") from error
    return digest.hexdigest()


def _blocks(url: str) -> Iterator[bytes]:
    """The bytes of a file of any storage, in one request."""
    fs, name = open_filesystem(url)
    if url.startswith("s3://"):  # its files ask for ranges, which not every server knows
        from obstore.store import S3Store

        bucket, _, key = name.partition("/")
        store = S3Store(bucket, client_options=_client_options(), retry_config=_RETRIES)
        for chunk in store.get(key).stream(min_chunk_size=_BLOCK):
            yield bytes(chunk)
        return
    with fs.open(name, "rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _client_options() -> Any:
    """Plain HTTP only where the endpoint asks for it, as servers on one's own network do."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT") or ""
    return {"allow_http": True} if endpoint.startswith("http://") else {}


def find_files(pattern: str) -> list[str]:
    """Paths or URLs of the files that a pattern with `*` and `?` finds, sorted."""
    fs, name = open_filesystem(pattern)
    protocol = "" if is_local(pattern) else pattern.split("://")[0] + "://"
    with storage_errors(pattern):
        return sorted(protocol + str(path) for path in fs.glob(name) if fs.isfile(path))
