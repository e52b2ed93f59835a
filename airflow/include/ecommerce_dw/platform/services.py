"""Airflow's components as services, each in a container: what has to be done before they start."""

from __future__ import annotations

import time

import psycopg2

from ecommerce_dw.platform import database, orchestrator
from ecommerce_dw.platform.configuration import write_configuration
from ecommerce_dw.platform.dev import make_raw_tables
from ecommerce_dw.settings import PROJECT_DIR, Settings
from ecommerce_dw.transform import begin_with_parse, parse

#: dbt's parse of the project as it was made with the image.
SHIPPED_PARSE = PROJECT_DIR / "dbt" / "target" / "partial_parse.msgpack"


def prepare_services(settings: Settings, *, patience: float = 60.0) -> None:
    """Bring warehouse and metadata to this version of the project, and dbt's parse into the home.

    Args:
        settings: Of this installation.
        patience: Longest wait for each server (s).

    Raises:
        PlatformError: A step failed.
        psycopg2.OperationalError: A server did not answer all that time.
    """
    for server in (settings, settings.metadata):
        _wait_for(server, patience)
    database.prepare(settings)
    write_configuration(settings)
    migration = orchestrator.start_migration(settings)
    make_raw_tables(settings)
    begin_with_parse(SHIPPED_PARSE, settings)
    parse(settings)
    orchestrator.finish_migration(settings, migration)
    connection = orchestrator.register_connection(settings)
    if orchestrator.health(settings)["scheduler"] != "healthy":
        orchestrator.fail_abandoned_runs(settings)
    orchestrator.finish_registration(settings, connection)


def _wait_for(server: Settings, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            database.connect(server, "postgres").close()
            return
        except psycopg2.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
