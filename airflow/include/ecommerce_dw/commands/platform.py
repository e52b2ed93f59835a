"""`ecommerce-dw platform`: what `./deploy.sh` hands its commands to."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import click
import psycopg2
from pydantic import ValidationError
from rich.console import Console

from ecommerce_dw.commands import certificates
from ecommerce_dw.db import LockHeldError
from ecommerce_dw.platform import database, orchestrator, processes
from ecommerce_dw.platform.broker import socket_file
from ecommerce_dw.platform.configuration import (
    as_started,
    foreign_names,
    own_variables,
    program_environment,
    program_path,
    write_configuration,
)
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.platform.postgres import PostgresError, binaries_dir
from ecommerce_dw.settings import SecretFileError, Settings, get_settings, is_url, read_settings
from ecommerce_dw.state import State, headline, read_state

if TYPE_CHECKING:
    from ecommerce_dw.platform.preflight import Finding


class _ComponentStatus(TypedDict):
    health: str
    pid: int | None
    port: int | None


class _RunStatus(TypedDict):
    run_id: str
    state: str
    seconds: float | None
    started_at: dt.datetime | None


class _Status(TypedDict):
    is_ok: bool
    problems: list[str]
    is_healthy: bool
    components: dict[str, _ComponentStatus]
    databases: dict[str, int]
    runs: list[_RunStatus]
    warehouse: dict[str, Any] | None


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Show the errors a person can act on without a traceback."""
    try:
        yield
    except (PlatformError, PostgresError, SecretFileError, LockHeldError, psycopg2.OperationalError) as error:
        raise click.ClickException(str(error).strip()) from error
    except KeyboardInterrupt:
        click.echo(
            "\nInterrupted. What runs goes on running: ./deploy.sh dev goes on from here, "
            "./deploy.sh stop ends it.",
            err=True,
        )
        sys.exit(130)


