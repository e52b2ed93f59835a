"""The platform's error."""

from __future__ import annotations


class PlatformError(RuntimeError):
    """The platform can't do what was asked; the message says why, what was kept and what to do."""
