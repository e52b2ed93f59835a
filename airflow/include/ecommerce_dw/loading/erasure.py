"""Forgetting a person: their personal data goes from the raw rows, the rejected rows and the landed files.

Rows, keys and money stay. A tombstone outside the database keeps who was forgotten, for what comes later: a
file that is delivered again, a replay, a restored backup.
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import psycopg2.extensions
from psycopg2 import sql

from ecommerce_dw import db
from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.contracts.reader import read_contracts
from ecommerce_dw.loading import journal
from ecommerce_dw.loading.discover import LandedFile, discover
from ecommerce_dw.loading.landing import (
    FileForm,
    Landing,
    LandingError,
    LocalFile,
    UnreadableFileError,
    landing_of,
)
from ecommerce_dw.loading.ledger import commit_with_load_ids, waiting_keys_table
from ecommerce_dw.loading.personal import PERSON, VISIT, Eraser, People, erasable_columns, is_about_people
from ecommerce_dw.loading.rejects import kept_keys, readable
from ecommerce_dw.loading.stream import FileReader, Header, RefusedFileError, hash_file, read_names
from ecommerce_dw.loading.tombstones import Kind, Tombstones, add_tombstones, read_tombstones
from ecommerce_dw.settings import Settings

logger = logging.getLogger(__name__)

Cause = Literal["request", "load", "restore"]


class UnknownCustomerError(LookupError):
    """There is no such customer, or several have that id; the message says so. Nothing was changed."""


@dataclass(frozen=True)
class Erasure:
    """What was done to forget a person.

    Attributes:
        source: Whose customer.
        rows, rejected_rows: Rows of schema raw in which something was blanked.
        files: Landed files that were rewritten.
        entities: Entity → rows blanked.
    """

    source: str
    rows: int
    rejected_rows: int
    files: tuple[str, ...]
    entities: Mapping[str, int]


def forget_customer(
    settings: Settings,
    customer: str,
    *,
    source: str | None = None,
    contracts: Mapping[str, Mapping[str, Contract]] | None = None,
) -> Erasure:
    """Forget a customer: the tombstone first, then raw and rejected rows, then the landed files.

    May be done again at any time, and ends what was interrupted. The next run brings the models up to date.

    Args:
        settings: Whose warehouse.
        customer: The id, as it stands in the source's files.
        source: Needed where several sources have a customer of that id.
        contracts: By source and entity; None: those of the settings.

    Raises:
        UnknownCustomerError: There is no such customer, or several.
        ecommerce_dw.loading.personal.UnerasableError: A contract requires what has to go.
        ecommerce_dw.loading.tombstones.TombstoneError: The tombstones can't be kept.
        ecommerce_dw.loading.landing.LandingError: The landing zone cannot be reached, or some of its files
            not be read or rewritten; the rows, and the other files, are without the personal data.
        ecommerce_dw.db.LockHeldError: A load went on all the time allowed.
    """
    contracts = contracts if contracts is not None else read_contracts(settings.contracts_dir)
    with contextlib.closing(db.connect("owner", settings=settings)) as connection:
        source = _source_of(connection, contracts, customer, source)
        about = [contract for contract in contracts[source].values() if is_about_people(contract)]
        with connection, connection.cursor() as cursor:
            db.advisory_locks(cursor, [db.ERASURE_LOCK], "lock of an erasure", settings)
            people = People({customer.encode()})
            for contract in about:
                if _is_there(cursor, contract):
                    _find_visits(cursor, contract, people)
            add_tombstones(settings, source, [customer], _texts(people.visits))
            counts, rejected = _blank(cursor, settings, about, people)
            _record(cursor, source, "request", sum(counts.values()), rejected)
            _commit(cursor, settings)
        files, left = _rewrite_landed(connection, settings, contracts[source], about, people)
        _redact_outcomes(connection, customer)
    if left:
        raise LandingError(
            f"The rows are blanked and {len(files):,} files rewritten, but not these: {'; '.join(left)}. Put "
            "that right, then forget the customer again."
        )
    return Erasure(source, sum(counts.values()), rejected, files, counts)


def forget_in_files(
    cursor: psycopg2.extensions.cursor,
    settings: Settings,
    contract: Contract,
    file_ids: Sequence[int],
    *,
    loaded: Sequence[int],
    among: str,
) -> bool:
    """Blank what files brought of people who are to be forgotten, in the transaction that loads them.

    A visit of theirs that nobody knew is from now on to be forgotten, too: what earlier files have of it is
    blanked. The files themselves are rewritten afterwards: `rewrite_files`.

    Args:
        cursor: Of that transaction.
        settings: Whose tombstones; they are asked under the lock of erasures, as somebody may have been
            forgotten since the load began.
        contract: Of the files.
        file_ids: The files, refused ones too.
        loaded: Those of them that are loaded.
        among: The condition that finds their rows, with `%(ids)s` for their ids.

    Returns:
        Whether keys of earlier files' rows wait for a load id.
    """
    if not is_about_people(contract):
        return False
    tombstones = read_tombstones(settings)
    if not tombstones:
        return False
    people = _people_of(cursor, contract, tombstones, file_ids, among)
    if not people:
        return False
    _find_visits(cursor, contract, people)
    rows = len(_blank_rows(cursor, contract, people, file_ids))
    rejected = _blank_rejected(cursor, contract, people, file_ids)
    visits = _texts(people.visits)
    earlier: list[tuple[int, str]] = []
    if loaded and (new := visits - set(tombstones.among(contract.source, visits, "visit"))):
        add_tombstones(settings, contract.source, (), new)
        earlier = _blank_rows(cursor, contract, People(visits={visit.encode() for visit in new}), None)
        _keep_waiting(cursor, contract, loaded[0], [keys for _, keys in earlier])
    cursor.execute(
        "update raw.load_ledger set erased_at = clock_timestamp(), erased_sha256 = null "
        "where file_id = any(%s)",
        ([*file_ids, *{file_id for file_id, _ in earlier}],),
    )
    _record(cursor, contract.source, "load", rows + len(earlier), rejected)
    return bool(earlier)


def apply_tombstones(settings: Settings) -> int:
    """Blank in a database, such as a restored one, what it has of people who are to be forgotten.

    Returns:
        How many rows, rejected ones included.
    """
    tombstones = read_tombstones(settings)
    if not tombstones:
        return 0
    total = 0
    with contextlib.closing(db.connect("owner", settings=settings)) as connection:
        for source, entities in read_contracts(settings.contracts_dir).items():
            with connection, connection.cursor() as cursor:
                about = [c for c in entities.values() if is_about_people(c) and _is_there(cursor, c)]
                people = People()
                for contract in about:
                    found = _people_of(cursor, contract, tombstones, None, "true")
                    people.customers |= found.customers
                    people.visits |= found.visits
                if not people:
                    continue
                for contract in about:
                    _find_visits(cursor, contract, people)
                counts, rejected = _blank(cursor, settings, about, people)
                if blanked := sum(counts.values()) + rejected:
                    _record(cursor, source, "restore", blanked - rejected, rejected)
                _commit(cursor, settings)
                total += blanked
            for customer in people.customers:
                _redact_outcomes(connection, customer.decode())
    return total


def rewrite_files(
    connection: psycopg2.extensions.connection,
    settings: Settings,
    contracts: Mapping[str, Mapping[str, Contract]],
) -> None:
    """Take personal data out of landed files whose rows were blanked when they were loaded.

    A file that cannot be read or rewritten is left for the next load, with a warning.
    """
    tombstones = read_tombstones(settings)
    if not tombstones:
        return
    for source, entities in contracts.items():
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "select path from raw.load_ledger where source = %s and is_current and erased_at is not null "
                "and erased_sha256 is null",
                (source,),
            )
            due = {path for (path,) in cursor.fetchall()}
        if not due:
            continue
        landing = landing_of(settings, source)
        for file in discover(landing, entities).files:
            if file.path not in due:
                continue
            try:
                _rewrite(connection, settings, landing, file, tombstones)
            except (LandingError, UnreadableFileError, OSError) as error:
                logger.warning(
                    "%s still has personal data of who is to be forgotten: %s The next load tries again.",
                    *(file.path, _told(error)),
                )


# ------------------------------------------------------------------------------------------- the database


def _source_of(
    connection: psycopg2.extensions.connection,
    contracts: Mapping[str, Mapping[str, Contract]],
    customer: str,
    source: str | None,
) -> str:
    if source is not None and source not in contracts:
        raise UnknownCustomerError(f"There is no source {source}; there are {', '.join(sorted(contracts))}.")
    found = []
    with connection, connection.cursor() as cursor:
        for name, entities in contracts.items():
            tables = [
                c for c in entities.values() if PERSON in {x.name for x in c.columns} and _is_there(cursor, c)
            ]
            for contract in tables if source in (None, name) else ():
                cursor.execute(
                    sql.SQL("select exists (select from {} where {} = %s)").format(
                        sql.Identifier("raw", contract.table), sql.Identifier(PERSON)
                    ),
                    (customer,),
                )
                if (cursor.fetchone() or (False,))[0] or any(
                    Eraser(contract, header, People()).whose(raw)[0] == customer.encode()
                    for _, raw, _, header in _rejected(cursor, contract, None)
                ):
                    found.append(name)
                    break
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownCustomerError(
            f"{', '.join(found)} each have a customer {customer}: say --source. Nothing was changed."
        )
    raise UnknownCustomerError(
        f"No row of {source or 'any source'} has the customer {customer}, spelt as in its files. Nothing was "
        "changed."
    )


def _is_there(cursor: psycopg2.extensions.cursor, contract: Contract) -> bool:
    cursor.execute("select to_regclass(%s) is not null", (f"raw.{contract.table}",))
    return bool((cursor.fetchone() or (False,))[0])


def _people_of(
    cursor: psycopg2.extensions.cursor,
    contract: Contract,
    tombstones: Tombstones,
    file_ids: Sequence[int] | None,
    among: str,
) -> People:
    """The people among a table's, and its rejected rows', who are to be forgotten.

    Args:
        cursor: In a transaction.
        contract: Of the table.
        tombstones: Who is to be forgotten.
        file_ids: Rejected rows of these files alone; None: of all.
        among: Rows of the table that this condition finds, with `%(ids)s` for `file_ids`.
    """
    found = People()

    def look_at(customer: str | None, visit: str | None) -> None:
        if customer and tombstones.among(contract.source, [customer]):
            found.customers.add(customer.encode())
        if visit and not customer and tombstones.among(contract.source, [visit], "visit"):
            found.visits.add(visit.encode())

    visit_column = sql.Identifier(VISIT) if _has_visits(contract) else sql.SQL("null::text")
    # Row by row from the server: a whole shop has millions of visits.
    with cursor.connection.cursor("people_of") as rows:
        rows.itersize = 20_000
        rows.execute(
            sql.SQL(
                "select distinct {person}, case when {person} is null then {visit} end from {table} "
                "where {among}"
            ).format(
                person=sql.Identifier(PERSON),
                visit=visit_column,
                table=sql.Identifier("raw", contract.table),
                among=sql.SQL(among),
            ),
            {"ids": list(file_ids or ())},
        )
        for customer, visit in rows:
            look_at(customer, visit)
    for _, raw, _, header in _rejected(cursor, contract, file_ids):
        with contextlib.suppress(UnicodeDecodeError):
            named, visit = Eraser(contract, header, People()).whose(raw)
            look_at(named.decode() if named else None, visit.decode() if visit else None)
    return found


def _blank(
    cursor: psycopg2.extensions.cursor, settings: Settings, contracts: Sequence[Contract], people: People
) -> tuple[dict[str, int], int]:
    """Blank everything a source has of people; their keys wait for the load id that touches them."""
    counts: dict[str, int] = {}
    rejected = 0
    cursor.execute("select set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO, YMD', true)")
    for contract in contracts:
        if not _is_there(cursor, contract):
            continue
        blanked = _blank_rows(cursor, contract, people, None)
        rejected += _blank_rejected(cursor, contract, people, None)
        counts[contract.entity] = len(blanked)
        if blanked:
            cursor.execute("select max(file_id) from raw.load_ledger where load_id is not null")
            (newest,) = cursor.fetchone() or (None,)
            _keep_waiting(cursor, contract, newest, [keys for _, keys in blanked])
    return counts, rejected


def _keep_waiting(
    cursor: psycopg2.extensions.cursor, contract: Contract, file_id: int | None, keys: Sequence[str]
) -> None:
    """Let keys wait for the load id that the file gets, as JSON each."""
    waiting_keys_table(cursor)
    cursor.execute(
        "insert into pg_temp.waiting_keys (file_id, source, entity, keys) "
        "select distinct %s, %s, %s, keys from unnest(%s::jsonb[]) as keys",
        (file_id, contract.source, contract.entity, list(keys)),
    )


def _commit(cursor: psycopg2.extensions.cursor, settings: Settings) -> None:
    """Commit with a load id of its own, which says to the models that the waiting keys are touched."""
    cursor.execute("select to_regclass('pg_temp.waiting_keys') is not null")
    file_ids: list[int] = []
    if (cursor.fetchone() or (False,))[0]:
        cursor.execute("select distinct file_id from pg_temp.waiting_keys where file_id is not null")
        file_ids = [file_id for (file_id,) in cursor.fetchall()]
    commit_with_load_ids(cursor, settings, file_ids, has_removed=bool(file_ids))


def _has_visits(contract: Contract) -> bool:
    return VISIT in {column.name for column in contract.columns}


def _find_visits(cursor: psycopg2.extensions.cursor, contract: Contract, people: People) -> None:
    """Add the customers' visits, as loaded and rejected rows say whose they are."""
    if not people.customers or not _has_visits(contract):
        return
    cursor.execute(
        sql.SQL(
            "select distinct {visit} from {table} where {person} = any(%s) and {visit} is not null"
        ).format(
            visit=sql.Identifier(VISIT),
            person=sql.Identifier(PERSON),
            table=sql.Identifier("raw", contract.table),
        ),
        (sorted(_texts(people.customers)),),
    )
    people.visits |= {visit.encode() for (visit,) in cursor.fetchall()}
    for _, raw, _, header in _rejected(cursor, contract, None):
        customer, named = Eraser(contract, header, People()).whose(raw)
        if customer in people.customers and named is not None:
            people.visits.add(named)


