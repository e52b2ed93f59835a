"""`./deploy.sh dev`: from an environment to a running platform with results on the screen."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ecommerce_dw import db
from ecommerce_dw.migrations import migrate
from ecommerce_dw.platform import database, orchestrator
from ecommerce_dw.platform.configuration import DAG_ID, write_configuration
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.platform.orchestrator import DagRun, TaskState
from ecommerce_dw.platform.sample import (
    SOURCE,
    Sample,
    SampleRequest,
    generate_sample,
    remember_landing,
)
from ecommerce_dw.platform.screen import Screen
from ecommerce_dw.platform.summary import Summary, read_summary
from ecommerce_dw.settings import NoLandingFolderError, Settings, is_url


@dataclass(frozen=True)
class DevRequest:
    """What `dev` was asked for.

    Attributes:
        source: `ecommerce`, `online_retail` or `all`; None when it was not said.
        landing: Landing folder or bucket of that source, to be remembered.
        sample: Of the generated shop.
        has_ui: Whether the web UI is served.
    """

    source: str | None
    landing: str | None
    sample: SampleRequest
    has_ui: bool


def dev(settings: Settings, request: DevRequest, console: Console) -> None:
    """Bring the platform up, give it data, run the pipeline once where there is something to do, sum up.

    Raises:
        PlatformError: A step failed, or the pipeline did; everything done before is kept.
    """
    screen = Screen(console)
    if request.landing is not None:
        source = request.source or SOURCE
        remember_landing(settings, source, request.landing)
    with screen.step("PostgreSQL") as result:
        if settings.is_embedded:
            database.embedded(settings).start()
        version = database.prepare(settings)
        configuration = write_configuration(settings)
        kind = "embedded " if settings.is_embedded else ""
        result.append(f"{kind}PostgreSQL {version} on {settings.address}")
    if settings.has_own_airflow:
        migration = orchestrator.start_migration(settings)
        with screen.step("Schemas, ledger and roles"):
            make_raw_tables(settings)
    sample: Sample | None = None
    if request.source in (None, SOURCE, "all") and _takes_sample(settings, request):
        sample = _make_sample(settings, request, screen)
    # Looked at before Airflow is started, which takes longer.
    landed = _look_at_landing(settings, request, screen) if sample is None else sample.last
    with screen.step("Airflow") as result:
        started = []
        if settings.has_own_airflow:
            started = _start_airflow(settings, request, configuration, migration)
        orchestrator.wait_until_healthy(settings)
        orchestrator.wait_for_dag(settings)
        result.append(
            f"Airflow: {', '.join(started)} started" if started else "Airflow: everything runs already"
        )
    run = _run_pipeline(settings, request, landed, screen)
    _print_summary(settings, request, run, console)
    console.print(f"\n[dim]Done in {time.monotonic() - screen.began:.0f} s.[/dim]")


def _start_airflow(
    settings: Settings, request: DevRequest, configuration: str, migration: subprocess.Popen[bytes] | None
) -> list[str]:
    """Bring Airflow's metadata up to date and start what does not run; the names of what was started."""
    orchestrator.finish_migration(settings, migration)
    connection = orchestrator.register_connection(settings)
    if "scheduler" not in orchestrator.running(settings):
        # A scheduler that comes up unpaused would run before we ask it to; what a killed
        # `airflow dags test` left behind it would adopt and execute.
        orchestrator.set_paused(settings, True)
        orchestrator.fail_abandoned_runs(settings)
    started = orchestrator.start_components(settings, configuration, has_ui=request.has_ui)
    orchestrator.finish_registration(settings, connection)
    return started


@contextlib.contextmanager
def only_one(settings: Settings, *, take_over: bool = False) -> Iterator[None]:
    """Keep two commands that change the platform apart.

    Args:
        settings: Of this installation.
        take_over: End a `dev` that is at work (as `stop` does) in place of giving up.

    Raises:
        PlatformError: Another one is at work; the message names its process.
    """
    path = settings.home / "run" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        deadline = time.monotonic() + 30
        asked = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip()
                if not take_over or not holder or time.monotonic() > deadline:
                    raise PlatformError(
                        f"Another ./deploy.sh (process {holder or 'unknown'}) is at work in "
                        f"{settings.home}. Wait for it, or end it with ./deploy.sh stop."
                    ) from None
                if not asked:
                    # It holds the lock of this very home, so the number can't be another program's.
                    os.kill(int(holder), signal.SIGINT)
                    asked = True
                time.sleep(0.1)
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            file.seek(0)
            file.truncate()


def make_raw_tables(settings: Settings) -> None:
    """Bring the warehouse's schemas, roles and raw tables to this version of the project."""
    from ecommerce_dw.contracts.reader import read_contracts
    from ecommerce_dw.loading.ddl import ensure_tables

    migrate(settings)
    database.set_role_passwords(settings)
    contracts = read_contracts(settings.contracts_dir)
    connection = db.connect("loader", settings=settings)
    try:
        ensure_tables(
            connection,
            [each for entities in contracts.values() for each in entities.values()],
            owner=lambda: db.connect("owner", settings=settings),
        )
    finally:
        connection.close()


