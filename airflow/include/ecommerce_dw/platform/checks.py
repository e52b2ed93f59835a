"""`./deploy.sh test`: lint, types, generated files, then the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from ecommerce_dw.platform.configuration import program_environment
from ecommerce_dw.settings import PROJECT_DIR, Settings


@dataclass(frozen=True)
class Check:
    """One program whose exit code 0 means all is well."""

    name: str
    arguments: tuple[str, ...]


def static_checks(settings: Settings, work: Path) -> list[tuple[Check, ...]]:
    """What is checked before the tests: in each group one needs what the one before it wrote.

    Programs write into `work` alone.
    """
    programs = Path(sys.prefix) / "bin"

    def program(name: str) -> str:
        return str(programs / name)

    parse = Check(
        "dbt parse",
        (
            program("dbt"),
            "parse",
            "--no-partial-parse",
            "--warn-error-options",
            '{"error": ["Deprecations"]}',
            "--target-path",
            str(work / "dbt"),
            "--log-path",
            str(work / "dbt"),
            "--quiet",
        ),
    )
    dictionary = Check(
        "data dictionary",
        (
            program("ecommerce-dw"),
            "dictionary",
            "--check",
            "--manifest",
            str(work / "dbt" / "manifest.json"),
        ),
    )
    shell = _found(".ci/run", ".ci/environment", "*.sh", "*/*.sh", "tests/**/*.sh")
    checks = [
        Check(
            "sqlfluff",
            (program("sqlfluff"), "lint", "--disable-progress-bar", "--processes", "2", "dbt"),
        ),
        Check(
            "mypy --strict",
            (program("mypy"), "--cache-dir", str(settings.home / "cache" / "mypy")),
        ),
        Check("ruff", (program("ruff"), "check", "--cache-dir", str(work / "ruff"), ".")),
        Check(
            "ruff format",
            (program("ruff"), "format", "--check", "--diff", "--cache-dir", str(work / "ruff"), "."),
        ),
        Check("shellcheck", (program("shellcheck"), "-x", *shell)),
        Check(
            "hadolint", (program("hadolint"), *_found("infrastructure/Dockerfile", "tests/**/*.Dockerfile"))
        ),
        *_compose_checks(),
        Check("contracts", (program("ecommerce-dw"), "contracts", "sync", "--check")),
    ]
    return [(parse, dictionary), *((check,) for check in checks)]


def _run_group(environment: Mapping[str, str], checks: Sequence[Check]) -> list[str]:
    """Run checks one after the other and say how each ended; names of those that failed."""
    failed = []
    for check in checks:
        began = time.monotonic()
        done = subprocess.run(
            check.arguments,
            cwd=PROJECT_DIR,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        seconds = time.monotonic() - began
        if done.returncode == 0:
            click.echo(f"✔ {check.name} ({seconds:.1f} s)")
        else:
            failed.append(check.name)
            click.echo(f"✘ {check.name} ({seconds:.1f} s)\n{done.stdout.rstrip()}")
    return failed


def _found(*patterns: str) -> list[str]:
    """Files of the checkout, relative to it."""
    return sorted(str(path.relative_to(PROJECT_DIR)) for each in patterns for path in PROJECT_DIR.glob(each))


def _compose_checks() -> list[Check]:
    """Compose reads its file, by Docker's or Podman's compose; none where neither is installed."""
    docker, podman = ("docker", "compose"), (str(Path(sys.prefix) / "bin" / "podman-compose"),)
    for compose, is_there in (
        (docker, shutil.which("docker") and _succeeds(*docker, "version")),
        (podman, shutil.which("podman")),
    ):
        if is_there:
            profiles = (f"--profile={name}" for name in ("dev", "prod", "monitoring", "mail"))
            return [Check("compose config", (*compose, *profiles, "config", "--quiet"))]
    return []


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def pytest_check(work: Path, markers: str, arguments: Sequence[str]) -> Check:
    """The tests chosen by markers, with pytest arguments passed on.

    Without arguments two or more workers share the files; each has its own PostgreSQL. With arguments one
    process runs them, so that `-s`, `--pdb` and the order of the output are as usual.
    """
    # Much of the time is waiting for schedulers: one worker more than there are cores.
    workers = str(min((os.cpu_count() or 1) + 1, 4))
    # In the order of the folders: the platform's long stories first, and what is short fills the end.
    by_file = ("--dist", "loadfile", "--no-loadscope-reorder")
    parallel = () if arguments else ("--numprocesses", workers, *by_file, "--durations=15")
    return Check(
        "pytest",
        (
            sys.executable,
            "-m",
            "pytest",
            "-o",
            f"cache_dir={work / 'pytest'}",
            "-m",
            markers,
            *parallel,
            *arguments,
        ),
    )


def run_checks(settings: Settings, markers: str, arguments: Sequence[str]) -> int:
    """Run everything, or pytest alone when it was given arguments.

    Args:
        settings: Of this installation.
        markers: pytest's marker expression; empty means every test.
        arguments: Passed on to pytest.

    Returns:
        0 when every check passed, else 1 (or pytest's own exit code).
    """
    # Short, because sockets' paths may have 107 bytes; our own, so that nothing of a running platform
    # is touched.
    work = Path(tempfile.mkdtemp(prefix="ecommerce-dw-test-"))
    environment = program_environment(settings) | {
        "ECOMMERCE_DW_HOME": str(work / "home"),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(work / "hypothesis"),
        "PYTHONPYCACHEPREFIX": str(settings.home / "cache" / "python"),
    }
    for name in ("AIRFLOW_HOME", "PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSFILE"):
        environment.pop(name, None)
    failed: list[str] = []
    try:
        if not arguments:
            with ThreadPoolExecutor(2) as pool:
                for names in pool.map(partial(_run_group, environment), static_checks(settings, work)):
                    failed += names
        check = pytest_check(work, markers, arguments)
        tests = subprocess.run(check.arguments, cwd=PROJECT_DIR, env=environment, stdin=subprocess.DEVNULL)
        if failed:
            click.echo(f"Checks that failed before the tests: {', '.join(failed)}", err=True)
        return tests.returncode or (1 if failed else 0)
    finally:
        shutil.rmtree(work, ignore_errors=True)