class _LandingAddress(click.Path):
    """A folder that is there, or the URL of a bucket."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if is_url(value) else super().convert(value, param, ctx)


@click.group()
def command() -> None:
    """Start and stop the platform; use it through ./deploy.sh."""


command.add_command(certificates.command, "certificates")


@command.command()
@click.option("--days", type=click.IntRange(min=1), help="Days of the sample.")
@click.option("--end", type=click.DateTime(["%Y-%m-%d"]), help="Last day of the sample.")
@click.option("--scale", type=click.FloatRange(min=0, min_open=True), help="Size of the sample shop.")
@click.option("--seed", type=click.IntRange(min=0), help="Another seed is another shop.")
@click.option("--source", help="ecommerce, online_retail or all.")
@click.option(
    "--landing",
    type=_LandingAddress(exists=True, file_okay=False, resolve_path=True),
    help="Landing folder of the chosen source, or s3://bucket/prefix.",
)
@click.option("--no-ui", is_flag=True, help="Without the web UI.")
@click.option("--workers", type=click.IntRange(min=0), help="Celery workers that run the tasks.")
def dev(
    days: int | None,
    end: dt.datetime | None,
    scale: float | None,
    seed: int | None,
    source: str | None,
    landing: str | None,
    no_ui: bool,
    workers: int | None,
) -> None:
    """From an environment to a running platform with results."""
    with _errors():  # around the imports, too: they take long enough to be interrupted
        from ecommerce_dw.platform.dev import DevRequest, only_one
        from ecommerce_dw.platform.dev import dev as bring_up
        from ecommerce_dw.platform.sample import SampleRequest

        settings = get_settings()
        if workers is not None and settings.has_own_airflow:
            settings = settings.model_copy(update={"airflow_workers": workers})
        if source not in (None, "all"):
            known = sorted(path.name for path in settings.contracts_dir.iterdir() if path.is_dir())
            if source not in known:
                raise click.UsageError(f"There is no source {source}; there are {', '.join(known)} and all.")
        if landing and source == "all":
            raise click.UsageError(
                "--landing names where one source's files lie: give that source with --source, or set "
                "LANDING_<SOURCE> for each in .env."
            )
        sample = SampleRequest(days, end.date() if end else None, seed, scale)
        request = DevRequest(source, landing, sample, not no_ui)
        with only_one(settings):
            bring_up(settings, request, Console())


@command.command()
@click.option("--check", "is_check", is_flag=True, help="The preflight alone.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.option("--rollback", "is_rollback", is_flag=True, help="Back to the release before.")
@click.option("--upgrade-airflow", is_flag=True, help="Migrate Airflow's metadata, in a standstill.")
def prod(is_check: bool, as_json: bool, is_rollback: bool, upgrade_airflow: bool) -> None:
    """Bring this release into service, or say everything that stands against it."""
    with _errors():
        from ecommerce_dw.platform import production
        from ecommerce_dw.platform.preflight import invalid_settings, preflight

        try:
            settings = read_settings()
        except ValidationError as error:
            _show_findings(invalid_settings(error), as_json=as_json)
            return
        console = Console(stderr=as_json)
        if is_check:
            findings = preflight(settings, may_migrate_airflow=upgrade_airflow)
            _show_findings(findings, as_json=as_json)
            return
        try:
            if is_rollback:
                done = production.roll_back(settings, console)
            else:
                done = production.deploy(settings, console, may_migrate_airflow=upgrade_airflow)
        except production.RefusedError as refused:
            _show_findings(refused.findings, as_json=as_json)
            return
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(done), indent=2))
        return
    for finding in done.findings:
        click.echo(_finding_text(finding))
    came_from = f" (before: {done.before})" if done.before and done.before != done.release else ""
    click.echo(f"{done.release} is in service{came_from}.")


def _show_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print them all; exit code 1 when one of them is an error."""
    errors = sum(finding.level == "error" for finding in findings)
    if as_json:
        shown = {"is_ok": not errors, "findings": [finding.as_dict() for finding in findings]}
        click.echo(json.dumps(shown, indent=2))
    else:
        for finding in findings:
            click.echo(_finding_text(finding))
        click.echo(f"{errors} errors, {len(findings) - errors} warnings. Nothing was changed.")
    if errors:
        sys.exit(1)


def _finding_text(finding: Finding) -> str:
    return (
        f"{finding.level.upper():<8} {finding.check}: {finding.problem}\n"
        f"         where: {finding.where}\n"
        f"         do:    {finding.advice}"
    )


@command.command()
@click.option("--quiet", is_flag=True, help="Say nothing.")
def stop(quiet: bool) -> None:
    """Stop everything."""
    from ecommerce_dw.platform.dev import only_one

    settings = get_settings()
    with _errors(), only_one(settings, take_over=True):
        stopped = _stop(settings)
    if not quiet:
        click.echo(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.")


@command.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def status(as_json: bool) -> None:
    """Is it all right? What runs, and the state of the warehouse in ten lines."""
    with _errors():
        settings = _settings_in_use()
        state = _warehouse_state(settings)
        report = _status(settings, state)
    if as_json:
        click.echo(json.dumps(report, indent=2, default=str))
    else:
        click.echo("\n".join(_status_lines(report, state)))
    if not report["is_ok"]:
        sys.exit(1)


def _status_lines(report: _Status, state: State | None) -> Iterator[str]:
    verdict, text = headline(tuple(report["problems"]), (), "")
    lines = state.lines() if state else [f"{'':<11}"]
    yield f"{verdict:<11}{text}" if report["problems"] else lines[0]
    parts = report["components"]
    well = [
        f"{name} ({part['port']})" if part["port"] else name for name, part in parts.items() if _is_well(part)
    ]
    yield f"{'running':<11}{', '.join(well) or 'nothing'}"
    for name, part in parts.items():
        if not _is_well(part):
            yield f"{name:<15}{part['health']}"
    yield from lines[1:]


def _is_well(part: _ComponentStatus) -> bool:
    return part["health"] in ("healthy", "external")


def _warehouse_state(settings: Settings) -> State | None:
    """The state of the warehouse; None where it does not answer, or has no tables yet."""
    try:
        return read_state(settings, dt.datetime.now(dt.UTC), orchestrator.next_run(settings))
    except (psycopg2.OperationalError, psycopg2.errors.UndefinedTable):
        return None


@command.command()
def env() -> None:
    """Print the shell variables for airflow, dbt, psql and ecommerce-dw."""
    with _errors():
        settings = _settings_in_use()
        _need_configuration(settings)
    for name in foreign_names():
        click.echo(f"unset {name}")
    # libpq prefers this one to the password file, which knows every role.
    click.echo("unset PGPASSWORD")
    for name, value in own_variables(settings).items():
        click.echo(f"export {name}={shlex.quote(value)}")
    path = os.pathsep.join(shlex.quote(folder) for folder in program_path())
    click.echo(f'export PATH={path}{os.pathsep}"$PATH"')


@command.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED)
def run(arguments: tuple[str, ...]) -> None:
    """Run one command in the platform's environment."""
    with _errors():
        settings = _settings_in_use()
        _need_configuration(settings)
    _execute(list(arguments), settings)


