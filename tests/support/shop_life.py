"""A warehouse to which a generated sequence of deliveries happens, and the state it ends in."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import psycopg2
import yaml

from ecommerce_dw import db, runs
from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.fingerprint import SESSION, fingerprint, table_fingerprint
from ecommerce_dw.loading import ddl, load
from ecommerce_dw.loading.decisions import DecisionError, accept, discard, withdraw
from ecommerce_dw.migrations import migrate
from ecommerce_dw.platform.postgres import EmbeddedPostgres
from ecommerce_dw.publish import publish
from ecommerce_dw.reconciliation import findings, measure, taken_in, whole
from ecommerce_dw.settings import PROJECT_DIR, Settings
from tests.conftest import settings_for
from tests.support.dbt_warehouse import DbtDatabase
from tests.support.deliveries import (
    Again,
    Back,
    Build,
    Content,
    Contracts,
    Decide,
    File,
    FileEvent,
    Kill,
    Land,
    Load,
    Publish,
    Step,
)
from tests.support.landing import land_whole
from tests.support.victims import Order, Victims

State: TypeAlias = dict[str, Any]

BUILT = ("intermediate", "warehouse", "marts_build")
LAYERS = {"warehouse": "tag:layer_warehouse", "marts": "tag:layer_marts"}
_WITHOUT_TESTS = ("--exclude-resource-type", "test", "--exclude-resource-type", "unit_test")
#: Session settings nobody reckons with.
STRANGE_SESSION = (
    "-c timezone=Pacific/Auckland -c datestyle=German -c intervalstyle=sql_standard -c extra_float_digits=0 "
    "-c bytea_output=escape -c enable_hashagg=off"
)


class LawsDatabase:
    """One database that lives are led in, made anew from a template for each.

    Args:
        server: Where it is.
        migrated: Name of a migrated, empty warehouse.
        parsed: A database whose name it takes over, because the project is parsed for that.
        folder: For files.

    Attributes:
        settings: With contracts of the test's own: small files are refused too.
        contracts: These contracts, by source and entity.
        victims: Where steps are killed.
    """

    def __init__(self, server: EmbeddedPostgres, migrated: str, parsed: DbtDatabase, folder: Path) -> None:
        self.server = server
        self._template = "laws_template"
        contracts_dir = _small_thresholds(folder / "contracts")
        name = parsed.settings.warehouse_db
        self.settings = settings_for(server, name, folder / "home", contracts_dir=contracts_dir)
        self.contracts: Contracts = read_contracts(contracts_dir)
        self._copy(migrated, name)
        with contextlib.closing(db.connect("loader", settings=self.settings)) as connection:
            every = [contract for entities in self.contracts.values() for contract in entities.values()]
            ddl.ensure_tables(connection, every)
            ddl.ensure_indexes(connection, every)
        self.dbt = DbtDatabase(self.settings, parsed.folder, parsed.manifest)
        self.dbt_run("tag:layer_staging", command="build", arguments=_WITHOUT_TESTS)
        self._copy(name, self._template)
        self.victims = Victims(
            {
                "ecommerce_dw_home": str(self.settings.home),
                "warehouse_port": server.port,
                "warehouse_db": name,
                "lock_wait_seconds": 20.0,
                "contracts_dir": str(contracts_dir),
            },
            parsed.folder,
        )

    def reset(self) -> None:
        """Empty raw tables, nothing built, nothing landed."""
        for name in ("landing", "journal"):
            shutil.rmtree(self.settings.home / name, ignore_errors=True)
        self.wait_for_server()
        self._copy(self._template, self.settings.warehouse_db)
        # what is committed is committed, also when the server is killed right after
        self.server.execute(f"alter database {self.settings.warehouse_db} set synchronous_commit = on")

    def close(self) -> None:
        """End the helper process and drop the template."""
        self.victims.close()
        self.server.execute(f"drop database {self._template} with (force)")

    def dbt_run(self, *select: str, command: str = "run", arguments: tuple[str, ...] = ()) -> None:
        """Run dbt in this process; a node that fails is an error with its message."""
        outcome = self.dbt.invoke("--quiet", command, *arguments, "--select", *select)
        assert outcome.exception is None, outcome.exception
        failed = [
            f"{result.node.name}: {result.message}"
            for result in outcome.result.results
            if str(result.status) in ("error", "fail")
        ]
        assert outcome.success, "\n".join(failed)

    def query(self, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """The rows of a query, as the owner."""
        with contextlib.closing(db.connect("owner", settings=self.settings)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters)
                return cursor.fetchall() if cursor.description else []

    def wait_for_server(self) -> None:
        """Wait until the server has recovered from a kill."""
        deadline = time.monotonic() + 60
        while True:
            try:
                self.server.execute("select 1")
                return
            except psycopg2.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _copy(self, template: str, name: str) -> None:
        self.server.execute(f"drop database if exists {name} with (force)")
        self.server.execute(f"create database {name} template {template} strategy file_copy")


def _small_thresholds(folder: Path) -> Path:
    """The contracts, with thresholds that files of a few rows can be over: more than 2 rows and 40 %."""
    shutil.copytree(PROJECT_DIR / "airflow" / "include" / "contracts", folder)
    for path in folder.rglob("*.yaml"):
        contract = yaml.safe_load(path.read_text())
        for entry in contract["customProperties"]:
            if entry["property"] == "maxRejectedRows":
                entry["value"] = 2
            elif entry["property"] == "maxRejectedShare":
                entry["value"] = 0.4
        path.write_text(yaml.safe_dump(contract, sort_keys=False, allow_unicode=True))
    return folder


@contextlib.contextmanager
def session_settings(options: str) -> Iterator[None]:
    """Give every database session of this process other settings (libpq reads them)."""
    before = os.environ.get("PGOPTIONS")
    os.environ["PGOPTIONS"] = options
    try:
        yield
    finally:
        if before is None:
            del os.environ["PGOPTIONS"]
        else:
            os.environ["PGOPTIONS"] = before


class ShopLife:
    """One warehouse, from nothing to the end of a sequence.

    Attributes:
        contents: Every content that ever landed, by its digest.
        killed: Steps that were really killed.
    """

    def __init__(self, database: LawsDatabase) -> None:
        self.database = database
        self.settings: Settings = database.settings
        self.contents: dict[str, Content] = {}
        self.killed = 0
        self._landed: dict[File, list[Content]] = {}
        self._pending: set[File] = set()
        self._deliveries = 0
        self._runs = 0
        database.reset()

    # ---- what happens ----------------------------------------------------------------------------------

    def happen(self, step: Step) -> None:
        """Let one step happen."""
        if isinstance(step, (Land, Again, Back, Decide)):
            self.happen_to_file(step)
        elif isinstance(step, Load):
            self.load(step)
        elif isinstance(step, Build):
            self.build(step)
        else:
            self.publish(step)

    def happen_to_file(self, event: FileEvent) -> None:
        """Let something happen to a file; what lies there before is loaded first: each version is seen."""
        file = event.file
        landed = self._landed.setdefault(file, [])
        if file in self._pending:
            load(self.settings, source=file.source, paths=[file.path])
            self._pending.discard(file)
        if isinstance(event, Land):
            self._deliver(file, event.content)
        elif isinstance(event, Again):
            if landed:
                self._deliver(file, landed[-1])
        elif isinstance(event, Back):
            if len(landed) > 1:
                self._deliver(file, landed[-2])
        else:
            # what cannot be decided of a file in its state is no event
            with contextlib.suppress(DecisionError):
                decide = {"accept": accept, "discard": discard, "withdraw": withdraw}[event.what]
                decide(self.settings, file.path, source=file.source)

    def _deliver(self, file: File, content: Content) -> None:
        self.put(file.source, file.path, content.text)
        self._landed[file].append(content)
        self.contents[content.sha256] = content
        self._pending.add(file)

    def put(self, source: str, path: str, data: bytes) -> None:
        """Put a file into a landing zone."""
        self._deliveries += 1  # a time of its own, also within one tick of the file system's clock
        land_whole(self.settings.landing(source) / path, data, moment=1_700_000_000 + self._deliveries)

    def load(self, step: Load) -> None:
        """Load what lies there."""
        if step.kill or step.loaders > 1:
            options = {"source": step.source, "business_date": step.up_to and str(step.up_to)}
            orders = [Order("load", options) for _ in range(step.loaders)]
            orders[0] = _with_kill(orders[0], step.kill)
            self._run_victims(*orders)
            return  # what of it was loaded is not known here: `pending` stays, and is loaded in time
        summary = load(self.settings, source=step.source, business_date=step.up_to)
        assert summary.files_failed == 0, summary.outcomes
        if step.source is None and step.up_to is None:
            self._pending.clear()

    def build(self, step: Build) -> None:
        """Freeze, then build."""
        self._freeze()
        if step.is_late:
            self.load(Load())
        select = [LAYERS[layer] for layer in step.layers]
        if step.kill:
            self._run_victims(_with_kill(Order("build", {"select": select}), step.kill))
        else:
            self.database.dbt_run(*select)

    def _freeze(self) -> None:
        self._runs += 1
        run_id = f"run-{self._runs}"
        with contextlib.closing(db.connect("owner", settings=self.settings)) as connection:
            runs.open_run(connection, run_id, business_date=None)
            runs.freeze(connection, run_id)

    def publish(self, step: Publish) -> int:
        """Publish while a reader looks on, who sees the state before or the state after (law 10).

        Returns:
            How many rows changed; 0 for one that was killed, or where no marts are built yet.
        """
        if not self.is_built():
            return 0
        changed = 0
        wanted = self.prints("marts_build")
        before = self.prints("marts")
        with _Reader(self.settings) as reader:
            if step.kill:
                self._run_victims(_with_kill(Order("publish", {}), step.kill))
            else:
                changed = publish(self.settings).changed
        after = self.prints("marts")
        expected = [before, wanted] if step.kill else [wanted]
        assert after in expected, f"law 10: published {after} is not what was built: {wanted}"
        seen = [state for state in reader.states if state not in (before, after)]
        assert not seen, f"law 10: a reader saw {seen}, neither {before} nor {after}"
        if not (step.kill and step.kill.victim == "server"):
            assert not reader.errors, reader.errors
        return changed

    def touched(self) -> int:
        """The number of the newest entry that ops.touched ever had: it grows whenever a model writes rows."""
        [(newest,)] = self.database.query(
            "select coalesce(pg_sequence_last_value(pg_get_serial_sequence('ops.touched', 'touched_seq')), 0)"
        )
        return int(newest)

    def is_built(self) -> bool:
        """Whether every mart has been built."""
        built = {row[0] for row in self.database.query("select tablename from pg_tables "
                                                       "where schemaname = 'marts_build'")}  # fmt: skip
        marts = (self.settings.dbt_dir / "models" / "marts").rglob("*.sql")
        return {path.stem for path in marts} <= built

    def _run_victims(self, *orders: Order) -> None:
        fates = self.database.victims.run(*orders)
        self.killed += sum(fate.is_killed for fate in fates)
        if any(order.kill_before and order.victim == "server" for order in orders):
            self.database.wait_for_server()

    def run(self) -> int:
        """A whole plain run over everything that lies there; how many published rows it changed."""
        self.load(Load())
        self.build(Build())
        return self.publish(Publish())

    def unexplained(self) -> list[str]:
        """What differs between two layers without a name, from the files' bytes to the published marts."""
        contracts = self.database.contracts
        with contextlib.closing(db.connect("transformer", settings=self.settings)) as connection:
            measurement = measure(
                self.settings,
                contracts,
                whole(contracts),
                run_id="laws",
                upto=taken_in(connection),
                reads_files=True,
            )
            return [
                f"{f.source_system}: {f.measure} from {f.from_object} to {f.to_object} on "
                f"{f.unexplained_days}: {f.unexplained} unexplained, {f.mismatches} rows"
                for f in findings(connection, measurement)
                if not f.is_explained
            ]

    def rebuild(self) -> None:
        """Drop what was built and published, and build it again from raw."""
        for schema in ("staging", *BUILT, "warehouse_parts", "marts"):
            self.database.query(f"drop schema {schema} cascade")
        migrate(self.settings)
        self._freeze()
        # all in one: each start of dbt costs as much as a small layer
        layers = ("tag:layer_staging", *LAYERS.values())
        self.database.dbt_run(*layers, command="build", arguments=_WITHOUT_TESTS)
        publish(self.settings)

    # ---- where it ends ---------------------------------------------------------------------------------

    def prints(self, *schemas: str) -> dict[str, tuple[int, str]]:
        """Rows and checksum of each table."""
        one = len(schemas) == 1
        return {
            (entry.table if one else f"{entry.schema}.{entry.table}"): (entry.rows, entry.checksum)
            for entry in fingerprint(self.settings, schemas)
        }

    def state(self) -> State:
        """Everything that must not depend on how it came about."""
        return {
            **self.prints(*BUILT, "marts"),
            **self._staging_prints(),
            "ops.flagged_rows": sorted(self.database.query("select * from ops.flagged_rows"), key=str),
            "rejected rows": self.database.query(
                """
                select l.source, l.path, r.line_number, r.reasons, r.resolved_by
                from raw.rejected_rows as r
                join raw.load_ledger as l using (file_id)
                where l.status = 'loaded' and not exists (
                    select from raw.load_ledger as newer
                    where newer.source = l.source and newer.path = l.path and newer.version > l.version
                        and newer.status in ('loaded', 'withdrawn')
                )
                order by 1, 2, 3
                """
            ),
        }

    def _staging_prints(self) -> dict[str, tuple[int, str]]:
        """Rows and checksum of each staging view; what tells when something was loaded stays out."""
        views = self.database.query(
            """
            select c.relname from pg_class as c
            where c.relnamespace = 'staging'::regnamespace and c.relkind = 'v' and not exists (
                select from pg_attribute as a where a.attrelid = c.oid and a.attname = 'load_id'
            )
            order by 1
            """
        )
        connection = db.connect("owner", settings=self.settings)
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(SESSION)
            entries = [table_fingerprint(cursor, "staging", view) for (view,) in views]
        return {f"staging.{entry.table}": (entry.rows, entry.checksum) for entry in entries}

    def in_effect(self) -> dict[tuple[str, str], tuple[int, str, dt.date]]:
        """File id, digest and business date of the version whose rows count, by source and path."""
        rows = self.database.query(
            """
            select distinct on (source, path) source, path, file_id, sha256, business_date, status
            from raw.load_ledger
            where status in ('loaded', 'withdrawn')
            order by source, path, version desc
            """
        )
        return {(row[0], row[1]): row[2:5] for row in rows if row[5] == "loaded"}


def _with_kill(order: Order, kill: Kill | None) -> Order:
    if kill is None:
        return order
    return Order(order.step, order.options, kill.statement(order.step), victim=kill.victim)


def differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What two states do not have in common."""
    return {
        name: (left.get(name), right.get(name)) for name in left | right if left.get(name) != right.get(name)
    }


class _Reader:
    """Reads all marts in REPEATABLE READ transactions, one after the other, until the block ends."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self.states: list[dict[str, tuple[int, str]]] = []
        self.errors: list[str] = []
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> _Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self) -> None:
        try:
            while not self._stop.is_set():
                # one REPEATABLE READ transaction over all tables
                prints = fingerprint(self._settings, ("marts",))
                state = {entry.table: (entry.rows, entry.checksum) for entry in prints}
                if state not in self.states:
                    self.states.append(state)
        except psycopg2.Error as error:
            self.errors.append(str(error))
