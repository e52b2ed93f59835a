"""One shop, on a server of its own that may be killed, for all runs that are broken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ecommerce_dw.platform.postgres import EmbeddedPostgres, free_port, reachable_folder
from tests.faults.runs.shop import Shop, own_shop


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop, made once."""
    folder = tmp_path_factory.mktemp("faults")
    # The machine stays up: what the server has handed to it, as it does before a commit ends, is not lost.
    settings = (("fsync", "off"), ("full_page_writes", "off"), ("synchronous_commit", "on"))
    server = EmbeddedPostgres(reachable_folder(folder / "server"), free_port(), settings=settings)
    with own_shop(server, folder) as shop:
        yield shop


@pytest.fixture
def shop(undisturbed: Shop) -> Shop:
    """The shop before the run that is to be broken."""
    undisturbed.wait_for_server()
    undisturbed.reset()
    return undisturbed