@command.command(
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": [],
    }
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> None:
    """PostgreSQL's shell on the warehouse, as its owner."""
    with _errors():
        settings = _settings_in_use()
        _need_configuration(settings)
        program = str(binaries_dir() / "psql")
        if not settings.is_embedded and (system := shutil.which("psql")):
            program = system  # the embedded one is built without TLS, which another server may ask for
    _execute([program, *arguments], settings)


@command.command()
@click.argument("component", required=False)
@click.option("--follow", "-f", is_flag=True, help="Keep showing what is added.")
@click.option("--lines", "-n", type=click.IntRange(min=0), default=50, help="Lines to begin with.")
def logs(component: str | None, follow: bool, lines: int) -> None:
    """Show the logs of a component."""
    settings = get_settings()
    known = ["postgres", *orchestrator.component_names(settings)]
    if component and component not in known:
        raise click.UsageError(f"There is no component {component}; there are {', '.join(known)}.")
    names = [component] if component else known
    files = {name: _log(settings, name) for name in names}
    for name, file in files.items():
        for line in processes.tail(file, lines):
            click.echo(line if component else f"{name:<14} {line}")
    if not any(file.exists() for file in files.values()):
        raise click.ClickException(f"There are no logs in {settings.home / 'logs'} yet.")
    if follow:
        _follow(files, is_single=component is not None)


