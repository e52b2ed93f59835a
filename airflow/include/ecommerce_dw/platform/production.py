"""`./deploy.sh prod`: preflight, migrate, roll, smoke test; back to the release before when something fails.

Rolling back is of code only: migrations are additive, so the release before runs on the newer tables. What
can't be undone that way, another Airflow's metadata, is refused unless somebody asked for it
(docs/decisions/0080).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from rich.console import Console

from ecommerce_dw import db
from ecommerce_dw.migrations import migrate
from ecommerce_dw.platform import database, orchestrator, processes, releases
from ecommerce_dw.platform.backup import client_program
from ecommerce_dw.platform.components import Components, HostComponents, roll
from ecommerce_dw.platform.configuration import program_environment
from ecommerce_dw.platform.dev import make_raw_tables, only_one
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.platform.preflight import Finding, preflight
from ecommerce_dw.platform.releases import Release
from ecommerce_dw.platform.screen import Screen
from ecommerce_dw.platform.smoke import smoke_test
from ecommerce_dw.settings import Settings


class RefusedError(PlatformError):
    """The preflight found errors; nothing was changed.

    Attributes:
        findings: All of them, warnings too.
    """

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__("The preflight found errors; nothing was changed.")
        self.findings = findings


@dataclass(frozen=True)
class Deployment:
    """What a deployment did.

    Attributes:
        release: The release that runs now.
        before: The one that ran before; None for the first.
        rolled: The components that were started anew.
        findings: Warnings of the preflight.
    """

    release: str
    before: str | None
    rolled: tuple[str, ...]
    findings: tuple[Finding, ...] = ()


def deploy(
    settings: Settings,
    console: Console,
    *,
    may_migrate_airflow: bool = False,
    make_components: Callable[[Settings], Components] = HostComponents,
) -> Deployment:
    """Bring this release into service.

    Args:
        settings: Of this installation.
        console: Shows the steps.
        may_migrate_airflow: Whether somebody agreed to the standstill that another Airflow needs.
        make_components: What is rolled.

    Raises:
        RefusedError: The preflight found errors.
        PlatformError: A step failed. The release that ran before runs again, or the message says why not.
    """
    release = releases.this_release(settings)
    screen = Screen(console)
    with screen.step("Preflight") as result:
        findings = preflight(settings, may_migrate_airflow=may_migrate_airflow)
        if any(finding.level == "error" for finding in findings):
            raise RefusedError(findings)
        result.append(f"Preflight: {len(findings)} warnings, no errors")
    before = releases.current(settings)
    with only_one(settings):
        revision = orchestrator.metadata_revision(settings)
        failure: BaseException
        try:
            rolled = _bring_up(settings, screen, before, make_components)
            _commit(settings, release)
            return Deployment(release.name, before.name if before else None, tuple(rolled), findings)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - there is a way back, whatever it is
            failure = error
    # Outside, because the release before takes the lock itself.
    raise PlatformError(_go_back(settings, release, before, revision, failure)) from failure


def roll_back(settings: Settings, console: Console) -> Deployment:
    """Bring this release, which was deployed before, into service again: its code, on the tables as they are.

    Raises:
        PlatformError: Airflow's metadata was migrated since, or a component did not become healthy.
    """
    release = releases.this_release(settings)
    before = releases.current(settings)
    screen = Screen(console)
    with only_one(settings):
        revision = orchestrator.metadata_revision(settings)
        if revision != release.metadata_revision:
            raise PlatformError(
                f"{release.name} can't run on Airflow's metadata any more: it was at revision "
                f"{release.metadata_revision or 'unknown'} and is at {revision or 'none'} now, because "
                f"another Airflow was deployed since. Nothing was changed. {_restore_advice(settings)}"
            )
        if settings.is_embedded:
            database.embedded(settings).start()
        rolled = _roll(settings, screen, HostComponents(settings))
        releases.make_current(settings, release)
    return Deployment(release.name, before.name if before else None, tuple(rolled))


# --- steps -------------------------------------------------------------------------------------------------


def _bring_up(
    settings: Settings,
    screen: Screen,
    before: Release | None,
    make_components: Callable[[Settings], Components],
) -> list[str]:
    with screen.step("PostgreSQL") as result:
        if settings.is_embedded:
            database.embedded(settings).start()
        result.append(f"PostgreSQL {database.prepare(settings)} on {settings.host}:{settings.warehouse_port}")
    components = make_components(settings)
    with screen.step("Migrations") as result:
        if orchestrator.airflow_change(settings) is not None:
            screen.progress("Standstill for Airflow's metadata: letting tasks end")
            _stand_still(settings, components)
            result.append(f"Backup of Airflow's metadata: {back_up_metadata(settings)}")
        orchestrator.finish_migration(settings, orchestrator.start_migration(settings))
        if before is None:
            make_raw_tables(settings)
        else:
            # Roles' passwords are set when no task runs; raw tables follow their contracts at the next load.
            migrate(settings)
        result.append("; ".join(["Airflow's metadata and the warehouse are migrated", *result[1:]]))
    rolled = _roll(settings, screen, components)
    with screen.step("Airflow's connection") as result:
        orchestrator.finish_registration(settings, orchestrator.register_connection(settings))
        result.append("The warehouse is registered as an Airflow connection")
    if rolled:
        with screen.step("Smoke test in a database of its own") as result:
            result.append(str(smoke_test(settings)))
    if before is None:
        orchestrator.set_paused(settings, False)
    return rolled


def _roll(settings: Settings, screen: Screen, components: Components) -> list[str]:
    with screen.step("Components") as result:
        rolled = roll(
            components,
            drain=settings.drain_seconds,
            in_the_gap=lambda: _set_changed_passwords(settings),
            progress=screen.progress,
        )
        result.append(f"Started anew, healthy: {', '.join(rolled)}" if rolled else "Everything runs already")
    return rolled


def _set_changed_passwords(settings: Settings) -> None:
    """Where a role can't log in with the password that is set, that password is new."""
    for role in settings.login_roles:
        try:
            db.connect(role, settings=settings).close()
        except psycopg2.OperationalError:
            database.set_role_passwords(settings)
            return


