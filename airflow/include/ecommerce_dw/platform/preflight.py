"""What has to be right before `./deploy.sh prod` changes anything: every finding at once.

A check looks and judges, and changes nothing. What can't be looked at because something before it is wrong (a
server that does not answer has no clock) is left out: that finding stands for it.
"""

from __future__ import annotations

import os
import shutil
import smtplib
import stat
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from socket import create_connection
from typing import Literal

import psutil
import psycopg2.extensions
from pydantic import ValidationError

from ecommerce_dw.alerts.channels import mail_session
from ecommerce_dw.migrations import is_known
from ecommerce_dw.platform import database, orchestrator
from ecommerce_dw.platform.certificates import read_certificates
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.platform.postgres import port_is_free
from ecommerce_dw.settings import OPTIONAL_ROLES, PROJECT_DIR, Settings, is_url, secret_files, unreadable

#: Shorter secrets are weak (characters). The generated ones have 32 and more.
SHORTEST_SECRET = 12
#: Room that a release with its environment, logs and a night's files need on the disk of the home (bytes).
ROOM_NEEDED = 5_000_000_000
#: What Airflow's processes (0.8 GB when idle) and a run's tasks need at once (bytes).
MEMORY_NEEDED = 2_000_000_000
#: Clocks that are further apart (s) put a run's times, and tokens that expire, in a wrong order.
CLOCK_TOLERANCE = 5.0
#: Longest wait for the warehouse's server to take a connection (s).
_CONNECT_TIMEOUT = 5.0

_VERIFYING = ("verify-ca", "verify-full")
_LOOPBACK = ("", "localhost", "127.0.0.1", "::1")

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """Something that is not as production needs it.

    Attributes:
        check: What was looked at.
        problem: What is wrong.
        where: The setting, file or server it is wrong in.
        advice: What to do.
        level: `error` stops a deployment, `warning` is told.
    """

    check: str
    problem: str
    where: str
    advice: str
    level: Level = "error"

    def as_dict(self) -> dict[str, str]:
        """Plain values, for JSON."""
        return asdict(self)


def preflight(settings: Settings, *, may_migrate_airflow: bool = False) -> tuple[Finding, ...]:
    """Look at everything, side by side: errors first, each group in the order of the checks.

    Args:
        settings: Of the installation to be deployed.
        may_migrate_airflow: Whether somebody agreed to the standstill that another Airflow needs.
    """

    def airflow(settings: Settings) -> Iterator[Finding]:
        return check_airflow(settings, may_migrate=may_migrate_airflow)

    checks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (*CHECKS, airflow)
    with ThreadPoolExecutor(len(checks)) as pool:
        found = list(pool.map(lambda check: list(check(settings)), checks))
    return tuple(sorted(chain.from_iterable(found), key=lambda finding: finding.level != "error"))


def invalid_settings(error: ValidationError) -> tuple[Finding, ...]:
    """Settings that are no settings: each is a finding, and nothing else can be looked at before they are."""
    return tuple(
        Finding(
            "settings",
            f"{each['msg']}. Other checks wait for it.",
            ".".join(str(part) for part in each["loc"]).upper(),
            ".env.example says what it may be.",
        )
        for each in error.errors(include_input=False)
    )


# --- settings ----------------------------------------------------------------------------------------------


def check_environment(settings: Settings) -> Iterator[Finding]:
    """It says that it is production, and is no development home."""
    if not settings.is_production:
        yield Finding(
            "environment",
            f"This is {settings.ecommerce_dw_environment}: simulated days of the sample shop would land.",
            "ECOMMERCE_DW_ENVIRONMENT",
            "Set it to production.",
        )
    if (settings.home / "sample.json").exists():
        yield Finding(
            "environment",
            "This home holds the sample shop of ./deploy.sh dev.",
            f"{settings.home / 'sample.json'}",
            "Set ECOMMERCE_DW_HOME to an empty folder, and WAREHOUSE_DB to a new database.",
        )
    if not settings.has_own_airflow:
        return  # components that are services of their own have workers, and metadata where they like
    if settings.has_workers:
        yield Finding(
            "environment",
            "Workers are for ./deploy.sh dev and for containers; here the scheduler runs the tasks.",
            "AIRFLOW_WORKERS, REDIS_HOST",
            "Leave both out.",
        )
    if settings.airflow_db_host:
        # The backup before another Airflow is taken from the warehouse's server.
        yield Finding(
            "environment",
            "A server of its own for Airflow's metadata is for containers: here it is the warehouse's.",
            "AIRFLOW_DB_HOST",
            "Leave it out.",
        )


