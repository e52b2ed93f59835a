"""`ecommerce-dw status`."""

from __future__ import annotations

import datetime as dt
import json
import sys

import click
import psycopg2

from ecommerce_dw.platform.orchestrator import next_run
from ecommerce_dw.settings import get_settings
from ecommerce_dw.state import read_state


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option(
    "--notify",
    is_flag=True,
    help="Alert people, once, where the nightly run is late; hand over alerts that wait (for cron, beside "
    "Airflow).",
)
def command(as_json: bool, notify: bool) -> None:
    """The state of the warehouse; the first line says whether it is all right.

    OK: what is due is published and nothing needs a person; warnings may be open. ATTENTION: a run is late
    or failed, an incident stops something, a source or one of its entities stays away, or the disk is nearly
    full.

    Exit code 0: OK. 1: ATTENTION. 3: the warehouse does not answer.
    """
    settings = get_settings()
    try:
        state = read_state(settings, dt.datetime.now(dt.UTC), next_run(settings))
    except psycopg2.OperationalError as error:
        click.echo(f"ATTENTION  the warehouse does not answer: {str(error).strip()}", err=True)
        sys.exit(3)
    except psycopg2.errors.UndefinedTable:
        click.echo("ATTENTION  the warehouse has no tables yet: `ecommerce-dw migrate` makes them.", err=True)
        sys.exit(3)
    if notify:
        from ecommerce_dw.alerts import evaluate, send_waiting

        if state.late_run:
            evaluate(settings, "cli__status", late_run=state.late_run)
        else:
            send_waiting(settings)
    if as_json:
        click.echo(json.dumps(state.as_dict(), default=str))
    else:
        click.echo("\n".join(state.lines()))
    sys.exit(1 if state.problems else 0)
