"""A production home on this host, for tests: a checkout, its settings, releases with borrowed packages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e import borrow
from tests.e2e.checkout import Checkout, make_checkout
from tests.support.receivers import Hook, receiving_posts

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")

#: Programs give their processes titles, which hide where they come from: the release itself is asked.
_WHAT_RUNS = """
import json
from ecommerce_dw.platform.components import HostComponents
from ecommerce_dw.settings import get_settings

components = HostComponents(get_settings())
print(json.dumps(sorted(name for name in components.order if components.is_current(name))))
"""


@dataclass
class Production:
    """A checkout that is deployed by `./deploy.sh prod`.

    Attributes:
        checkout: What is deployed.
        hook: Where alerts go.
        settings: What `.env` says.
    """

    checkout: Checkout
    hook: Hook
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.checkout.home

    def write_settings(self, **changed: str) -> None:
        self.settings |= changed
        file = self.checkout.folder / ".env"
        file.touch(mode=0o600)
        file.write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))

    def prod(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`./deploy.sh prod` and its end."""
        done = self.checkout.run("prod", *arguments, timeout=1800, **self.variables)
        print(done.stdout, done.stderr)  # shown when a test fails
        return done

    def start(self) -> subprocess.Popen[str]:
        """`./deploy.sh prod --json`, going on beside the test."""
        return self.checkout.start("prod", "--json", **self.variables)

    @property
    def variables(self) -> dict[str, str]:
        """What the installer's stand-in needs."""
        return {"PATH": f"{self.checkout.folder.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def deployed(self) -> str:
        """Name of the release that `current` names."""
        return (self.home / "current").resolve().name

    def pid(self, component: str) -> int | None:
        """Process id of a component that was started, and not stopped since."""
        file = self.home / "run" / f"{component}.json"
        return int(json.loads(file.read_text())["pid"]) if file.exists() else None

    def runs_whole(self, release: str) -> bool:
        """Whether a release is the deployed one, and every component was started from it."""
        shown = self.checkout.run("run", "python", "-c", _WHAT_RUNS)
        assert shown.returncode == 0, shown.stderr
        return self.deployed() == release and json.loads(shown.stdout) == sorted(COMPONENTS)

    def change(self, text: str) -> None:
        """Make the checkout another version, which does the same."""
        with (self.checkout.folder / ".env.example").open("a") as file:
            file.write(f"# {text}\n")

    def sql(self, query: str, database: str = "ecommerce_dw") -> str:
        done = self.checkout.run("psql", "-d", database, "-Atc", query)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@contextmanager
def production_home(folder: Path) -> Iterator[Production]:
    """A checkout with complete settings; what runs of it is stopped in the end."""
    borrow.write_uv(folder / "bin")
    backups = folder / "backups"
    backups.mkdir()
    with receiving_posts() as hook:
        made = Production(make_checkout(folder / "checkout", small_dag=False), hook)
        made.write_settings(
            ECOMMERCE_DW_ENVIRONMENT="production",
            ALLOW_EMBEDDED_IN_PRODUCTION="true",
            BACKUP_DIR=str(backups),
            ALERT_WEBHOOK_URL=hook.url,
            WAREHOUSE_PASSWORD="owner-of-the-warehouse",
            LOADER_PASSWORD="loads-what-has-landed",
            TRANSFORMER_PASSWORD="builds-with-dbt-only",
            ANALYST_PASSWORD="reads-and-nothing-else",
            AIRFLOW_ADMIN_PASSWORD="looks-after-the-dags",
        )
        try:
            yield made
        finally:
            made.checkout.run("stop")
            # `reset` refuses to delete what is production.
            shutil.rmtree((made.home / "postgres").resolve(), ignore_errors=True)