def check_secrets(settings: Settings) -> Iterator[Finding]:
    """No secret is a default, missing, weak, used twice, or readable by others."""
    owners: dict[str, str] = {}
    for name in _needed_secrets(settings):
        value = getattr(settings, name.lower()).get_secret_value()
        if problem := _weakness(name, value):
            yield _secret(name, problem)
        elif value in owners:
            yield _secret(name, f"The same value as {owners[value]}.")
        owners.setdefault(value, name)
    for name, file in secret_files().items():
        yield from _check_secret_file(settings, name, file)
    for path in (PROJECT_DIR / ".env", settings.home / "secrets.json"):
        if path.exists():
            yield from _check_private(path.resolve())
    if settings.home.exists() and settings.home.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield Finding(
            "secrets",
            "Others may write to the platform's home.",
            str(settings.home),
            f"chmod go-w {settings.home}",
        )


def _needed_secrets(settings: Settings) -> Iterator[str]:
    yield from ("WAREHOUSE_PASSWORD", "LOADER_PASSWORD", "TRANSFORMER_PASSWORD", "ANALYST_PASSWORD")
    yield "AIRFLOW_ADMIN_PASSWORD"
    yield from (f"{role.upper()}_PASSWORD" for role in OPTIONAL_ROLES if settings.role_login(role)[1])
    if settings.smtp_user:
        yield "SMTP_PASSWORD"


def _weakness(name: str, value: str) -> str | None:
    default = Settings.model_fields[name.lower()].default.get_secret_value()
    if not value:
        return "It is missing."
    if value == default:
        return "It is the default, which everybody knows."
    if name == "SMTP_PASSWORD":
        return None  # others choose it
    if len(value) < SHORTEST_SECRET:
        return f"It is weak: {len(value)} characters, {SHORTEST_SECRET} are the least."
    if len(set(value)) < SHORTEST_SECRET // 2:
        return f"It is weak: only {len(set(value))} different characters."
    return None


def _secret(name: str, problem: str) -> Finding:
    return Finding(
        "secrets",
        problem,
        name,
        f"Set {name}, or {name}_FILE to a file with it, to a secret of its own: openssl rand -base64 24",
    )


def _check_secret_file(settings: Settings, name: str, file: Path) -> Iterator[Finding]:
    where = f"{name}_FILE"
    if reason := unreadable(file):
        yield Finding(
            "secrets",
            f"{file} can't be read: {reason}.",
            where,
            "Name a file that is there, or unset it.",
        )
        return
    yield from _check_private(file)
    if getattr(settings, name.lower()).get_secret_value() != file.read_text().strip():
        yield Finding(
            "secrets",
            f"{name} is set, too, and the file {file} says something else.",
            where,
            "Keep one of the two.",
        )


def _check_private(file: Path) -> Iterator[Finding]:
    if file.stat().st_mode & 0o077:
        yield Finding(
            "secrets",
            f"Others may read or write it (mode {stat.S_IMODE(file.stat().st_mode):o}).",
            str(file),
            f"chmod 600 {file}",
        )


def check_addresses(settings: Settings) -> Iterator[Finding]:
    """What people and alerts are sent over another machine is encrypted."""
    if settings.airflow_url and urllib.parse.urlsplit(settings.airflow_url).scheme != "https":
        yield Finding(
            "TLS",
            "The web UI's address is no https address: passwords would go over the net as they are.",
            f"AIRFLOW_URL={settings.airflow_url}",
            "Name the proxy that speaks TLS before 127.0.0.1:"
            f"{settings.airflow_port}, or leave it empty and reach the UI through ssh -L.",
        )


def check_files(settings: Settings) -> Iterator[Finding]:
    """Landing zones are there, folders named in full: a release lies in another folder than the checkout."""
    sources = sorted(path.name for path in settings.contracts_dir.iterdir() if path.is_dir())
    for source in sources:
        setting = f"LANDING_{source.upper()}"
        if is_url(settings.landing_address(source)):
            yield from _check_bucket(settings, source, setting)
            continue
        folder = settings.landing(source)
        if folder.is_relative_to(PROJECT_DIR) and not folder.is_relative_to(settings.home):
            yield Finding(
                "files",
                "A relative path counts from the release, which the next deployment replaces.",
                setting,
                "Give the whole path.",
            )
        elif folder != settings.home / "landing" / source and not os.access(folder, os.R_OK | os.X_OK):
            yield Finding("files", f"{folder} is not there or can't be read.", setting, "Mount or make it.")


