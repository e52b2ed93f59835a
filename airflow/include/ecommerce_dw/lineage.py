"""What each task of the pipeline reads and writes, in the names OpenLineage gives to files and tables."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

from ecommerce_dw import db
from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.settings import Settings, is_url

#: Task → the schemas it reads and those it writes. `landing` is the landing zone.
_TASKS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "load": (("landing",), ("raw",)),
    "check_raw": (("raw",), ()),
    "build_staging": (("raw",), ("staging",)),
    "build_warehouse": (("staging",), ("warehouse",)),
    "check_warehouse": (("warehouse",), ()),
    "build_marts": (("warehouse",), ("marts_build",)),
    "check_marts": (("marts_build",), ()),
    "publish": (("marts_build",), ("marts",)),
}


@dataclass(frozen=True, order=True)
class Dataset:
    """Files of one entity, or a table.

    Attributes:
        namespace: Where it is: `file`, a bucket's address, or `postgres://host:port`.
        name: Its path, with the contract's placeholders; or `database.schema.table`.
    """

    namespace: str
    name: str


@dataclass(frozen=True)
class Lineage:
    """What a task reads and writes; tables that are not there yet are left out."""

    inputs: tuple[Dataset, ...] = ()
    outputs: tuple[Dataset, ...] = ()


def lineage_of(task_id: str, settings: Settings) -> Lineage:
    """What a task of the pipeline reads and writes; nothing for one that moves no data.

    Raises:
        psycopg2.OperationalError: The warehouse does not answer.
    """
    reads, writes = _TASKS.get(task_id, ((), ()))
    return Lineage(
        tuple(sorted(each for schema in reads for each in _datasets(schema, settings))),
        tuple(sorted(each for schema in writes for each in _datasets(schema, settings))),
    )


def _datasets(schema: str, settings: Settings) -> Iterator[Dataset]:
    if schema in ("landing", "raw"):
        for source, entities in read_contracts(settings.contracts_dir).items():
            for contract in entities.values():
                if schema == "raw":
                    yield _table(schema, contract.table, settings)
                else:
                    yield _files(settings.landing_address(source), contract.layout.pattern)
        return
    with db.transaction("transformer", settings=settings) as cursor:
        cursor.execute(
            """
            select c.relname
            from pg_class as c
            join pg_namespace as n on n.oid = c.relnamespace
            where n.nspname = %s and c.relkind in ('r', 'p', 'v') and not c.relispartition
            """,
            (schema,),
        )
        for (table,) in cursor.fetchall():
            yield _table(schema, table, settings)


def _table(schema: str, table: str, settings: Settings) -> Dataset:
    namespace = f"postgres://{settings.host}:{settings.warehouse_port}"
    return Dataset(namespace, f"{settings.warehouse_db}.{schema}.{table}")


def _files(landing: str, pattern: str) -> Dataset:
    if not is_url(landing):
        return Dataset("file", f"{landing}/{pattern}")
    parts = urllib.parse.urlsplit(landing)
    return Dataset(f"{parts.scheme}://{parts.netloc}", f"{parts.path}/{pattern}".strip("/"))
