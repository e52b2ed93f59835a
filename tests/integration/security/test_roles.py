"""Who may do what: every role tries every verb on every object of a built and published warehouse."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg2
import psycopg2.extensions
import pytest
from psycopg2 import errors, sql

from ecommerce_dw import db
from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.publish import publish
from ecommerce_dw.settings import Settings
from tests.support.dbt_warehouse import DbtWarehouse
from tests.support.two_shops import load_two_shops

ROLES = ("loader", "transformer", "publisher", "analyst", "pii_reader", "api", "monitor")

#: Tables and views, by name: the first line that fits counts.
#: s select, c select but for the columns in HIDDEN, i insert, u update, d delete, t truncate, a alter,
#: x drop.
RELATIONS = """
                              loader    transformer publisher analyst pii_reader api  monitor
raw.load_ledger               siud      s           -         c       s          -    c
raw.rejected_rows             siud      s           -         c       s          -    c
raw.removed_keys              siud      s           -         -       s          -    -
raw.*                         siudtax   s           -         -       s          -    -
staging.*                     -         siudtax     -         -       s          -    -
intermediate.*                -         siudtax     -         -       s          -    -
warehouse.dim_customers       -         siudtax     -         c       s          -    -
warehouse.*                   -         siudtax     -         s       s          -    -
warehouse_parts.*             -         siudtax     -         -       s          -    -
marts_build.*                 -         siudtax     s         -       s          -    -
marts.customer_summary        -         s           siudtax   c       s          c    -
marts.*                       -         s           siudtax   s       s          s    -
masked.dim_customers          -         siudtax     -         s       s          -    -
masked.customer_summary       -         -           siudtax   s       s          s    -
history.*                     -         siudtax     -         s       s          -    -
ops.schema_migrations         s         s           -         s       s          -    -
ops.alerts                    s         siud        -         c       s          -    c
ops.test_failures             -         sid         -         -       s          -    -
ops.applied_definitions       -         siud        -         -       s          -    -
ops.contract_versions         si        s           -         s       s          -    -
ops.run_steps                 si        si          -         s       s          -    s
ops.runs                      siud      siud        -         s       s          -    s
ops.load_attempts             siud      siud        -         s       s          -    -
ops.accepted_expectations     siud      siud        -         s       s          -    -
ops.model_marks               s         siud        siud      s       s          -    -
ops.touched                   s         siud        sd        s       s          -    -
ops.publications              s         siud        i         s       s          -    s
ops.source_freshness          s         siud        -         s       s          -    s
ops.incidents                 s         siud        -         s       s          -    s
ops.dbt_results               s         siud        -         s       s          -    -
ops.expectation_results       s         siud        -         s       s          -    -
ops.current_run               s         s           -         s       s          -    -
ops.erasures                  si        s           -         s       s          -    -
ops.reconciliation*           s         siud        -         s       s          -    -
ops.*                         -         siudtax     -         s       s          -    s
"""

#: Columns that a role with `c` is refused. Beside these nobody with `c` has a column that a contract calls
#: directly personal; an empty set means only those.
HIDDEN: dict[tuple[str, str], set[str]] = {
    ("analyst", "raw.load_ledger"): {"header"},
    ("monitor", "raw.load_ledger"): {
        "file_id", "part", "contract_hash", "sha256", "bytes", "modified_at", "etag", "header",
        "is_threshold_waived", "message", "erased_at", "erased_sha256",
    },
    ("analyst", "raw.rejected_rows"): {"raw_line", "raw_bytes", "keys"},
    ("monitor", "raw.rejected_rows"): {
        "rejected_id", "file_id", "entity", "business_date", "path", "line_number", "raw_line", "raw_bytes",
        "keys", "reasons", "rejected_at",
    },
    ("analyst", "ops.alerts"): {"body"},
    ("monitor", "ops.alerts"): {"title", "body", "link", "run_id"},
    ("analyst", "warehouse.dim_customers"): set(),
    ("analyst", "marts.customer_summary"): set(),
    ("api", "marts.customer_summary"): set(),
}  # fmt: skip

#: u look a name up, c create a table.
SCHEMAS = """
                 loader  transformer  publisher  analyst  pii_reader  api  monitor