def _check_bucket(settings: Settings, source: str, setting: str) -> Iterator[Finding]:
    from ecommerce_dw.loading.landing import LandingError, landing_of

    try:
        landing_of(settings, source).holds("_")  # asks the store; nothing of that name is ever landed
    except LandingError as error:
        yield Finding("files", str(error), setting, "Correct the address, or the credentials for it.")


def check_backup(settings: Settings) -> Iterator[Finding]:
    """There is a place for backups, and it is not the disk that they are for."""
    folder = settings.backup_dir
    if folder is None:
        yield Finding(
            "backup target",
            "There is no place for backups.",
            "BACKUP_DIR",
            "Set it to a folder on another disk or machine.",
        )
    elif not folder.is_absolute() or not os.access(folder, os.W_OK | os.X_OK):
        yield Finding(
            "backup target",
            f"{folder} is no whole path of a folder that can be written.",
            "BACKUP_DIR",
            "Make or mount it, and let this user write there.",
        )
    elif folder.stat().st_dev == _existing(settings.home).stat().st_dev:
        yield Finding(
            "backup target",
            f"{folder} lies on the same disk as {settings.home}: one broken disk takes both.",
            "BACKUP_DIR",
            "Mount another disk or machine there.",
            level="warning",
        )


# --- this machine ------------------------------------------------------------------------------------------


