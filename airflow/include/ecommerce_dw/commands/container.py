"""`ecommerce-dw container`: what the containers of docker-compose.yml run."""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path

import click
import psycopg2

from ecommerce_dw.commands.certificates import DAYS
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.settings import get_settings

#: What clients know the servers by: their services' names, and on this machine its own.
_SERVERS = ("warehouse", "airflow-db", "localhost", "127.0.0.1")
_COMPONENTS = click.Choice(["api-server", "scheduler", "dag-processor", "triggerer", "worker"])


@click.group()
def command() -> None:
    """What the containers of docker-compose.yml run; use them through ./deploy.sh."""


@command.command()
def init() -> None:
    """Bring both databases to this version: what has to be done before the components start."""
    from ecommerce_dw.platform.services import prepare_services

    try:
        prepare_services(get_settings())
    except (PlatformError, psycopg2.OperationalError) as error:
        raise click.ClickException(str(error).strip()) from error


@command.command()
def certificates() -> None:
    """Make the certificate of both databases' servers, where there is none."""
    from ecommerce_dw.platform.certificates import make_certificates, read_certificates

    folder = get_settings().home / "certificates"
    try:
        if read_certificates(folder) is None:
            make_certificates(folder, _SERVERS, DAYS)
    except (PlatformError, OSError) as error:
        raise click.ClickException(str(error)) from error


@command.command()
@click.argument("component", type=_COMPONENTS)
def start(component: str) -> None:
    """Become a component of Airflow, configured by the settings."""
    from ecommerce_dw.platform.configuration import program_environment, write_configuration
    from ecommerce_dw.platform.orchestrator import airflow_command

    settings = get_settings()
    write_configuration(settings)
    _started_file().write_text(component)
    arguments = airflow_command(settings, component)
    os.execve(arguments[0], arguments, program_environment(settings))


@command.command()
@click.option(
    "--since", type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ"]), required=True, help="Start of the roll, UTC."
)
@click.option("--first", is_flag=True, help="Of the first deployment: the pipeline's schedule begins.")
def verify(since: dt.datetime, first: bool) -> None:
    """What a production deployment ends with: DAG files that can be read, and the smoke test."""
    from ecommerce_dw.platform.orchestrator import set_paused, wait_for_files
    from ecommerce_dw.platform.smoke import smoke_test

    settings = get_settings()
    try:
        if not wait_for_files(settings, since.replace(tzinfo=dt.UTC)):
            raise PlatformError("The dag-processor did not read the pipeline's file.")
        smoke = smoke_test(settings)
        if first:
            set_paused(settings, False)
    except PlatformError as error:
        raise click.ClickException(str(error).strip()) from error
    click.echo(f"✔ {smoke}")


@command.command()
def healthy() -> None:
    """Exit with 0 when what this container has become is at work, else say why not and exit with 1."""
    from ecommerce_dw.platform.health import problem_of

    file = _started_file()
    if file.exists() and (problem := problem_of(get_settings(), file.read_text())):
        click.echo(problem, err=True)
        sys.exit(1)


def _started_file() -> Path:
    # In a container's own memory, not in the volume that all share.
    from ecommerce_dw.platform.configuration import airflow_home

    return airflow_home(get_settings()) / "component"
