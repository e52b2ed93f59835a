"""What people see of a session that ended under them."""

from __future__ import annotations

import psycopg2
import pytest

from ecommerce_dw import db
from ecommerce_dw.settings import Settings


def test_what_ended_a_session_is_seen_and_not_that_it_is_closed(settings: Settings) -> None:
    with (
        pytest.raises(
            psycopg2.OperationalError, match=r"terminating connection|server closed the connection"
        ),
        db.transaction(settings=settings) as cursor,
    ):
        cursor.execute("select pg_terminate_backend(pg_backend_pid())")
