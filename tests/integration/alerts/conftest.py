"""Real receivers: an SMTP server and an HTTP server in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from ecommerce_dw.settings import Settings
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


@pytest.fixture
def make_alerting(
    make_settings: Callable[..., Settings], inbox: Inbox, hook: Hook
) -> Callable[..., Settings]:
    """Makes a warehouse whose alerts go to both receivers."""
    return partial(make_settings, smtp_host="127.0.0.1", smtp_port=inbox.port, alert_webhook_url=hook.url)