@command.command(context_settings={"ignore_unknown_options": True})
@click.option("--all", "with_slow", is_flag=True, help="The slow tests too.")
@click.option("--long", "with_long", is_flag=True, help="Every test, the long ones too.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def test(with_slow: bool, with_long: bool, arguments: tuple[str, ...]) -> None:
    """Lint, type checks and tests."""
    from ecommerce_dw.platform.checks import run_checks

    markers = "" if with_long else "not long" if with_slow else "not slow and not long"
    sys.exit(run_checks(get_settings(), markers, arguments))


@command.command()
@click.argument("folder", required=False, metavar="[DIR]", type=click.Path(path_type=Path, resolve_path=True))
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def backup(folder: Path | None, as_json: bool) -> None:
    """Take a backup of the warehouse, Airflow's metadata and the journal of decisions."""
    from ecommerce_dw.platform.backup import back_up, running_server

    with _errors(), Console(stderr=True).status("Taking a backup …"):
        settings = _settings_in_use()
        with running_server(settings):
            taken = back_up(settings, folder)
    if as_json:
        click.echo(json.dumps(taken.as_dict(), indent=2))
        return
    rows = sum(table.rows for part in taken.manifest.databases.values() for table in part.tables)
    click.echo(
        f"{taken.folder}: {taken.bytes / 1e6:.1f} MB, {rows:,} rows in {', '.join(taken.manifest.databases)}."
    )
    click.echo(
        "Not in it, to be kept elsewhere: the landing zone, .env with its secrets, and of the home "
        "secrets.json (Airflow's Fernet key) and erasure (the key of who was forgotten)."
    )


@command.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, resolve_path=True))
@click.option("--yes", is_flag=True, help="Really replace what is there.")
@click.option("--drop-old", is_flag=True, help="Drop what was replaced, in place of keeping it.")
def restore(folder: Path, yes: bool, drop_old: bool) -> None:
    """Put a backup in place of the warehouse and Airflow's metadata."""
    from ecommerce_dw.platform.restore import restore as put_back

    with _errors():
        settings = database.at_running_port(get_settings())
        done = put_back(settings, folder, Console(), is_agreed=yes, drop_old=drop_old)
    click.echo(
        f"Restored as of {done.backup.manifest.taken_at}: {done.tables} tables, {done.rows:,} rows, every "
        f"fingerprint the backup's. Migration {done.migrated_to}."
    )
    for name, kept in done.kept.items():
        click.echo(f"The former {name} is kept as {kept}; drop it when you no longer need it.")
    if done.dropped:
        click.echo(f"Dropped: the former {', '.join(done.dropped)}.")
    if not done.has_metadata:
        click.echo("Airflow's metadata are not in this backup, and were left as they are.")
    if done.decisions_added:
        click.echo(f"The journal of decisions has {done.decisions_added} lines more, from the backup.")
    if done.later_decisions:
        click.echo(
            f"{done.later_decisions} decisions about files were made after this backup. They are in the "
            "journal; where `ecommerce-dw status` names such a file again, take them again."
        )
    click.echo(f"{_starts(settings)} goes on; the next run loads the files that came after the backup.")


@command.command()
@click.option("--yes", is_flag=True, help="Really delete.")
def reset(yes: bool) -> None:
    """Stop, and delete the data this platform made."""
    from ecommerce_dw.platform.dev import only_one

    settings = get_settings()
    if (settings.home / "current").is_symlink():
        raise click.ClickException(
            f"{settings.home} is a production installation, and reset deletes data. Nothing was changed. "
            f"When that is meant, ./deploy.sh stop and delete {settings.home} yourself."
        )
    made = [settings.home / name for name in _MADE]
    if not yes:
        there = "\n".join(f"  {path}" for path in made if path.exists() or path.is_symlink())
        raise click.ClickException(f"This deletes:\n{there}\nSay so with ./deploy.sh reset --yes.")
    with _errors(), only_one(settings, take_over=True):
        _stop(settings)
        if settings.is_embedded:
            database.embedded(settings).remove()
        for path in made:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    click.echo("Deleted. ./deploy.sh dev starts over.")
    if not settings.is_embedded:
        click.echo(
            f"The databases {settings.warehouse_db} and {settings.airflow_db} on {settings.host} were left "
            "as they are: drop them there to start over."
        )


#: What the platform makes in its home, but for the virtual environment and the caches.
_MADE = (
    "postgres",
    "airflow",
    "logs",
    "landing",
    "dbt",
    "data_docs",
    "redis",
    "run",
    "secrets.json",
    "sample.json",
    "landing.env",
)


def _settings_in_use() -> Settings:
    """The settings with the ports that things listen on now: they may have been set for `dev` alone."""
    return database.at_running_port(as_started(get_settings()))


def _stop(settings: Settings) -> list[str]:
    names = [name for name in orchestrator.component_names(settings) if name != "redis"]
    stopped = processes.stop(settings.home, names)
    stopped += processes.stop(settings.home, ["redis"])  # the workers' last words go through it
    shutil.rmtree(socket_file(settings).parent, ignore_errors=True)
    if settings.is_embedded:
        server = database.embedded(settings)
        if server.is_running():
            server.stop()
            stopped.append("postgres")
    return stopped