def check_machine(settings: Settings) -> Iterator[Finding]:
    """Python, disk and memory suffice."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 14):
        yield Finding(
            "versions",
            f"Python {sys.version_info[0]}.{sys.version_info[1]} is none of 3.11 to 3.14.",
            sys.executable,
            "Set PYTHON to another one.",
        )
    free = shutil.disk_usage(_existing(settings.home)).free
    if free < ROOM_NEEDED:
        yield Finding(
            "disk",
            f"{_gigabytes(free)} are free, {_gigabytes(ROOM_NEEDED)} are needed.",
            str(settings.home),
            "Free some, or set ECOMMERCE_DW_HOME to another disk.",
        )
    used = sum(_memory(each.members()) for each in orchestrator.running(settings).values())
    available = psutil.virtual_memory().available + used
    if available < MEMORY_NEEDED:
        yield Finding(
            "memory",
            f"{_gigabytes(available)} are available, {_gigabytes(MEMORY_NEEDED)} are needed.",
            "this machine",
            "Stop other programs, or take a larger machine.",
        )


def check_ports(settings: Settings) -> Iterator[Finding]:
    """The ports are free, or ours."""
    is_ours = "api-server" in orchestrator.running(settings)
    if not is_ours and not port_is_free(settings.airflow_port):
        yield _port_taken("AIRFLOW_PORT", settings.airflow_port)
    if (
        settings.is_embedded
        and database.embedded(settings).running_port() != settings.warehouse_port
        and not port_is_free(settings.warehouse_port)
    ):
        yield _port_taken("WAREHOUSE_PORT", settings.warehouse_port)


def _port_taken(setting: str, port: int) -> Finding:
    return Finding(
        "ports",
        f"Port {port} on 127.0.0.1 is in use by another program.",
        setting,
        "Stop that program, or set another port.",
    )


# --- servers -----------------------------------------------------------------------------------------------


def check_server(settings: Settings) -> Iterator[Finding]:
    """The PostgreSQL is external, speaks TLS, is new enough, lets us in, and its clock is ours."""
    if settings.is_embedded:
        yield Finding(
            "server",
            "The embedded PostgreSQL has no TLS, no replica, and its data lies on this machine's disk.",
            "WAREHOUSE_HOST",
            "Name an external server; ALLOW_EMBEDDED_IN_PRODUCTION=true makes this a warning.",
            level="warning" if settings.allow_embedded_in_production else "error",
        )
        if database.embedded(settings).running_port() != settings.warehouse_port:
            return  # it is started by the deployment
    elif settings.warehouse_on_private_network and not _listens(settings):
        return  # so is the containers' own
    else:
        yield from _check_tls_setting(settings)
    try:
        connection = database.first_connection(settings)
    except PlatformError as error:
        yield Finding(
            "server",
            str(error).splitlines()[0],
            "WAREHOUSE_HOST, WAREHOUSE_PORT, WAREHOUSE_USER, WAREHOUSE_PASSWORD",
            str(error).splitlines()[-1],
        )
        return
    try:
        yield from _check_connection(settings, connection)
    finally:
        connection.close()


def _listens(settings: Settings) -> bool:
    try:
        create_connection((settings.host, settings.warehouse_port), timeout=_CONNECT_TIMEOUT).close()
    except OSError:
        return False
    return True


def _check_tls_setting(settings: Settings) -> Iterator[Finding]:
    if settings.warehouse_host.startswith("/") or settings.warehouse_host in _LOOPBACK:
        return
    yield from _check_own_certificate(settings)
    if settings.warehouse_on_private_network:
        return
    where = f"WAREHOUSE_SSLMODE={settings.warehouse_sslmode}"
    advice = "Set it to verify-full, and WAREHOUSE_SSLROOTCERT to the certificate authority's file."
    if settings.warehouse_sslmode not in ("require", *_VERIFYING):
        yield Finding(
            "TLS",
            f"The way to {settings.host} may be unencrypted without anybody noticing.",
            where,
            advice,
        )
    elif settings.warehouse_sslmode not in _VERIFYING:
        problem = f"Who answers as {settings.host} is not checked."
        yield Finding("TLS", problem, where, advice, level="warning")


def _check_own_certificate(settings: Settings) -> Iterator[Finding]:
    folder = settings.home / "certificates"
    try:
        made = read_certificates(folder)
    except PlatformError as error:
        yield Finding("TLS", str(error), str(folder), "Put the file back.", level="warning")
        return
    if made is not None and made.ends_soon:
        yield Finding(
            "TLS",
            f"The server's certificate ends {made.server_until:%Y-%m-%d}; nobody can connect after that.",
            str(folder / "server.crt"),
            "Renew it: ./deploy.sh certificates (docs/production.md, Rotating secrets).",
            level="warning",
        )


def _check_connection(settings: Settings, connection: psycopg2.extensions.connection) -> Iterator[Finding]:
    where = f"{settings.host}:{settings.warehouse_port}"
    major = connection.server_version // 10_000
    if major < database.MINIMUM_VERSION:
        yield Finding(
            "versions",
            f"The PostgreSQL is version {major}; {database.MINIMUM_VERSION} or newer is needed.",
            where,
            "Upgrade it, or name another one.",
        )
    with connection.cursor() as cursor:
        before = time.time()
        cursor.execute("select extract(epoch from clock_timestamp())")
        server = float((cursor.fetchone() or (0,))[0])
        after = time.time()
        yield from judge_clock(server, before, after, where)
        cursor.execute(
            "select rolsuper or rolcreaterole, rolsuper or rolcreatedb, "
            "(select array_agg(datname) from pg_database where datname in (%s, %s)) "
            "from pg_roles where rolname = current_user",
            (settings.warehouse_db, settings.airflow_db),
        )
        may_make_roles, may_make_databases, there = cursor.fetchone() or (False, False, None)
    owner = settings.warehouse_user
    if not may_make_roles:
        yield Finding(
            "server",
            f"The user {owner} may not make roles; the warehouse needs loader, transformer and analyst.",
            where,
            f"As an administrator: alter role {owner} createrole;",
        )
    if not may_make_databases:
        # The smoke test makes one and drops it, too.
        yield Finding(
            "server",
            f"The user {owner} may not make databases; the smoke test runs in one of its own.",
            where,
            f"As an administrator: alter role {owner} createdb;",
        )
    if settings.warehouse_db in (there or ()):
        yield from _check_migrations(settings)


def judge_clock(server: float, before: float, after: float, where: str) -> Iterator[Finding]:
    """Compare a server's clock (s since 1970) with ours before and after the question."""
    apart = max(before - server, server - after, 0.0)
    if apart > CLOCK_TOLERANCE:
        yield Finding(
            "clock",
            f"The clocks of this machine and of the server are {apart:.0f} s apart.",
            where,
            "Let both follow a time server (timedatectl set-ntp true).",
        )


