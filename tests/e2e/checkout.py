"""A checkout of the project in a folder of its own, with a virtual environment that borrows the packages of
the one the tests run in: what `./deploy.sh` meets on somebody's machine, in seconds."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from ecommerce_dw.platform.postgres import free_port
from ecommerce_dw.settings import PROJECT_DIR
from tests.e2e import borrow

#: Starts in a moment and needs no warehouse, so that these tests are about the platform alone.
SMALL_DAG = """
import datetime as dt
import pathlib

from airflow.sdk import CronDataIntervalTimetable, chain, dag, task


@dag(
    dag_id="ecommerce_etl_pipeline",
    schedule=CronDataIntervalTimetable("0 2 * * *", timezone="UTC"),
    start_date=dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    max_active_runs=1,
    params={"business_date": None, "source": "all"},
)
def ecommerce_etl_pipeline():
    @task
    def load():
        import sys

        if "test" not in sys.argv:
            assert "dbt.cli.main" in sys.modules, "the scheduler has not preloaded dbt"

    @task
    def publish():
        if pathlib.Path(__file__).with_name("hang").exists():
            import time

            time.sleep(600)
        if pathlib.Path(__file__).with_name("fail").exists():
            raise RuntimeError("the marts are on strike")

    chain(load(), publish())


ecommerce_etl_pipeline()
"""

_PARTS = (
    "airflow",
    "data-generation",
    "infrastructure",
    "dbt",
    "deploy.sh",
    "pyproject.toml",
    "requirements.lock",
    ".env.example",
    ".dockerignore",
    "docker-compose.yml",
    "README.md",
    "LICENSE",
)


@dataclass
class Checkout:
    """A checkout and how to call it.

    Attributes:
        folder: Top of the checkout.
        warehouse_port: What it is told by WAREHOUSE_PORT.
        airflow_port: What it is told by AIRFLOW_PORT.
        user: Name of the user who calls it; None is who runs the tests.
    """

    folder: Path
    warehouse_port: int = field(default_factory=free_port)
    airflow_port: int = field(default_factory=free_port)
    user: str | None = None

    @property
    def home(self) -> Path:
        """Where it makes everything."""
        return self.folder / "var"

    def run(
        self,
        *arguments: str,
        cwd: Path | None = None,
        timeout: float = 400,
        program: Path | None = None,
        **variables: str,
    ) -> subprocess.CompletedProcess[str]:
        """Call deploy.sh and wait for its end, whatever that is."""
        process = self.start(*arguments, cwd=cwd, program=program, **variables)
        output, errors = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def start(
        self, *arguments: str, cwd: Path | None = None, program: Path | None = None, **variables: str
    ) -> subprocess.Popen[str]:
        """Call deploy.sh, by another name of it if given."""
        command = [str(program or self.folder / "deploy.sh"), *arguments]
        if self.user is not None:
            command = ["setpriv", f"--reuid={self.user}", "--regid=nogroup", "--clear-groups", *command]
        # The variables of another Airflow and PostgreSQL are there on purpose: they must not reach ours.
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "WAREHOUSE_PORT": str(self.warehouse_port),
            "AIRFLOW_PORT": str(self.airflow_port),
            "AIRFLOW_HOME": "/nonexistent/another airflow",
            "AIRFLOW__CORE__DAGS_FOLDER": "/nonexistent/dags",
            "PGHOST": "/nonexistent",
            "PGDATABASE": "another",
            "PYTHONPATH": "/nonexistent",
            "http_proxy": "http://127.0.0.1:9",
        }
        return subprocess.Popen(
            command,
            cwd=cwd or Path("/"),
            env=environment | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Where the tests run in the background, Ctrl-C is ignored; whoever calls deploy.sh can press it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def processes(self) -> list[psutil.Process]:
        """Every living process that belongs to it."""
        found = []
        for process in psutil.process_iter():
            try:
                words = " ".join([*process.cmdline(), process.cwd()])
            except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
                continue
            if str(self.folder) in words or str((self.home / "postgres").resolve()) in words:
                found.append(process)
        return found

    def wait_for_end_of_processes(self, seconds: float = 5) -> list[psutil.Process]:
        """What still runs after a moment (a parent reaps its children a little later)."""
        deadline = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left


def make_checkout(folder: Path, *, small_dag: bool = True, python: str = sys.executable) -> Checkout:
    """Copy the project into `folder` and give it an environment."""
    folder.mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__", "target", "logs", "*.egg-info")
    for part in _PARTS:
        source = PROJECT_DIR / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=ignored)
        else:
            shutil.copy2(source, folder / part)
    if small_dag:
        (folder / "airflow" / "dags" / "ecommerce_etl_dag.py").write_text(SMALL_DAG)
    checkout = Checkout(folder)
    _borrow_environment(checkout, python)
    return checkout


def python_for_others() -> str | None:
    """A Python of this version that every user may execute, with packages they may read; or None."""
    packages = Path(sysconfig.get_paths()["purelib"])
    if not _is_open(packages):
        return None
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (
        Path(sys.executable).resolve(),
        Path("/usr/bin") / version,
        Path("/usr/local/bin") / version,
    ):
        if candidate.exists() and _is_open(candidate.resolve()):
            return str(candidate)
    return None


def _borrow_environment(checkout: Checkout, python: str) -> None:
    venv = checkout.home / "venv"
    borrow.make_environment(venv, python)
    borrow.install(venv, checkout.folder)
    sums = subprocess.run(
        ["cksum", "requirements.lock", "pyproject.toml"],
        cwd=checkout.folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (venv / ".complete").write_text(f"{sums}{checkout.folder}\n{venv}")


def _is_open(path: Path) -> bool:
    readable = stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0)
    return path.stat().st_mode & readable == readable and all(
        parent.stat().st_mode & stat.S_IXOTH for parent in path.parents
    )