raw              uc      u            -          u        u           -    u
staging          -       uc           -          -        u           -    -
intermediate     -       uc           -          -        u           -    -
warehouse        -       uc           -          u        u           -    -
warehouse_parts  -       uc           -          -        u           -    -
marts_build      -       uc           u          -        u           -    -
marts            -       u            uc         u        u           u    -
masked           -       uc           uc         u        u           u    -
history          -       uc           -          u        u           -    -
ops              u       uc           u          u        u           -    u
public           u       u            u          u        u           u    u
"""

#: Sequences (n next value), functions (e execute), and what concerns the whole server or database.
OTHERS = """
                                        loader  transformer  publisher  analyst  pii_reader  api  monitor
sequence:raw.load_id_seq                n       -            -          -        -           -    -
sequence:ops.reconciliation_measurement_seq -   n            -          -        -           -    -
function:ops.mask                       -       e            e          -        -           -    -
create_schema                           -       -            -          -        -           -    -
create_role                             -       -            -          -        -           -    -
become_publisher                        -       y            y          -        -           -    -
become_transformer                      -       y            -          -        -           -    -
become_pii_reader                       -       -            -          -        y           -    -
log_less                                -       -            -          -        -           -    -
read_a_file_of_the_server               -       -            -          -        -           -    -
run_a_program_of_the_server             -       -            -          -        -           -    -
read_password_hashes                    -       -            -          -        -           -    -
"""

STATEMENTS = {
    "create_schema": "create schema mine",
    "create_role": "create role somebody",
    "become_publisher": "set local role publisher",
    "become_transformer": "set local role transformer",
    "become_pii_reader": "set local role pii_reader",
    "log_less": "set local log_statement to 'none'",
    "read_a_file_of_the_server": "select pg_read_file('postgresql.conf')",
    "run_a_program_of_the_server": "copy (select 1) to program 'true'",
    "read_password_hashes": "select rolpassword from pg_authid",
}

#: Said of a statement that was let through and then failed for another reason.
PERMITTED_FAILURES = (
    errors.NotNullViolation,
    errors.DependentObjectsStillExist,
    errors.FeatureNotSupported,  # truncate of a table that a foreign key points to
    errors.GeneratedAlways,
    errors.CheckViolation,  # no partition takes an empty row
    errors.WrongObjectType,  # a partition gets its columns from its table
)


@dataclass(frozen=True)
class Relation:
    name: str
    kind: str
    columns: tuple[str, ...]
    written: str  # a column that can be set

    @property
    def quoted(self) -> sql.Identifier:
        return sql.Identifier(*self.name.split(".", 1))


class Trial:
    """One session of a superuser that becomes each role in turn; nothing it does stays."""

    def __init__(self, connection: psycopg2.extensions.connection) -> None:
        self.connection = connection
        self.cells = 0

    @contextlib.contextmanager
    def as_role(self, role: str) -> Iterator[None]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql.SQL("set session authorization {}").format(sql.Identifier(role)))
        try:
            yield
        finally:
            with self.connection.cursor() as cursor:
                cursor.execute("reset session authorization")

    def may(self, statement: str | sql.Composable) -> bool:
        self.cells += 1
        with self.connection.cursor() as cursor:
            cursor.execute("begin")
            try:
                cursor.execute(statement)
            except errors.InsufficientPrivilege:
                return False
            except PERMITTED_FAILURES:
                return True
            finally:
                cursor.execute("rollback")
        return True


def lines(table: str) -> dict[str, dict[str, str]]:
    head, *rows = [line.split() for line in table.strip("\n").splitlines()]
    assert tuple(head) == ROLES
    return {name: dict(zip(ROLES, cells, strict=True)) for name, *cells in rows}


def expected(table: dict[str, dict[str, str]], name: str) -> dict[str, str]:
    return next(cells for pattern, cells in table.items() if fnmatch.fnmatchcase(name, pattern))


@pytest.fixture(scope="module")
def built(built_once: DbtWarehouse) -> Settings:
    """Both shops, built, published, and what was published kept in history."""
    load_two_shops(built_once.reset())
    built_once.run(select="tag:layer_warehouse tag:layer_marts")
    publish(built_once.settings)
    built_once.build("snapshot", select="published_segments")
    built_once.close()
    return built_once.settings


@pytest.fixture(scope="module")
def trial(built: Settings) -> Iterator[Trial]:
    connection = db.connect("owner", settings=built)
    connection.autocommit = True
    trial = Trial(connection)
    yield trial
    connection.close()


@pytest.fixture(autouse=True)
def _count_cells(trial: Trial, figure: Callable[..., None]) -> Iterator[None]:
    before = trial.cells
    yield
    figure("security", "role x object x verb: cells tried", trial.cells - before)


@pytest.fixture(scope="module")
def relations(trial: Trial) -> list[Relation]:
    with trial.connection.cursor() as cursor:
        cursor.execute(
            """
            select n.nspname || '.' || c.relname,
                case when c.relkind = 'v' then 'view' else 'table' end,
                array_agg(a.attname::text order by a.attnum),
                (array_agg(a.attname::text order by a.attnum)
                    filter (where a.attgenerated = '' and a.attidentity = ''))[1]
            from pg_class as c
            join pg_namespace as n on n.oid = c.relnamespace
            join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
            where c.relkind in ('r', 'p', 'v', 'm') and n.nspname !~ '^pg_'
                and n.nspname <> 'information_schema'
            group by 1, 2
            order by 1
            """
        )
        return [Relation(name, kind, tuple(columns), written) for name, kind, columns, written in cursor]


@pytest.fixture(scope="module")
def personal(built: Settings) -> set[str]:
    """Names of the columns that a contract calls directly personal; the models keep them."""
    return {
        column.name
        for entities in read_contracts(built.contracts_dir).values()
        for contract in entities.values()
        for column in contract.columns
        if column.pii == "direct"
    }


def tries(relation: Relation) -> dict[str, sql.Composable]:
    verbs = {
        "a": "alter table {t} add column mine int"
        if relation.kind == "table"
        else "alter view {t} rename to mine",
        "x": f"drop {relation.kind} {{t}}",
    }
    if relation.kind == "table":
        verbs |= {
            "i": "insert into {t} default values",
            "u": "update {t} set {c} = null where false",
            "d": "delete from {t} where false",
            "t": "truncate {t}",
        }
    return {
        verb: sql.SQL(text).format(t=relation.quoted, c=sql.Identifier(relation.written))
        for verb, text in verbs.items()
    }


@pytest.mark.parametrize("role", ROLES)
def test_tables_and_views_are_open_to_whom_they_concern(
    trial: Trial, relations: list[Relation], personal: set[str], role: str
) -> None:
    table = lines(RELATIONS)
    wrong = []
    with trial.as_role(role):
        for relation in relations:
            cell = expected(table, relation.name)[role]
            for verb, statement in tries(relation).items():
                if trial.may(statement) is not (verb in cell):
                    wrong.append(f"{relation.name}: {verb} is {'refused' if verb in cell else 'let through'}")
            hidden = set(relation.columns)
            if "s" in cell:
                hidden = set()
            elif "c" in cell:
                hidden = HIDDEN[role, relation.name] | personal & set(relation.columns)
                assert hidden, f"{relation.name}: nothing is hidden from {role}; write s"
            for column in relation.columns:
                statement = sql.SQL("select {} from {} limit 0").format(
                    sql.Identifier(column), relation.quoted
                )
                if trial.may(statement) is (column in hidden):
                    wrong.append(f"{relation.name}.{column} can{'' if column in hidden else 't'} be read")
            everything = sql.SQL("select * from {} limit 0").format(relation.quoted)
            if trial.may(everything) is not ("s" in cell):
                wrong.append(f"{relation.name}: select * is not as its columns are")
    assert wrong == []


def test_no_line_of_the_table_stands_for_nothing(relations: list[Relation]) -> None:
    table = lines(RELATIONS)
    used = {
        next(pattern for pattern in table if fnmatch.fnmatchcase(relation.name, pattern))
        for relation in relations
    }
    assert set(table) == used


@pytest.mark.parametrize("role", ROLES)
def test_schemas_are_open_to_whom_they_concern(trial: Trial, relations: list[Relation], role: str) -> None:
    table = lines(SCHEMAS)
    assert {relation.name.split(".")[0] for relation in relations} <= set(table)
    wrong = []
    with trial.as_role(role):
        for schema, cells in table.items():
            for verb, statement in {
                "u": f"comment on table {schema}.nothing is 'x'",
                "c": f"create table {schema}.mine ()",
            }.items():
                try:
                    is_let = trial.may(statement)
                except errors.UndefinedTable:
                    is_let = True  # it looked, and there is none
                if is_let is not (verb in cells[role]):
                    wrong.append(f"{schema}: {verb} is {'refused' if verb in cells[role] else 'let through'}")
    assert wrong == []


@pytest.mark.parametrize("role", ROLES)
def test_sequences_functions_and_the_server_are_open_to_whom_they_concern(trial: Trial, role: str) -> None:
    wrong = []
    with trial.connection.cursor() as cursor:
        cursor.execute(
            """
            select 'sequence:' || n.nspname || '.' || c.relname from pg_class as c
            join pg_namespace as n on n.oid = c.relnamespace
            -- the sequence of an identity is reached through its table alone
            left join pg_depend as d on d.objid = c.oid and d.deptype = 'i' and d.refobjsubid > 0
            where c.relkind = 'S' and d.objid is null
            union all
            select 'function:' || n.nspname || '.' || p.proname from pg_proc as p
            join pg_namespace as n on n.oid = p.pronamespace
            where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
            """
        )
        found = {name for (name,) in cursor}
    table = lines(OTHERS)
    assert found == {name for name in table if ":" in name}
    with trial.as_role(role):
        for name, cells in table.items():
            kind, _, object_ = name.partition(":")
            statement = {
                "sequence": f"select nextval('{object_}')",
                "function": f"select {object_}('pg_catalog.pg_class'::regclass)",
            }.get(kind) or STATEMENTS[name]
            is_open = cells[role] != "-"
            if kind == "function" and is_open:
                statement = f"select {object_}('ops.current_run'::regclass)"
            if trial.may(statement) is not is_open:
                wrong.append(f"{name} is {'refused' if is_open else 'let through'}")
    assert wrong == []


def test_an_analyst_sees_everything_of_a_customer_but_who_it_is(built: Settings) -> None:
    with contextlib.closing(db.connect("owner", settings=built)) as owner, owner.cursor() as cursor:
        # A database that is copied from a template does not have the settings of a role in it.
        cursor.execute(
            sql.SQL("alter role analyst in database {} set search_path to masked, marts, warehouse").format(
                sql.Identifier(built.warehouse_db)
            )
        )
        owner.commit()
        cursor.execute(
            "select customer_id, first_name, email, birth_date, city, order_count "
            "from marts.customer_summary "
            "where source_system = 'ecommerce' and email is not null order by customer_id limit 1"
        )
        known = cursor.fetchone()
    assert known and known[1] and known[2]
    with db.transaction("analyst", settings=built) as cursor:
        cursor.execute("select * from customer_summary where customer_id = %s", (known[0],))
        assert cursor.description
        row = dict(zip([c.name for c in cursor.description], cursor.fetchone() or (), strict=True))
        assert (row["first_name"], row["email"], row["birth_date"]) == ("***", "***", None)
        assert (row["customer_id"], row["city"], row["order_count"]) == (known[0], known[4], known[5])
        cursor.execute("select count(*) from dim_customers where email = '***'")
        assert cursor.fetchone() != (0,)
        with pytest.raises(errors.InsufficientPrivilege):
            cursor.execute("select * from marts.customer_summary")


def test_every_personal_column_is_known_to_the_models(personal: set[str], built_once: DbtWarehouse) -> None:
    """A model that takes a contract's personal column, and they keep its name, says that it is one."""
    nodes = [
        node
        for node in built_once.incremental.manifest.nodes.values()
        if node.resource_type in ("model", "snapshot")
    ]
    assert len(nodes) > 80
    unsaid = [
        f"{node.name}.{name}"
        for node in nodes
        for name, column in node.columns.items()
        if name in personal and column.config.meta.get("pii") != "direct"
    ]
    assert unsaid == []