def _stand_still(settings: Settings, components: Components) -> None:
    for name in reversed(components.order):
        components.stop(name, drain=settings.drain_seconds if name in components.task_runners else 0)


def back_up_metadata(settings: Settings) -> Path:
    """Write Airflow's metadata to BACKUP_DIR, in pg_dump's custom format.

    Returns:
        The file.

    Raises:
        PlatformError: It could not be written; the message ends with pg_dump's words.
    """
    assert settings.backup_dir is not None  # the preflight has seen to it
    file = settings.backup_dir / f"{settings.airflow_db}-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}.dump"
    building = file.with_name(f".{file.name}.building")
    done = processes.run_to_end(
        [client_program("pg_dump", settings), "--format=custom", f"--file={building}", settings.airflow_db],
        environment=program_environment(settings),
    )
    if done.returncode != 0:
        building.unlink(missing_ok=True)
        raise PlatformError(
            f"Airflow's metadata could not be backed up, so it was not migrated:\n{done.stdout.strip()}"
        )
    building.chmod(0o600)
    building.replace(file)
    return file


def _commit(settings: Settings, release: Release) -> None:
    release.remember_revision(orchestrator.metadata_revision(settings) or "")
    releases.make_current(settings, release)
    releases.prune(settings)


# --- the way back ------------------------------------------------------------------------------------------


def _go_back(
    settings: Settings,
    release: Release,
    before: Release | None,
    revision: str | None,
    failure: BaseException,
) -> str:
    """Bring the release before into service again; what to tell people."""
    said = str(failure).strip()
    if isinstance(failure, KeyboardInterrupt):
        said = "Interrupted."
    elif not isinstance(failure, RuntimeError | OSError | psycopg2.Error):
        said = f"{type(failure).__name__}: {said}"
    lines = [f"{release.name} was not deployed: {said}"]
    if before is None:
        processes.stop(settings.home, orchestrator.COMPONENTS)
        lines.append(
            "It is the first deployment, so there is nothing to go back to: Airflow was stopped. Mend the "
            "cause and run ./deploy.sh prod again: it goes on from here."
        )
    elif before == release:
        lines.append(
            "It was deployed already, so there is no other code to go back to: what fails is new in the "
            "settings or around the platform. Mend it and run ./deploy.sh prod again."
        )
    elif orchestrator.metadata_revision(settings) != revision:
        lines.append(
            f"Airflow's metadata is migrated already, and {before.name} can't run on it: Airflow is stopped "
            "or incomplete. Mend the cause and run ./deploy.sh prod again, or go back: "
            f"{_restore_advice(settings)}"
        )
    else:
        lines.append(_start_again(before))
    return "\n".join(lines)


def _start_again(before: Release) -> str:
    done = processes.run_to_end(
        [before.program, "platform", "prod", "--rollback"],
        start_new_session=True,  # a second Ctrl-C does not end the way back
    )
    if done.returncode == 0:
        return (
            f"Rolled back: every component runs {before.name} again. Migrations are additive, so the tables "
            "stay as they are."
        )
    return f"Rolling back to {before.name} failed, too; look at ./deploy.sh status and logs:\n" + "\n".join(
        done.stdout.splitlines()[-15:]
    )


def _restore_advice(settings: Settings) -> str:
    return (
        "./deploy.sh stop; as the owner, drop and create the database "
        f"{settings.airflow_db} on {settings.host}:{settings.warehouse_port}; pg_restore "
        f"--dbname={settings.airflow_db} the newest {settings.airflow_db}-*.dump of "
        f"{settings.backup_dir or 'BACKUP_DIR'}; then ./deploy.sh prod --rollback."
    )
