"""The exception for bad input, whose message is meant for the user."""

from __future__ import annotations


class TalkingError(Exception):
    """Bad input, described in one message.

    Args:
        what: name of the thing at fault, usually a path or an option.
        expected: what should have been there.
        found: what was there.
        hint: what the user can do about it, as a sentence.
    """

    def __init__(self, what: object, *, expected: str, found: str, hint: str) -> None:
        self.what, self.expected, self.found, self.hint = str(what), expected, found, hint
        super().__init__(f"{what}: expected {expected}; found {found}. {hint}")