def _check_migrations(settings: Settings) -> Iterator[Finding]:
    connection = database.connect(settings, settings.warehouse_db)
    try:
        with connection.cursor() as cursor:
            cursor.execute("select to_regclass('ops.schema_migrations')")
            if (cursor.fetchone() or (None,))[0] is None:
                return
            cursor.execute("select version_num from ops.schema_migrations")
            (revision,) = cursor.fetchone() or ("",)
    finally:
        connection.close()
    if revision and not is_known(revision):
        yield Finding(
            "versions",
            f"The warehouse is at migration {revision}, which this version of the project does not know.",
            settings.warehouse_db,
            "Deploy a version that is as new as the one that made it; ./deploy.sh prod --rollback goes back.",
        )


def check_airflow(settings: Settings, *, may_migrate: bool = False) -> Iterator[Finding]:
    """Airflow's metadata belongs to the installed Airflow."""
    change = orchestrator.airflow_change(settings)
    if change is not None and not may_migrate:
        yield Finding(
            "versions",
            f"Airflow {change.installed} is to replace {change.migrated or 'another version'}: its metadata "
            "is migrated, which needs a standstill, and there is no way back but a backup.",
            settings.airflow_db,
            "When that is meant, ./deploy.sh prod --upgrade-airflow: it lets tasks end, stops everything, "
            "writes a backup to BACKUP_DIR, migrates, and starts.",
        )


def check_alerts(settings: Settings) -> Iterator[Finding]:
    """There is a channel that reaches people, and its server answers."""
    has_mail = bool(settings.smtp_host and settings.alert_mail_to)
    webhook = settings.alert_webhook_url.get_secret_value()
    if not has_mail and not webhook:
        yield Finding(
            "alert channel",
            "Nobody would be told that something is wrong.",
            "SMTP_HOST and ALERT_MAIL_TO, ALERT_WEBHOOK_URL",
            "Set one of the channels.",
        )
    if bool(settings.smtp_host) != bool(settings.alert_mail_to):
        yield Finding(
            "alert channel",
            "Mail needs a server and receivers; one of the two is missing.",
            "SMTP_HOST, ALERT_MAIL_TO",
            "Set both, or none.",
        )
    if has_mail:
        yield from _check_mail(settings)
    if webhook:
        yield from _check_webhook(settings)


def _check_mail(settings: Settings) -> Iterator[Finding]:
    where = f"SMTP_HOST={settings.smtp_host}, SMTP_PORT={settings.smtp_port}"
    if settings.smtp_user and not settings.smtp_starttls and settings.smtp_host not in _LOOPBACK:
        yield Finding(
            "TLS",
            "The mail server's password would go over the net as it is.",
            "SMTP_STARTTLS",
            "Set it to true.",
        )
        return
    try:
        with mail_session(settings) as server:
            server.noop()
    except (OSError, smtplib.SMTPException) as error:
        yield Finding(
            "alert channel",
            f"The mail server can't be used: {error}.",
            where,
            "Check SMTP_*; nothing was sent.",
        )


def _check_webhook(settings: Settings) -> Iterator[Finding]:
    # Whoever has the address may post, so only its host is shown.
    parts = urllib.parse.urlsplit(settings.alert_webhook_url.get_secret_value())
    host = parts.hostname or ""
    if parts.scheme != "https" and host not in _LOOPBACK[1:]:
        yield Finding(
            "TLS",
            "The webhook's address is no https address.",
            "ALERT_WEBHOOK_URL",
            "Set it to the https address of the channel.",
        )
        return
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and host not in _LOOPBACK and not urllib.request.proxy_bypass(host):
        parts = urllib.parse.urlsplit(proxy)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with create_connection((parts.hostname or "", port), timeout=settings.alert_timeout_seconds):
            pass
    except (OSError, ValueError) as error:
        yield Finding(
            "alert channel",
            f"The server {parts.hostname} on the way to the webhook does not answer: {error}.",
            "ALERT_WEBHOOK_URL",
            "Check the address, the network, and the firewall.",
        )


CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    check_environment,
    check_secrets,
    check_addresses,
    check_server,
    check_ports,
    check_machine,
    check_files,
    check_backup,
    check_alerts,
)


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def _memory(processes: list[psutil.Process]) -> int:
    total = 0
    for process in processes:
        try:
            info = process.memory_info()
        except psutil.NoSuchProcess:
            continue
        total += info.rss - info.shared
    return total


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
