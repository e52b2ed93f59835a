"""Real receivers: an SMTP server and an HTTP server in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.receivers import Hook, Inbox, receiving_mail, receiving_posts


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """A real SMTP receiver."""
    with receiving_mail() as box:
        yield box


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A real HTTP receiver."""
    with receiving_posts() as receiver:
        yield receiver