def _texts(ids: Iterable[bytes]) -> set[str]:
    """Ids as the database has them; one that is no text is in no row."""
    found = set()
    for each in ids:
        with contextlib.suppress(UnicodeDecodeError):
            found.add(each.decode())
    return found


def _blank_rows(
    cursor: psycopg2.extensions.cursor, contract: Contract, people: People, file_ids: Sequence[int] | None
) -> list[tuple[int, str]]:
    """Blank rows of a raw table; the file of each, and its kept keys as JSON."""
    columns = list(map(sql.Identifier, erasable_columns(contract)))
    cursor.execute(
        sql.SQL(
            """
            update {table} set {blanks}
            where num_nonnulls({columns}) > 0
                and ({person} = any(%(customers)s) or {person} is null and {visit} = any(%(visits)s))
                and ({all} or _file_id = any(%(files)s))
            returning _file_id, jsonb_strip_nulls(jsonb_build_object({keys}))::text
            """
        ).format(
            table=sql.Identifier("raw", contract.table),
            blanks=sql.SQL(", ").join(sql.SQL("{} = null").format(column) for column in columns),
            columns=sql.SQL(", ").join(columns),
            person=sql.Identifier(PERSON),
            visit=sql.Identifier(VISIT) if _has_visits(contract) else sql.SQL("null"),
            all=sql.Literal(file_ids is None),
            keys=sql.SQL(", ").join(
                sql.SQL("{}, {}::text").format(sql.Literal(name), sql.Identifier(name))
                for name in kept_keys(contract)
            ),
        ),
        {
            "customers": sorted(_texts(people.customers)),
            "visits": sorted(_texts(people.visits)),
            "files": list(file_ids or ()),
        },
    )
    return [(file_id, keys) for file_id, keys in cursor.fetchall()]