def _ending_certificate(settings: Settings) -> Iterator[str]:
    """That the server's certificate ends soon, where it was made here."""
    from ecommerce_dw.platform.certificates import read_certificates

    if settings.is_embedded:
        return
    with contextlib.suppress(PlatformError):  # of a broken file the preflight tells
        made = read_certificates(settings.home / "certificates")
        if made is not None and made.ends_soon:
            day = f"{made.server_until:%Y-%m-%d}"
            yield f"the server's certificate ends {day}: ./deploy.sh certificates makes a new one"


def _status(settings: Settings, state: State | None) -> _Status:
    components: dict[str, _ComponentStatus] = {}
    databases: dict[str, int] = {}
    if settings.is_embedded:
        pid = database.embedded(settings).pid()
        server = "stopped" if pid is None else "healthy"
    else:
        pid, server = None, "external"
    try:
        databases = database.database_sizes(settings)
    except psycopg2.OperationalError as error:
        if server != "stopped":
            server = "no answer"
            click.echo(str(error).strip(), err=True)
    components["postgres"] = {"health": server, "pid": pid, "port": int(settings.address.rpartition(":")[2])}
    health = orchestrator.health(settings)
    running = orchestrator.running(settings)
    for name in orchestrator.component_names(settings):
        started = running.get(name)
        components[name] = {
            "health": health[name],
            "pid": started.pid if started else None,
            "port": settings.airflow_port if name == "api-server" else None,
        }
    ill = [f"{name} is {part['health']}" for name, part in components.items() if not _is_well(part)]
    problems = [f"{', '.join(ill)}: {_starts(settings)} starts what is down"] if ill else []
    problems += state.problems if state else []
    problems += _ending_certificate(settings)
    return {
        "is_ok": not problems,
        "problems": problems,
        "is_healthy": not ill,
        "components": components,
        "databases": databases,
        "runs": [
            {"run_id": run.run_id, "state": run.state, "seconds": run.seconds, "started_at": run.started_at}
            for run in orchestrator.dag_runs(settings)
        ],
        "warehouse": state.as_dict() if state else None,
    }


def _starts(settings: Settings) -> str:
    return f"./deploy.sh {'prod' if settings.is_production else 'dev'}"


def _log(settings: Settings, name: str) -> Path:
    if name == "postgres":
        return database.embedded(settings).log_file
    return processes.log_file(settings.home, name)


def _follow(files: dict[str, Path], *, is_single: bool) -> None:
    places = {name: file.stat().st_size if file.exists() else 0 for name, file in files.items()}
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            for name, file in files.items():
                if not file.exists():
                    continue
                if file.stat().st_size < places[name]:
                    places[name] = 0  # set aside and begun anew
                with file.open("rb") as log:
                    log.seek(places[name])
                    added = log.read()
                whole = added.rfind(b"\n") + 1
                places[name] += whole
                for line in added[:whole].decode(errors="replace").splitlines():
                    click.echo(line if is_single else f"{name:<14} {line}")
            time.sleep(0.3)


def _need_configuration(settings: Settings) -> None:
    if not settings.has_own_airflow:
        write_configuration(settings)  # each container has its own
    if not (settings.home / "airflow" / "airflow.cfg").exists():
        raise PlatformError("The platform was not set up yet. Run ./deploy.sh dev first.")


def _execute(arguments: list[str], settings: Settings) -> None:
    environment = program_environment(settings)
    try:
        os.execvpe(arguments[0], arguments, environment)
    except FileNotFoundError:
        click.echo(f"There is no program {arguments[0]}.", err=True)
        sys.exit(127)
    except PermissionError:
        click.echo(f"{arguments[0]} can't be executed.", err=True)
        sys.exit(126)
