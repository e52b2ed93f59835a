"""Every backup that is not restored, and that nothing is changed by it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecommerce_dw.loading.journal import journal_file
from ecommerce_dw.platform import backup as backups
from ecommerce_dw.platform.backup import Backup
from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.platform.restore import NotAgreedError
from tests.integration.backup.conftest import METADATA, WAREHOUSE, MakeSite, Site


@pytest.fixture(scope="module")
def shared(
    make_site: MakeSite, few_tables: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Site, Backup]:
    """An installation that no test here may change, a backup of it, and a journal that is not as it was."""
    site = make_site(tmp_path_factory.mktemp("shared"), few_tables)
    site.decide("orders/dt=2026-03-05/orders.csv", "why")
    taken = site.back_up()
    journal_file(site.settings).unlink()
    return site, taken


def test_without_agreement_nothing_is_replaced(shared: tuple[Site, Backup]) -> None:
    site, taken = shared
    before = site.state()
    with pytest.raises(NotAgreedError, match=rf"(?s){WAREHOUSE} on .*{METADATA} on .*--yes"):
        site.restore(taken.folder, is_agreed=False)
    assert site.state() == before


def change_manifest(taken: Backup, change: Callable[[dict[str, Any]], None]) -> None:
    file = taken.folder / "manifest.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def flip(taken: Backup) -> None:
    file = max((taken.folder / "warehouse").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(taken: Backup) -> None:
    file = taken.folder / "warehouse" / "toc.dat"
    file.write_bytes(file.read_bytes()[:-1])


def lose_a_file(taken: Backup) -> None:
    next(path for path in (taken.folder / "airflow").iterdir() if path.suffix == ".gz").unlink()


def lose_manifest(taken: Backup) -> None:
    (taken.folder / "manifest.json").unlink()


def cut_manifest(taken: Backup) -> None:
    file = taken.folder / "manifest.json"
    file.write_text(file.read_text()[:-200])


def of_a_later_format(taken: Backup) -> None:
    change_manifest(taken, lambda content: content.update(format=backups.FORMAT + 1, project="9.9"))


def of_a_later_migration(taken: Backup) -> None:
    change_manifest(taken, lambda content: content["databases"]["warehouse"].update(revision="9999"))


def of_a_later_server(taken: Backup) -> None:
    change_manifest(taken, lambda content: content.update(postgresql=990000))


def of_a_later_airflow(taken: Backup) -> None:
    change_manifest(taken, lambda content: content.update(airflow="99.0.0"))


def with_rights_of_somebody_else(taken: Backup) -> None:
    change_manifest(taken, lambda content: content["databases"]["warehouse"]["roles"].append("bob"))


def of_other_rows(taken: Backup) -> None:
    def change(content: dict[str, Any]) -> None:
        table = next(t for t in content["databases"]["warehouse"]["tables"] if t["table"] == "fact_orders")
        table["checksum"] = "0" * 32

    change_manifest(taken, change)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (flip, "is damaged: warehouse/.* has another content"),
        (truncate, "is damaged: warehouse/toc.dat has [0-9]+ bytes in place of"),
        (lose_a_file, "is damaged: airflow/.* is missing"),
        (lose_manifest, "is no backup: it has no manifest.json"),
        (cut_manifest, "manifest.json can't be read"),
        (of_a_later_format, r"later version of the project \(9\.9, format 2"),
        (of_a_later_migration, "migration 9999, which this version of the project does not know"),
        (of_a_later_server, "is of PostgreSQL 99, and this server is version 18"),
        (of_a_later_airflow, "Airflow 99.0.0"),
        (with_rights_of_somebody_else, 'create role "bob";'),
        (of_other_rows, "warehouse.fact_orders differ"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_can_not_be_restored_is_refused_and_nothing_is_changed(
    shared: tuple[Site, Backup], harm: Callable[[Backup], None], message: str, tmp_path: Path
) -> None:
    site, whole = shared
    taken = Backup(shutil.copytree(whole.folder, tmp_path / "copy"), whole.manifest)
    harm(taken)
    before = site.state()
    with pytest.raises(PlatformError, match=message):
        site.restore(taken.folder)
    assert site.state() == before