def _blank_rejected(
    cursor: psycopg2.extensions.cursor, contract: Contract, people: People, file_ids: Sequence[int] | None
) -> int:
    """Blank rejected rows, whatever became of them; how many."""
    changed = 0
    for rejected_id, raw, reasons, header in _rejected(cursor, contract, file_ids):
        if not any(word in raw for word in people.words):
            continue
        erased = Eraser(contract, header, people).erase(raw, reasons)
        if erased == raw:
            continue
        changed += 1
        cursor.execute(
            """
            update raw.rejected_rows
            set raw_bytes = %s, raw_line = %s,
                -- what the server quoted of a value
                reasons = (select array_agg(regexp_replace(reason, ': ".*"$', '') order by place)
                    from unnest(reasons) with ordinality as told (reason, place))
            where rejected_id = %s
            """,
            (erased, readable(erased), rejected_id),
        )
    return changed


def _rejected(
    cursor: psycopg2.extensions.cursor, contract: Contract, file_ids: Sequence[int] | None
) -> list[tuple[int, bytes, list[str], Header]]:
    cursor.execute(
        """
        select r.rejected_id, r.raw_bytes, r.reasons, l.header, l.file_id
        from raw.rejected_rows as r
        join raw.load_ledger as l using (file_id)
        where r.source = %s and r.entity = %s and l.header is not null and (%s or r.file_id = any(%s))
        """,
        (contract.source, contract.entity, file_ids is None, list(file_ids or ())),
    )
    headers: dict[int, Header] = {}
    found = []
    for rejected_id, raw, reasons, header, file_id in cursor.fetchall():
        if file_id not in headers:
            headers[file_id] = read_names(bytes(header), contract, is_whole_file=True)
        found.append((rejected_id, bytes(raw), reasons, headers[file_id]))
    return found


