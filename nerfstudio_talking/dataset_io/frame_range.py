"""Frame ranges of the command line: A:B, like a Python slice."""

from __future__ import annotations

from nerfstudio_talking.io.errors import TalkingError


def parse_frame_range(text: str | None, num_frames: int | None = None) -> tuple[int, int | None]:
    """Start and stop of a range 'A:B', 'A:' or ':B'; all frames for None.

    Raises:
        TalkingError: the text is not a range, or the range is empty.
    """
    if text is None:
        return 0, num_frames
    hint = "Write --frames A:B: from frame A up to, not including, frame B."
    head, colon, tail = text.partition(":")
    if not colon or not all(part.strip().isdigit() or part.strip() == "" for part in (head, tail)):
        raise TalkingError(f"--frames {text}", expected="A:B", found="something else", hint=hint)
    start, stop = int(head or 0), int(tail) if tail.strip() else num_frames
    if stop is not None and num_frames is not None:
        stop = min(stop, num_frames)
    if stop is not None and start >= stop:
        found = f"none (the clip has {num_frames})" if num_frames is not None else "none"
        raise TalkingError(f"--frames {text}", expected="at least one frame", found=found, hint=hint)
    return start, stop
