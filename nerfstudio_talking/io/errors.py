"""The one exception that a user is meant to see."""

from __future__ import annotations


class TalkingError(Exception):
    """Bad input, told in one message.

    Args:
        what: the thing at fault, by name: usually a path.
        expected: what should have been there.
        found: what was there.
        hint: what the user can do about it.
    """

    def __init__(self, what: object, *, expected: str, found: str, hint: str) -> None:
        self.what, self.expected, self.found, self.hint = str(what), expected, found, hint
        super().__init__(f"{what}: expected {expected}; found {found}. {hint}")