def _look_at_landing(settings: Settings, request: DevRequest, screen: Screen) -> dt.date | None:
    """The greatest date that landed of a source that is not the sample; None where all are asked for.

    Raises:
        PlatformError: There is nothing, or the landing zone cannot be reached.
    """
    if request.source == "all":
        return None
    source = request.source or SOURCE
    address = settings.landing_address(source)
    with screen.step("Landing zone") as result:
        date = _greatest_landed_date(settings, source)
        if date is None:
            raise PlatformError(
                f"There are no files of source {source} in {address}. Give its folder or bucket with "
                f"--landing (or the setting LANDING_{source.upper()})."
            )
        result.append(f"Landing zone {address}: files up to {date}")
    return date


def _greatest_landed_date(settings: Settings, source: str) -> dt.date | None:
    from ecommerce_dw.contracts.reader import read_contracts
    from ecommerce_dw.loading.discover import discover
    from ecommerce_dw.loading.landing import LandingError, landing_of

    try:
        zone = discover(landing_of(settings, source), read_contracts(settings.contracts_dir)[source])
    except LandingError as error:
        raise PlatformError(str(error)) from error
    return max(filter(None, (file.business_date for file in zone.files)), default=None)


def _takes_sample(settings: Settings, request: DevRequest) -> bool:
    """Whether the sample shop is the source's data: not so where its files come from a bucket.

    Raises:
        PlatformError: A sample was asked for all the same.
    """
    try:
        settings.landing(SOURCE)
    except NoLandingFolderError as error:
        if request.sample == SampleRequest():
            return False
        raise PlatformError(
            f"{error} The sample shop goes into a folder alone: leave its options out, or unset "
            f"LANDING_{SOURCE.upper()}. Nothing was changed."
        ) from error
    return True


def _make_sample(settings: Settings, request: DevRequest, screen: Screen) -> Sample:
    today = dt.datetime.now(dt.UTC).date()
    with screen.step("Sample data") as result:

        def show(day: dt.date, done: int, total: int) -> None:
            if done % 10 == 0 or done == total:
                screen.progress(f"Sample data: {day} ({done} of {total} days)")

        sample, added = generate_sample(settings, request.sample, today, show)
        if added:
            _pending_file(settings).touch()
        said = (
            f"Sample shop {sample.opening} to {sample.last}: {added or 'no'} days added (seed {sample.seed}, "
            f"scale {sample.scale:g})"
        )
        if not sample.can_go_on:
            said += (
                ". An earlier version of the simulator made it: it gets no more days; `./deploy.sh reset "
                "--yes`, then `dev`, makes a new one"
            )
        result.append(said)
    return sample


def _run_pipeline(settings: Settings, request: DevRequest, landed: dt.date | None, screen: Screen) -> DagRun:
    """Run the pipeline where there is something to do; the run that tells how things are.

    Args:
        landed: The greatest date that landed, where it is known.
    """
    active = next((run for run in orchestrator.dag_runs(settings) if run.is_active), None)
    if active is not None:
        # An interrupted dev's run, or the schedule's: it goes on, and we with it.
        orchestrator.set_paused(settings, False)
        screen.console.print(
            f"The run {active.run_id} is going already; following it.", highlight=False, soft_wrap=True
        )
        _follow(settings, active.run_id, screen)
    interval = orchestrator.last_interval(dt.datetime.now(dt.UTC))
    last = next(iter(orchestrator.dag_runs(settings, limit=1)), None)
    is_wanted = (
        last is None
        or last.state != "success"
        or _pending_file(settings).exists()
        or request.source not in (None, SOURCE)
        or is_url(settings.landing_address(SOURCE))  # whether more came is for the run to see
        or request.landing is not None
    )
    if is_wanted:
        run_id = f"dev__{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%S}"
        parameters = _parameters(request, landed, interval.date())
        # The first run takes the schedule's last interval, before the schedule is unpaused: so the
        # scheduler finds that interval done and the two are one run.
        is_first = orchestrator.find_run(settings, logical_date=interval) is None
        if not is_first and landed is not None:
            parameters["business_date"] = landed.isoformat()
        with screen.step("Asking the scheduler for a run") as result:
            orchestrator.trigger(
                settings, run_id, logical_date=interval if is_first else None, parameters=parameters
            )
            result.append(f"Run {run_id} of {DAG_ID} given to the scheduler")
        orchestrator.set_paused(settings, False)
        last = _follow(settings, run_id, screen)
        _pending_file(settings).unlink(missing_ok=True)
    orchestrator.set_paused(settings, False)
    assert last is not None
    return last