def _record(cursor: psycopg2.extensions.cursor, source: str, cause: Cause, rows: int, rejected: int) -> None:
    cursor.execute(
        "insert into ops.erasures (source, cause, rows_blanked, rejected_rows_blanked) "
        "values (%s, %s, %s, %s)",
        (source, cause, rows, rejected),
    )


def _redact_outcomes(connection: psycopg2.extensions.connection, customer: str) -> None:
    """Rows that failed a test were kept as they were; those of the customer go."""
    with connection, connection.cursor() as cursor:
        cursor.execute("delete from ops.test_failures where failing_row ->> %s = %s", (PERSON, customer))
        cursor.execute(
            "update ops.expectation_results set observed = null, message = null "
            "where jsonb_path_exists(observed, '$.examples[*].customer_id ? (@ == $who)', "
            "jsonb_build_object('who', %s::text))",
            (customer,),
        )


# ---------------------------------------------------------------------------------------- the landing zone


def _rewrite_landed(
    connection: psycopg2.extensions.connection,
    settings: Settings,
    contracts: Mapping[str, Contract],
    about: Sequence[Contract],
    people: People,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Rewrite every landed file that has something of the person, loaded or not.

    Returns:
        The rewritten files, and what could not be looked at or rewritten, with the reason.
    """
    if not about:
        return (), ()
    source = about[0].source
    landing = landing_of(settings, source)
    zone = discover(landing, contracts)
    rewritten: list[str] = []
    left = [f"{path}: {reason}" for path, reason in zone.unreadable]
    # First whose visits are whose: one file may say so of another's.
    for file in zone.files:
        if file.contract in about and _has_visits(file.contract):
            with contextlib.suppress(UnreadableFileError, OSError, LandingError, RefusedFileError):
                people.visits |= _visits_in(file, people.customers)
    add_tombstones(settings, source, (), _texts(people.visits))
    for file in zone.files:
        try:
            if file.contract in about and _rewrite(connection, settings, landing, file, people):
                rewritten.append(file.path)
        except (LandingError, UnreadableFileError, OSError) as error:
            left.append(f"{file.path}: {_told(error).rstrip('.')}")
    return tuple(rewritten), tuple(left)


def _told(error: LandingError | UnreadableFileError | OSError) -> str:
    return f"{error.strerror or error}." if isinstance(error, OSError) else str(error)


def _rewrite(
    connection: psycopg2.extensions.connection,
    settings: Settings,
    landing: Landing,
    file: LandedFile,
    whose: People | Tombstones,
) -> bool:
    """Put a file without the personal data in its own place; whether anything in it was theirs."""
    try:
        start, header, form = _beginning(file)
    except RefusedFileError:
        return False  # no text with a header: whose would its fields be?
    people = whose if isinstance(whose, People) else _forgotten_in(file, header, whose)
    source = file.contract.source
    with connection, connection.cursor() as cursor, tempfile.TemporaryDirectory() as folder:
        cursor.execute(
            "select file_id, status, is_threshold_waived from raw.load_ledger "
            "where source = %s and path = %s and is_current for update",
            (source, file.path),
        )
        entry = cursor.fetchone()
        new = Path(folder) / "erased"
        is_changed = False
        if people:
            rejected = _rejected_records(cursor, entry[0] if entry else None)
            eraser = Eraser(file.contract, header, people)
            lines = eraser.erased(_content(file, header), header.first_line, rejected)
            _write(new, file, start, lines)
            is_changed = eraser.changed > 0
        if is_changed:
            if _form_of(landing, file.path) != form:  # a newer version must not be written over
                raise UnreadableFileError(f"{file.location} was delivered again while it was rewritten.")
            _carry_decision(settings, source, file.path, entry, hash_file(LocalFile(new)))
            landing.put(file.path, new)
        if entry and (is_changed or isinstance(whose, Tombstones)):
            form = _form_of(landing, file.path)
            cursor.execute(
                "update raw.load_ledger set erased_at = coalesce(erased_at, clock_timestamp()), "
                "erased_sha256 = %s, bytes = %s, modified_at = %s, etag = %s where file_id = %s",
                (hash_file(landing.at(file.path)), form.bytes, form.modified_at, form.etag, entry[0]),
            )
    if is_changed:
        logger.info("%s was rewritten without the personal data of who is to be forgotten.", file.path)
    return is_changed


def _beginning(file: LandedFile) -> tuple[bytes, Header, FileForm]:
    """A file's bytes up to its rows, its header, and in which form it was.

    Raises:
        RefusedFileError: It is no text with a header.
        UnreadableFileError: It cannot be read.
    """
    reader = FileReader(file.location, is_gzip=file.is_gzip)
    try:
        start, is_whole, _ = reader.start()
        header = read_names(start, file.contract, is_whole_file=is_whole)
    finally:
        reader.close()
    return start[: header.length], header, reader.form


def _content(file: LandedFile, header: Header) -> Iterator[bytes]:
    """What stands after a file's header."""
    skipped = header.length
    for piece in FileReader(file.location, is_gzip=file.is_gzip).pieces():
        yield piece[skipped:]
        skipped = max(skipped - len(piece), 0)


def _visits_in(file: LandedFile, customers: set[bytes]) -> set[bytes]:
    """The visits that a file says are the customers'; malformed records name none."""
    _, header, _ = _beginning(file)
    eraser = Eraser(file.contract, header, People())
    content = _content(file, header)
    word = next(iter(customers))
    return eraser.people_in(content, header.first_line, customers.__contains__, word=word).visits


def _forgotten_in(file: LandedFile, header: Header, tombstones: Tombstones) -> People:
    """Those who are to be forgotten of whom a file has something, and their visits."""

    @cache
    def is_forgotten(id_: bytes, kind: Kind) -> bool:
        return bool(tombstones.among(file.contract.source, [id_.decode(errors="replace")], kind))

    return Eraser(file.contract, header, People()).people_in(
        _content(file, header),
        header.first_line,
        lambda customer: is_forgotten(customer, "customer"),
        is_wanted_visit=lambda visit: is_forgotten(visit, "visit"),
    )


def _form_of(landing: Landing, path: str) -> FileForm:
    opened = landing.at(path).open()
    opened.close()
    return opened.form


def _write(path: Path, file: LandedFile, start: bytes, content: Iterable[bytes]) -> None:
    with contextlib.ExitStack() as stack:
        output: Any = stack.enter_context(path.open("wb"))
        if file.is_gzip:
            output = stack.enter_context(gzip.GzipFile(fileobj=output, mode="wb", mtime=0, filename=""))
        output.write(start)
        for piece in content:
            output.write(piece)


def _rejected_records(
    cursor: psycopg2.extensions.cursor, file_id: int | None
) -> list[tuple[bytes, list[str]]]:
    cursor.execute("select raw_bytes, reasons from raw.rejected_rows where file_id = %s", (file_id,))
    return [(bytes(raw), reasons) for raw, reasons in cursor.fetchall()]


def _carry_decision(
    settings: Settings, source: str, path: str, entry: tuple[Any, ...] | None, sha256: str
) -> None:
    """What a person decided about the bytes holds for them without the personal data, too."""
    if entry is None:
        return
    _, status, is_waived = entry
    held = journal.last_decisions(settings).get((source, path))
    wanted = journal.STATUS.get(held.decision) if held else None
    # Not by their bytes: an erasure that died may have carried it already, and the ledger not been told.
    if held and (is_waived if held.decision == "accept" else status == wanted):
        journal.append(settings, held.decision, source, path, sha256, reason=journal.ERASED)
