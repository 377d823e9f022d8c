"""Digests of the files that a batch reads. A file that has not changed since the last run is not read again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nerfstudio_talking.batch.job_file import Jobs, Options, Source
from nerfstudio_talking.batch.stages import InputFile
from nerfstudio_talking.batch.storage import Storage, is_local, open_filesystem, storage_errors, stream_digest
from nerfstudio_talking.io.errors import TalkingError

_KEY = "input_digests.json"
_THREADS = 8


def sources_of(jobs: Jobs) -> list[Source]:
    """All files that the stages of a job file read, each once."""
    found: dict[str, Source] = {}

    def add(sources: Iterable[object]) -> None:
        for source in sources:
            if isinstance(source, Source):
                found.setdefault(source.url, source)

    def add_options(options: Options | None) -> None:
        for value in (options or {}).values():
            add(value if isinstance(value, tuple) else (value,))

    for video in jobs.videos.values():
        add([video.source])
        add_options(video.options)
    for recipe in jobs.recipes.values():
        add_options(recipe.options)
        add_options(recipe.bake)
    for speech in jobs.speeches:
        add([jobs.voices[speech.voice]])
        add_options(speech.options)
    for comparison in jobs.comparisons:
        add([comparison.gt])
        add_options(comparison.options)
    return list(found.values())


def digest_inputs(jobs: Jobs, storage: Storage | None) -> dict[str, InputFile]:
    """Every input of a job file with the digest of its bytes.

    Args:
        jobs: the job file.
        storage: where digests of earlier runs are kept; None reads every file.

    Returns:
        Inputs by URL.

    Raises:
        TalkingError: a file is missing; the message names the line of the job file.
    """
    known: dict[str, Any] = (storage.read_json(_KEY) or {}) if storage is not None else {}
    sources = sources_of(jobs)

    def digest(source: Source) -> tuple[str, list[Any] | None, str]:
        identity = _identity(source)
        entry = known.get(source.url)
        if entry is not None and identity is not None and entry["identity"] == identity:
            return source.url, identity, entry["sha256"]
        return source.url, identity, stream_digest(source.url)

    with ThreadPoolExecutor(_THREADS) as pool:
        results = list(pool.map(digest, sources))
    now = {url: {"identity": identity, "sha256": value} for url, identity, value in results}
    if storage is not None and any(known.get(url) != entry for url, entry in now.items()):
        storage.write_json(_KEY, {**known, **now})
    return {url: InputFile(url, value) for url, _, value in results}


def _identity(source: Source) -> list[Any] | None:
    """What changes when the file does, without reading it; None where the file system says too little."""
    fs, name = open_filesystem(source.url)
    hint = "Relative paths count from the job file's folder."
    try:
        with storage_errors(source.url):
            info: Mapping[str, Any] = fs.info(name)
    except FileNotFoundError as error:
        raise TalkingError(source.where, expected="a file", found=f"no {source.url}", hint=hint) from error
    if info["type"] != "file":
        raise TalkingError(source.where, expected="a file", found=f"the folder {source.url}", hint=hint)
    if is_local(source.url):
        # the time of the last change of the inode cannot be set back, as that of the contents can
        return [info["size"], info["ino"], info["mtime"], info["created"]]
    tag = info.get("e_tag") or info.get("ETag") or info.get("etag")
    return None if tag is None else [info["size"], tag]


def upload_inputs(inputs: Mapping[str, InputFile], storage: Storage) -> dict[str, InputFile]:
    """Bring files of this machine into a storage that every machine reaches, by content, each once.

    Returns:
        The inputs, with the places from which every machine reads them. A local storage leaves them where they are:
        several machines that share it share a file system.
    """
    if storage.is_local:
        return dict(inputs)
    fs, root = open_filesystem(storage.url)
    with storage_errors(storage.url):
        try:
            there = {name.rsplit("/", 1)[-1] for name in fs.find(f"{root.rstrip('/')}/inputs")}
        except FileNotFoundError:
            there = set()

    def upload(item: tuple[str, InputFile]) -> tuple[str, InputFile]:
        url, file = item
        if not is_local(url):
            return url, file
        name = file.digest + file.suffix
        if name not in there:
            storage.put_file(Path(url.removeprefix("file://")), f"inputs/{name}")
        return url, InputFile(storage.locate(f"inputs/{name}"), file.digest)

    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(pool.map(upload, inputs.items()))