def _parameters(request: DevRequest, landed: dt.date | None, interval_date: dt.date) -> dict[str, object]:
    parameters: dict[str, object] = {}
    if request.source not in (None, "all"):
        parameters["source"] = request.source
    if landed is not None and landed != interval_date:
        parameters["business_date"] = landed.isoformat()
    return parameters


def _follow(settings: Settings, run_id: str, screen: Screen) -> DagRun:
    console = screen.console
    ended: dict[str, TaskState] = {}
    marks = {"success": "[green]✔[/green]", "up_for_retry": "[yellow]↻[/yellow]", "skipped": "[dim]-[/dim]"}
    with console.status("Waiting for the scheduler …") as status:

        def show(task: TaskState) -> None:
            ended[task.task_id] = task
            seconds = "" if task.seconds is None else f" [dim]{task.seconds:.1f} s[/dim]"
            state = "" if task.state == "success" else f" {task.state}"
            console.print(
                f"  {marks.get(task.state or '', '[red]✘[/red]')} {task.task_id}{state}{seconds}",
                highlight=False,
                soft_wrap=True,
            )
            if task.state == "up_for_retry":
                text = orchestrator.failure_text(settings, run_id, task, lines=6)
                console.print(_indented(text), style="dim", highlight=False, soft_wrap=True, markup=False)

        def look(tasks: list[TaskState]) -> None:
            going = [task.task_id for task in tasks if task.state == "running"]
            status.update(f"{', '.join(going) or 'Waiting for the scheduler'} …")

        run = orchestrator.watch(settings, run_id, on_change=show, on_tick=look)
    if run.state == "success":
        return run
    failed = [task for task in orchestrator.task_states(settings, run_id) if task.state == "failed"]
    parts = [f"The run {run_id} failed."]
    for task in failed:
        text = orchestrator.failure_text(settings, run_id, task)
        parts.append(f"Task {task.task_id} failed; its log ends:\n{_indented(text)}")
    parts.append(
        "The schema marts stays as it was, and the platform goes on running. The page of the DAG "
        f"({settings.airflow_base_url}/dags/{DAG_ID}) says what to do when each task fails; when the cause "
        "is mended, run ./deploy.sh dev again."
    )
    raise PlatformError("\n".join(parts))


def _print_summary(settings: Settings, request: DevRequest, run: DagRun, console: Console) -> None:
    summary = read_summary(settings, run.run_id)
    console.print()
    for name, value in _summary_lines(summary, run):
        console.print(f"  {name:<14} {value}", highlight=False, soft_wrap=True, markup=False)
    for shop, numbers in summary.business.items():
        console.print(f"\n  [bold]{shop}[/bold]", highlight=False, soft_wrap=True)
        for name, value in numbers.items():
            console.print(f"  {name:<26} {value}", highlight=False, soft_wrap=True, markup=False)
    where = f"{settings.address}/{settings.warehouse_db}"
    analyst, _ = settings.role_login("analyst")
    console.print()
    if request.has_ui:
        login = f"{settings.airflow_admin_user} / {_shown(settings, 'airflow_admin_password')}"
        console.print(
            f"  Airflow        {settings.airflow_base_url}   {login} (for development, this machine only)",
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        f"  SQL clients    postgresql://{analyst}@{where}   password "
        f"{_shown(settings, 'analyst_password')} (read-only)",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        "\n  Next:  ./deploy.sh psql -c 'select * from marts.customer_summary limit 5'"
        "\n         ./deploy.sh status"
        '\n         eval "$(./deploy.sh env)" && ecommerce-dw status'
        "\n         ./deploy.sh stop",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )


def _shown(settings: Settings, name: str) -> str:
    """A password for a terminal, which may be a log as well: the default, or which setting has it."""
    value = getattr(settings, name)
    return value.get_secret_value() if value == Settings.model_fields[name].default else f"({name.upper()})"


def _summary_lines(summary: Summary, run: DagRun) -> Iterator[tuple[str, str]]:
    def of(total: int, new: int) -> str:
        return f"{total:,}" if new == total else f"{total:,} ({new:,} by this run)"

    took = "" if run.seconds is None else f" in {run.seconds:.0f} s"
    yield "run", f"{run.run_id}: {run.state}{took}"
    yield "files", f"{of(*summary.files)}" + (f", {summary.refused} refused" if summary.refused else "")
    yield "rows loaded", of(*summary.rows_loaded)
    yield "rows rejected", f"{summary.rows_rejected:,}"
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in summary.flagged.items())
    yield "rows flagged", f"{sum(summary.flagged.values()):,}" + (f" ({kinds})" if kinds else "")
    yield "dbt", f"{summary.models} models built, {summary.tests} tests passed"
    yield "expectations", f"{summary.expectations[0]} of {summary.expectations[1]} met"
    yield "published", f"{summary.published:,} rows changed in marts"


def _pending_file(settings: Settings) -> Path:
    """Is there while landed sample files wait for their run."""
    return settings.home / "run" / "sample-waits"


def _indented(text: str) -> str:
    return "\n".join(f"      {line}" for line in text.splitlines())
