"""The stream to COPY: whatever the file looks like, each record is handed on once or kept aside once."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecommerce_dw.contracts.model import Column, Contract, FileLayout
from ecommerce_dw.loading.landing import LocalFile, UnreadableFileError
from ecommerce_dw.loading.spellings import _search, _search_large
from ecommerce_dw.loading.stream import (
    FileReader,
    RecordStream,
    fetch_records,
    read_header,
    records,
    split_fields,
)


def make_contract(*names: str) -> Contract:
    """A contract of text columns."""
    columns = tuple(
        Column(name, name, "text", False, False, None, None, None, None, None, (), None, "none", "")
        for name in names
    )
    return Contract(
        *("shop", "things", "1", "1", "", columns, (), (), None),
        *(FileLayout("{date}{part}.csv", ",", '"', "utf-8"), "UTC", "USD", None, None),
        *(0, Decimal(0), "critical", "ignore", ()),
    )


CONTRACT = make_contract("a", "b", "c")
FIELD = st.text(st.sampled_from('ab,"\n\r é%'), max_size=6)
ROW = st.lists(FIELD, min_size=3, max_size=3).filter(lambda row: any(row))


def stream_of(
    content: bytes, contract: Contract = CONTRACT, size: int = 1 << 20
) -> tuple[RecordStream, bytes]:
    """What becomes of a file: the stream afterwards, and the lines it handed out."""
    header = read_header(content, contract, is_whole_file=True)
    stream = RecordStream(contract, header, 17)
    rest = content[header.length :]
    blocks = (rest[start : start + size] for start in range(0, len(rest), size))
    return stream, b"".join(stream.lines(blocks))


@settings(deadline=None, max_examples=200)
@given(
    rows=st.lists(ROW, max_size=40),
    ends=st.sampled_from(["\n", "\r\n"]),
    size=st.sampled_from([7, 4096]),
    quote_all=st.booleans(),
)
def test_every_well_formed_record_is_handed_on_with_its_line(
    rows: list[list[str]], ends: str, size: int, quote_all: bool
) -> None:
    text = io.StringIO(newline="")
    if not quote_all:  # the writer leaves a carriage return without quotation marks
        rows = [[field.replace("\r", "") or "-" for field in row] for row in rows]
    writer = csv.writer(text, lineterminator=ends, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL)
    writer.writerow("abc")
    lines = []
    for row in rows:
        lines.append(text.getvalue().count("\n") + 1)
        writer.writerow(row)

    stream, out = stream_of(text.getvalue().encode(), size=size)

    assert (stream.records, stream.bad_records) == (len(rows), [])
    handed_on = list(csv.reader(io.StringIO(out.decode(), newline="")))
    assert handed_on == [["17", str(line), *row] for line, row in zip(lines, rows, strict=True)]


@settings(deadline=None, max_examples=200)
@given(
    st.binary(max_size=300).map(
        lambda data: data.translate(bytes(b'ab,"\n\r\xe9\0'[n % 8] for n in range(256)))
    )
)
def test_whatever_the_bytes_each_record_goes_one_of_two_ways(data: bytes) -> None:
    stream, out = stream_of(b"a,b,c\n" + data)

    handed_on = list(records(out, 1, b'"', lambda record: True))
    assert stream.records == len(handed_on) + len(stream.bad_records)
    for _, record in handed_on:
        assert len(split_fields(record, b",", b'"')) == 5
        record.decode()
    # nothing but blank lines and line ends is missing
    first_lines = {record.line for record in stream.bad_records}
    assert len(first_lines) == len(stream.bad_records)


def test_lines_that_the_server_names_lead_back_to_lines_of_the_file() -> None:
    content = b'a,b,c\n1,2,3\nx\n4,"5\n5",6\n\n7,8,9\n'
    stream, out = stream_of(content)

    assert out == b'17,2,1,2,3\n17,4,4,"5\n5",6\n17,7,7,8,9\n'
    # COPY names the last line of a record
    assert [stream.line_in_file(line) for line in (1, 3, 4)] == [2, 4, 7]


def test_records_are_found_again_in_a_second_reading(tmp_path: Path) -> None:
    rows = [f'{n},"text {n}\nsecond line",{n % 7}\n' for n in range(20_000)]
    rows[12_345] = "x,y\n"
    file = tmp_path / "things.csv"
    file.write_text("a,b,c\n" + "".join(rows))
    stream, _ = stream_of(file.read_bytes())
    wanted = [2, 2 * 700 + 2, 2 * 12_346 + 1, 2 * 19_999 + 1]

    found = list(fetch_records(LocalFile(file), is_gzip=False, stream=stream, wanted=wanted))

    assert [line for line, _ in found] == wanted
    assert [record.split(b",")[0] for _, record in found] == [b"0", b"700", b"12346", b"19999"]


def test_percent_signs_stay_what_they_are() -> None:
    assert stream_of(b"a,b,c\n100%,%d,%%s\n")[1] == b"17,2,100%,%d,%%s\n"


@pytest.mark.parametrize(
    ("record", "fields"),
    [
        (b"a,b", [b"a", b"b"]),
        (b'"a,b",c', [b"a,b", b"c"]),
        (b'"a""b"', [b'a"b']),
        (b'""""', [b'"']),
        (b'"",', [b"", b""]),
        (b'a"b,c"d', [b"ab,cd"]),
    ],
)
def test_fields_are_read_as_copy_reads_them(record: bytes, fields: list[bytes]) -> None:
    assert split_fields(record, b",", b'"') == fields


def test_a_file_that_changes_while_it_is_read_is_not_taken(tmp_path: Path) -> None:
    file = tmp_path / "things.csv"
    file.write_bytes(b"a,b,c\n")
    reader = FileReader(LocalFile(file), is_gzip=False)
    pieces = reader.pieces()
    next(pieces)
    with file.open("ab") as more:
        more.write(b"1,2,3\n")
    with pytest.raises(UnreadableFileError, match="changed while it was read"):
        list(pieces)


SPELLED = ("now", "Today", "TOMORROW", "yesterday", "epoch", "allballs", "s", "0x", "0B", "0o", "1", "_", ",")


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.sampled_from((*SPELLED, "\n", " ", "-", "é", "\x7f", "\x10")),
        min_size=1,
        max_size=30,
    ).map(lambda parts: "".join(parts).encode())
)
def test_small_and_large_pieces_are_searched_alike(text: bytes) -> None:
    if b"\x10" in text or b"\x7f" in text:  # may be suspected in a large piece; the record itself decides
        for small, large in zip(_search(text, True, True), _search_large(text, True, True), strict=True):
            assert set(small) - set(large) <= {at for at in small if b"\x10" in text[max(at - 1, 0) : at]}
        return
    assert [sorted(found) for found in _search(text, True, True)] == [
        sorted(found) for found in _search_large(text, True, True)
    ]
