"""Text from outside, made fit for a terminal, a log and an alert."""

from __future__ import annotations

import re

#: What a reader cannot see or what changes how the rest is shown: control characters, line and paragraph
#: separators, marks of writing direction, and bytes of a file's name that are not UTF-8.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def is_printable(text: str) -> bool:
    """Whether every character of it can be seen."""
    return not _HIDDEN.search(text)


def printable(text: str) -> str:
    """The text with what cannot be seen written as an escape (`\\n`, `\\x1b`, `\\u202e`)."""

    def escaped(found: re.Match[str]) -> str:
        character = found[0]
        if "\udc80" <= character <= "\udcff":  # how Python hands on a byte that is not UTF-8
            return f"\\x{ord(character) - 0xDC00:02x}"
        return character.encode("unicode_escape", "backslashreplace").decode("ascii")

    return _HIDDEN.sub(escaped, text)


def listed(names: list[str], limit: int = 10) -> str:
    """Names for a message: quoted, at most `limit` of them, each cut to 80 characters."""
    shown = ", ".join("'" + printable(name[:80]) + "'" for name in names[:limit])
    return shown + (f" and {len(names) - limit:,} more" if len(names) > limit else "")
