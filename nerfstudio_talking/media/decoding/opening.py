"""Opening media files, with one clear message where that fails."""

from __future__ import annotations

from pathlib import Path

import av
import av.container
import av.error
from av.video.stream import VideoStream

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.writing import has_video, video_stream_of

CONVERT = "Convert it, for instance to mp4 with H.264 and AAC, or export it again."


def open_media(path: Path | str) -> av.container.InputContainer:
    """Open a file for reading.

    Raises:
        TalkingError: no such file, a folder, an empty file, or not media.
    """
    path = Path(path)
    expected = "a video or audio file"
    if not path.exists():
        raise TalkingError(path, expected=expected, found="no such file", hint="Check the path.")
    if not path.is_file():
        raise TalkingError(path, expected=expected, found="a folder", hint="Name the file in it.")
    if path.stat().st_size == 0:
        raise TalkingError(path, expected=expected, found="an empty file", hint="Copy it again.")
    try:
        # a relative name such as 12:30.mp4 would be taken for a protocol; tags may be in any encoding
        return av.open(str(path.absolute()), metadata_errors="replace")
    except (av.error.FFmpegError, OSError) as error:
        raise unreadable(path, error) from error


def video_stream(container: av.container.InputContainer, path: Path | str) -> VideoStream:
    """The video stream; cover art does not count.

    Raises:
        TalkingError: there is none, or its codec is not known.
    """
    if not has_video(container):
        raise TalkingError(path, expected="a video", found="no video stream", hint="Give a video of one person.")
    stream = video_stream_of(container)
    if stream.codec_context is None:
        raise TalkingError(path, expected="a video that can be decoded", found="an unknown codec", hint=CONVERT)
    return stream


def unreadable(path: Path | str, error: Exception) -> TalkingError:
    """The error for a file that cannot be decoded."""
    reason = getattr(error, "strerror", None) or str(error)
    return TalkingError(path, expected="a readable video or audio file", found=reason, hint=CONVERT)
