"""Audio from outside: uploaded files, files of named hosts, and a text-to-speech program. All of it in memory."""

from __future__ import annotations

import asyncio
import io
import shlex
import time

import av
import av.error
import numpy as np
from av.audio.resampler import AudioResampler
from jaxtyping import Int16

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.serving.timeline import RATE

_FORMATS = "wav,w64,mp3,ogg,flac,aac,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aiff,amr,caf,avi,mpegts,asf"
"""Containers that hold their own data. Playlists, which name other files and addresses, are none of them."""
_HINT = "Send a wav, mp3, ogg, flac, m4a, mp4 or webm file."


def decode_audio(data: bytes, max_seconds: float, max_work: float = 20.0) -> Int16[np.ndarray, " samples"]:
    """The audio of a file's bytes, 16 kHz mono. Nothing else is opened, whatever the file says.

    Args:
        data: the file.
        max_seconds: seconds of audio at most.
        max_work: seconds that decoding may take.

    Raises:
        TalkingError: it holds no audio that can be decoded, or too much of it.
    """
    started, pieces, count = time.monotonic(), [], 0
    resampler = AudioResampler(format="s16", layout="mono", rate=RATE)
    try:
        options = {"format_whitelist": _FORMATS, "protocol_whitelist": "pipe"}
        with av.open(io.BytesIO(data), options=options) as container:
            if not container.streams.audio:
                raise _unusable("no audio in it")
            for frame in container.decode(container.streams.audio[0]):
                for out in resampler.resample(frame):
                    pieces.append(out.to_ndarray().reshape(-1))
                    count += len(pieces[-1])
                if count > max_seconds * RATE:
                    raise _unusable(f"more than {max_seconds:g} s")
                if time.monotonic() - started > max_work:
                    raise _unusable(f"one that takes over {max_work:g} s to decode")
            pieces += [out.to_ndarray().reshape(-1) for out in resampler.resample(None)]
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise _unusable(getattr(error, "strerror", None) or str(error)) from error
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
    if len(samples) < RATE // 100:
        raise _unusable(f"{len(samples) / RATE:.3f} s")
    return samples.astype(np.int16, copy=False)


async def run_tts(command: str, text: str, max_bytes: int, max_seconds: float) -> bytes:
    """The audio file that a text-to-speech program writes to its standard output; it reads the text from its input.

    Args:
        command: program and arguments; no shell is involved, and no part of the text becomes an argument.
        text: what to say.
        max_bytes: of the file.
        max_seconds: that the program may take; it is ended then.

    Raises:
        TalkingError: the program fails, writes nothing or too much, or takes too long.
    """
    hint = "Run the command by hand with a sentence on its standard input."
    try:
        process = await asyncio.create_subprocess_exec(
            *shlex.split(command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise TalkingError("--tts-command", expected="a program", found=str(error), hint=hint) from error

    async def talk() -> bytes:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(text.encode())
        process.stdin.close()
        data = bytearray()
        while piece := await process.stdout.read(65536):
            data += piece
            if len(data) > max_bytes:
                raise TalkingError(
                    "--tts-command", expected=f"at most {max_bytes} bytes", found="more", hint="Send a shorter text."
                )
        await process.wait()
        return bytes(data)

    try:
        data = await asyncio.wait_for(talk(), max_seconds)
    except (asyncio.TimeoutError, ConnectionError) as error:
        found = "one that ended early" if isinstance(error, ConnectionError) else "none yet"
        expected = f"an answer within {max_seconds:g} s"
        raise TalkingError("--tts-command", expected=expected, found=found, hint=hint) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0 or not data:
        found = f"exit code {process.returncode} and {len(data)} bytes"
        raise TalkingError("--tts-command", expected="exit code 0 and audio", found=found, hint=hint)
    return data


async def fetch_audio(url: str, hosts: tuple[str, ...], max_bytes: int, max_seconds: float) -> bytes:
    """A file of one of the named hosts, over HTTP; redirections are not followed.

    Raises:
        TalkingError: the host is none of them, it does not answer in time, or with too much.
    """
    import aiohttp
    from yarl import URL

    try:
        address = URL(url)
    except ValueError as error:
        raise TalkingError(
            "the audio's address", expected="a URL", found=str(error), hint="Upload the file."
        ) from error
    if address.scheme not in ("http", "https") or address.host not in hosts:
        expected = "http or https and one of: " + ", ".join(hosts) if hosts else "an upload: no host is allowed"
        hint = "Upload the file, or start the server with --audio-hosts."
        raise TalkingError("the audio's address", expected=expected, found="another one", hint=hint)
    timeout = aiohttp.ClientTimeout(total=max_seconds)
    hint = "Check the address, or upload the file."
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False, trust_env=False) as client,
            client.get(address, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise TalkingError("the audio's address", expected="200", found=str(response.status), hint=hint)
            data = bytearray()
            async for piece in response.content.iter_chunked(65536):
                data += piece
                if len(data) > max_bytes:
                    found = "a larger file"
                    raise TalkingError("the audio's address", expected=f"{max_bytes} bytes", found=found, hint=hint)
            return bytes(data)
    except (aiohttp.ClientError, asyncio.TimeoutError) as error:
        found = type(error).__name__
        raise TalkingError("the audio's address", expected="a file", found=found, hint=hint) from error


def _unusable(found: str) -> TalkingError:
    return TalkingError("the audio", expected="a file with speech", found=found, hint=_HINT)
