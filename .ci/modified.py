"""What a change is built against: the last good state of the default branch, and the build of what differs.

    python .ci/modified.py keep DIR     the whole pipeline over a small sample; its state goes to DIR
    python .ci/modified.py build DIR    dbt build --select state:modified+ --defer, against the state in DIR

Both start a PostgreSQL of their own in a folder of their own and leave neither behind. The state is dbt's
manifest and a dump of the warehouse: dbt defers to tables of the same database, so they have to be in it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

from ecommerce_dw import one_process, pipeline, transform
from ecommerce_dw.migrations import migrate
from ecommerce_dw.platform import database
from ecommerce_dw.platform.configuration import program_environment, write_configuration
from ecommerce_dw.platform.postgres import free_port
from ecommerce_dw.platform.sample import SampleRequest, generate_sample
from ecommerce_dw.settings import Settings

#: Ends on a fixed day, so that the state kept yesterday and today's change see the same shop.
LAST_DAY = dt.date(2026, 1, 31)
SAMPLE = SampleRequest(days=60, end=LAST_DAY, seed=42, scale=0.3)

MANIFEST = "manifest.json"
DUMP = "warehouse.dump"

_folder = click.argument(
    "folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path, resolve_path=True)
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Keep the last good state of the default branch; build what a change modifies against it."""


@main.command()
@_folder
def keep(folder: Path) -> None:
    """Take the whole pipeline over the sample, and keep its manifest and its warehouse in DIR."""
    with _warehouse() as settings:
        migrate(settings)
        _load(settings, "ci__keep")
        steps = one_process.steps_after_load(settings, "ci__keep")
        one_process.take(steps, settings, "ci__keep", around=_told)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(transform.parse(settings) / MANIFEST, folder / MANIFEST)
        _run(settings, "pg_dump", "--format=custom", f"--file={folder / DUMP}", settings.warehouse_db)
    click.echo(f"Kept in {folder}: {MANIFEST}, {DUMP}")


@main.command()
@_folder
@click.option(
    "--project-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True),
    help="The dbt project to build. Default: this checkout's.",
)
def build(folder: Path, project_dir: Path | None) -> None:
    """Build and test what differs from the state in DIR, and what depends on it.

    Exit code: dbt's. 0 also where nothing differs.
    """
    for name in (MANIFEST, DUMP):
        if not (folder / name).is_file():
            raise click.ClickException(
                f"There is no {name} in {folder}. `python .ci/modified.py keep {folder}` on the default "
                "branch makes it; in the forge's workflow, its job `last-good`."
            )
    with _warehouse() as settings:
        migrate(settings)  # the server's roles, which no dump of one database holds
        _run(
            settings,
            *("pg_restore", "--clean", "--if-exists", "--exit-on-error"),
            *(f"--dbname={settings.warehouse_db}", str(folder / DUMP)),
        )
        migrate(settings)
        _load(settings, "ci__modified")
        done = subprocess.run(
            [
                *("dbt", "build", "--select", "state:modified+", "--defer", "--state", str(folder)),
                *("--project-dir", str(project_dir or settings.dbt_dir)),
            ],
            env=program_environment(settings),
        )
    sys.exit(done.returncode)


@contextlib.contextmanager
def _warehouse() -> Iterator[Settings]:
    """An embedded server of our own with an empty database, and the sample's files."""
    with tempfile.TemporaryDirectory(prefix="ecommerce-dw-ci-") as home:
        settings = Settings(
            _env_file=None, ecommerce_dw_home=Path(home), warehouse_host="", warehouse_port=free_port()
        )
        server = database.embedded(settings)
        try:
            with _told("PostgreSQL and the sample"):
                server.start()
                database.prepare(settings)
                write_configuration(settings)
                generate_sample(settings, SAMPLE, LAST_DAY + dt.timedelta(days=1))
            yield settings
        finally:
            server.remove()


def _load(settings: Settings, run_id: str) -> None:
    """Load what is not loaded yet, and freeze the window that the models read."""
    with _told("load"):
        pipeline.load_step(run_id=run_id, business_date=None, settings=settings)


def _run(settings: Settings, *command: str) -> None:
    with _told(command[0]):
        subprocess.run(command, env=program_environment(settings), check=True)


@contextlib.contextmanager
def _told(step: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    click.echo(f"{step.replace('_', ' ')} ({time.monotonic() - began:.1f} s)")


if __name__ == "__main__":
    main()
