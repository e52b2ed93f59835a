"""A file's bytes on their way to COPY: header, line numbers, and what the server could not digest.

Python looks at pieces of the file, not at rows: a piece whose separators, quotes, line ends and encoding
add up goes through as it is, with each line's file id and line number written in front. Only a piece that
does not add up is cut smaller, down to the records that are wrong; these are kept aside and never reach the
server.
"""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.loading.landing import READ_SIZE, FileChangedError, FileForm, Location, UnreadableFileError
from ecommerce_dw.loading.spellings import Spellings

#: Bytes looked at and numbered at a time: several copies of it stay in the processor's cache, which makes
#: it four times as quick as with a mebibyte.
_PIECE = 192 << 10
#: Pieces that do not add up are cut to about this size before their records are looked at one by one.
_SMALL_PIECE = 1 << 11
#: A record longer than this, or of more lines, has a quotation mark that was never closed.
_MAX_RECORD_BYTES = 4 << 20
_MAX_RECORD_LINES = 64
#: Bytes of records kept aside for one file in memory; beyond it the file is over any threshold.
MAX_KEPT_BYTES = 32 << 20

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class RefusedFileError(Exception):
    """The file as a whole cannot be loaded under its contract; the message says why."""


class TooManyRejectsError(Exception):
    """More records failed than the file's thresholds can ever allow."""


class FileReader:
    """Reads a file once, from start to end, in pieces, with the digest of its bytes.

    Attributes:
        location: Where the file lies.
        form: The form it had when it was opened.
        is_gzip: Whether the pieces are decompressed; the digest is over the bytes as they lie.
    """

    def __init__(self, location: Location, *, is_gzip: bool) -> None:
        self.location = location
        self.is_gzip = is_gzip
        self._digest = hashlib.sha256()
        try:
            self._file = location.open()
        except OSError as error:
            raise self._unreadable("opened", error) from error
        self.form: FileForm = self._file.form

    @property
    def sha256(self) -> str:
        """Digest of the bytes read so far."""
        return self._digest.hexdigest()

    def raw_pieces(self) -> Iterator[bytes]:
        """The file's bytes as they lie.

        Raises:
            UnreadableFileError: An I/O error, or the file changed meanwhile.
        """
        try:
            while piece := self._file.read():
                self._digest.update(piece)
                yield piece
        except OSError as error:
            raise self._unreadable("read", error) from error
        finally:
            self._file.close()

    def _unreadable(self, what: str, error: OSError) -> UnreadableFileError:
        if isinstance(error, FileChangedError):
            return UnreadableFileError(
                f"{self.location} changed while it was read. Producers write under another name and rename."
            )
        return UnreadableFileError(f"{self.location} could not be {what}: {error.strerror or error}.")

    def pieces(self) -> Iterator[bytes]:
        """The file's content, decompressed where it is compressed.

        Raises:
            UnreadableFileError: As `raw_pieces`, or the compressed data are damaged or cut off.
        """
        yield from self._decompressed() if self.is_gzip else self.raw_pieces()

    def _decompressed(self) -> Iterator[bytes]:
        inflate = zlib.decompressobj(wbits=31)
        has_data = False
        try:
            for raw in self.raw_pieces():
                while raw:
                    if inflate.eof:  # a further member, or padding after the last one
                        raw = raw.lstrip(b"\0")
                        if not raw:
                            break
                        inflate = zlib.decompressobj(wbits=31)
                    has_data = True
                    yield inflate.decompress(raw, READ_SIZE)
                    while inflate.unconsumed_tail:
                        yield inflate.decompress(inflate.unconsumed_tail, READ_SIZE)
                    raw = inflate.unused_data
        except zlib.error as error:
            raise UnreadableFileError(
                f"{self.location} is no readable gzip file: {error}. Deliver it again."
            ) from error
        if not has_data or not inflate.eof:
            raise UnreadableFileError(f"{self.location} is cut off in the middle. Deliver it again.")

    def seek(self, position: int) -> int:
        """Go on at another byte of the file; the digest is then that of no file."""
        return self._file.seek(position)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


def hash_file(location: Location) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        UnreadableFileError: It cannot be read.
    """
    reader = FileReader(location, is_gzip=False)
    for _ in reader.raw_pieces():
        pass
    return reader.sha256


@dataclass(frozen=True)
class Header:
    """A file's header as its contract reads it.

    Attributes:
        raw: Its bytes with their line end, without a byte order mark.
        fields: Raw column of each field, in the file's order; None for an extra column.
        names: Names of the fields as they stand in the file.
        first_line: Line on which the first record may begin.
        length: Bytes before the first record, a byte order mark and blank lines included.
    """

    raw: bytes
    fields: tuple[str | None, ...]
    names: tuple[str, ...]
    first_line: int
    length: int

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw columns that the file fills, in its order."""
        return tuple(name for name in self.fields if name is not None)

    @property
    def has_extra_columns(self) -> bool:
        """Whether fields must be left out on the way."""
        return None in self.fields


def split_fields(record: bytes, delimiter: bytes, quote: bytes) -> list[bytes]:
    """The fields of a record as COPY reads them: a quotation mark anywhere opens a quoted part."""
    if quote not in record:
        return record.split(delimiter)
    fields: list[bytes] = []
    parts = record.split(quote)
    current = b""
    for number, part in enumerate(parts):
        if number % 2:  # inside quotation marks
            current += part
            continue
        if not part and 0 < number < len(parts) - 1:
            current += quote  # a doubled quotation mark stands for one
            continue
        first, *others = part.split(delimiter)
        current += first
        for other in others:
            fields.append(current)
            current = other
    fields.append(current)
    return fields


def read_header(start: bytes, contract: Contract, *, is_whole_file: bool) -> Header:
    """Read the header at the start of a file and check it against the contract.

    Args:
        start: The file's first bytes.
        is_whole_file: Whether there is nothing after them.

    Raises:
        RefusedFileError: The file is empty, is no text, or its header breaks the contract's rules.
    """
    text = start.removeprefix(_BYTE_ORDER_MARK)
    length = len(start) - len(text)
    delimiter, quote = contract.layout.delimiter.encode(), contract.layout.quote.encode()
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise RefusedFileError("The file is encoded in UTF-16, not in UTF-8. Deliver it in UTF-8.")
    if start[:2] == b"\x1f\x8b":
        raise RefusedFileError("The file is gzip data under a name without .gz. Deliver it as <name>.csv.gz.")
    line_number = 1
    while True:  # blank lines are no records, so they are no header either
        end = text.find(b"\n")
        line = text if end < 0 else text[: end + 1]
        if line.strip() or not line:
            break
        text, length, line_number = text[len(line) :], length + len(line), line_number + 1
    if not text.strip():
        raise RefusedFileError("The file is empty: it has no header. Deliver it with its header.")
    end = 0
    while end < len(text):
        end = text.find(b"\n", end) + 1 or len(text)
        if text.count(quote, 0, end) % 2 == 0:
            break
    raw = text[:end]
    if b"\0" in raw or (not raw.endswith(b"\n") and not is_whole_file):
        raise RefusedFileError("The file is no text: its first line is no header. Deliver it as CSV.")
    try:
        decoded = [part.decode() for part in split_fields(raw.rstrip(b"\r\n"), delimiter, quote)]
    except UnicodeDecodeError as error:
        raise RefusedFileError(
            f"The file is no UTF-8 text: its header has the byte 0x{error.object[error.start]:02x}. "
            "Deliver it as CSV in UTF-8."
        ) from error
    names = tuple(name.strip() for name in decoded)
    by_header = {column.header: column for column in contract.columns}
    _check_names(names, contract)
    return Header(
        raw=raw,
        fields=tuple(by_header[name].name if name in by_header else None for name in names),
        names=names,
        first_line=line_number + raw.count(b"\n"),
        length=length + len(raw),
    )


def _check_names(names: tuple[str, ...], contract: Contract) -> None:
    seen = "The header is: " + contract.layout.delimiter.join(names)[:500]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise RefusedFileError(f"The header names {', '.join(doubled)} more than once. {seen}")
    missing = [
        column.header
        for column in contract.columns
        if (column.is_required or column.name in contract.primary_key) and column.header not in names
    ]
    if missing:
        raise RefusedFileError(f"The header lacks the required {', '.join(missing)}. {seen}")
    known = {column.header for column in contract.columns}
    extra = [name for name in names if name not in known]
    if not known & set(names):
        raise RefusedFileError(f"The header has none of the contract's columns. {seen}")
    if extra and contract.extra_columns == "refuse":
        raise RefusedFileError(
            f"The header has {', '.join(map(repr, extra))}, which the contract does not know. {seen}"
        )


@dataclass(frozen=True)
class BadRecord:
    """A record that never reached the server.

    Attributes:
        line: Its first line.
        raw: Its bytes without the line end.
        reasons: Why.
    """

    line: int
    raw: bytes
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Piece:
    """A part of a file's content that begins and ends with whole records.

    Attributes:
        start, end: Where it lies in the content; the last one has no end.
        first_line, next_line: Its first line and that of the piece behind it.
        is_plain: Every line in it is a record.
    """

    start: int
    end: int | None
    first_line: int
    next_line: int | None
    is_plain: bool

    def records(
        self, data: bytes, wanted: Sequence[int], quote: bytes, is_record: Callable[[bytes], bool]
    ) -> Iterator[tuple[int, bytes]]:
        """Those of its records that begin on the wanted lines; the rest as in the function `records`."""
        if self.is_plain:
            lines = data.split(b"\n")
            for line in wanted:
                if line - self.first_line < len(lines):
                    yield line, lines[line - self.first_line].removesuffix(b"\r")
            return
        lines_wanted = set(wanted)
        for line, record in records(data, self.first_line, quote, is_record):
            if line in lines_wanted:
                yield line, record


@dataclass
class RecordStream:
    """Turns a file's content into lines for COPY, each led by the file's id and the record's line number.

    Attributes:
        contract, header, file_id: What the lines are made for.
        is_careful: Look at each record, because the server found one that only added up with others.
        records: Records seen so far; blank lines are none.
        bad_records: Those kept aside.
        lines_out: Lines handed out so far.
        uncounted_lines: Line ends inside the first record handed out, which COPY does not count.
    """

    contract: Contract
    header: Header
    file_id: int
    is_careful: bool = False
    may_keep_all: bool = False
    records: int = 0
    bad_records: list[BadRecord] = field(default_factory=list)
    lines_out: int = 0
    uncounted_lines: int = 0
    _kept_bytes: int = 0
    _line: int = 0
    _run_starts: array[int] = field(default_factory=lambda: array("q"))
    _run_offsets: array[int] = field(default_factory=lambda: array("q"))
    _piece_lines: array[int] = field(default_factory=lambda: array("q"))
    _piece_offsets: array[int] = field(default_factory=lambda: array("q"))
    _piece_is_plain: array[int] = field(default_factory=lambda: array("b"))

    def __post_init__(self) -> None:
        layout = self.contract.layout
        self._delimiter, self._quote = layout.delimiter.encode(), layout.quote.encode()
        self._separators = len(self.header.fields) - 1
        self._line = self.header.first_line
        # A single column has no separators to count; extra columns are left out record by record.
        self._needs_care = self.is_careful or self._separators == 0 or self.header.has_extra_columns
        self._spellings = Spellings(self.contract, self.header.fields)
        self._keep = [number for number, name in enumerate(self.header.fields) if name is not None]
        self._prefix = b"%d%b%%d%b" % (self.file_id, self._delimiter, self._delimiter)

    def line_in_file(self, line_out: int) -> int:
        """First line, in the file, of the record that ended on this line of what was handed out."""
        run = bisect_right(self._run_starts, line_out) - 1
        return line_out + self._run_offsets[run]

    def piece_with(self, line: int) -> Piece:
        """The piece of the file that a line is in."""
        number = bisect_right(self._piece_lines, line) - 1
        is_last = number + 1 == len(self._piece_lines)
        return Piece(
            start=self._piece_offsets[number],
            end=None if is_last else self._piece_offsets[number + 1],
            first_line=self._piece_lines[number],
            next_line=None if is_last else self._piece_lines[number + 1],
            is_plain=bool(self._piece_is_plain[number]),
        )

    def lines(self, content: Iterable[bytes]) -> Iterator[bytes]:
        """The lines for COPY.

        Args:
            content: The file's content after its header, in pieces of any size.

        Raises:
            TooManyRejectsError: The records kept aside outgrow what is kept of one file.
        """
        rest = b""
        offset = self.header.length
        for block in content:
            data = rest + block if rest else block
            start = 0
            while len(data) - start >= _PIECE:
                cut = self._cut(data, start + _PIECE, start)
                if cut <= start:  # a record longer than a piece
                    cut = self._cut(data, len(data), start)
                if cut <= start:
                    if len(data) - start <= _MAX_RECORD_BYTES:
                        break
                    # no end in sight: the first line alone is what is wrong
                    cut = data.find(b"\n", start) + 1 or len(data)
                yield b"".join(self._process(data[start:cut], offset + start))
                start = cut
            offset += start
            rest = data[start:]
        while rest:
            ended = rest if rest.endswith(b"\n") else rest + b"\n"
            cut = min(self._cut(ended, len(ended)), len(rest)) or rest.find(b"\n") + 1 or len(rest)
            yield b"".join(self._process(rest[:cut], offset))
            offset += cut
            rest = rest[cut:]

    def _note_piece(self, offset: int, *, is_plain: bool) -> None:
        self._piece_offsets.append(offset)
        self._piece_is_plain.append(is_plain)
        self._piece_lines.append(self._line)

    def _cut(self, data: bytes, limit: int, start: int = 0) -> int:
        """End of the last record in `data[start:limit]` that is whole; `start` where there is none."""
        cut = data.rfind(b"\n", start, limit) + 1
        if cut <= start:
            return start
        quotes = _count(data, self._quote, start, cut)
        while quotes % 2 and cut > start:
            previous = max(data.rfind(b"\n", start, cut - 1) + 1, start)
            quotes -= data.count(self._quote, previous, cut)
            cut = previous
        return cut

    def _process(self, piece: bytes, offset: int, may_be_odd: bool | None = None) -> Iterator[bytes]:
        if self._needs_care:
            self._note_piece(offset, is_plain=False)
            yield from self._one_by_one(piece)
            return
        clean = self._clean(piece, may_be_odd is not False)
        if clean is not None:
            self._note_piece(offset, is_plain=True)
            yield self._numbered(clean)
            return
        if may_be_odd is None:  # one look at the whole piece is quicker than one at each part
            may_be_odd = self._spellings.may_be_in(piece.replace(self._quote, b""))
        # Smaller and smaller, so that few records are looked at one by one.
        size = max(len(piece) // 16, _SMALL_PIECE)
        start = 0
        while start < len(piece):
            cut, reach = len(piece), size
            while start + reach < len(piece):
                cut = self._cut(piece, start + reach, start)
                if cut > start:
                    break
                cut, reach = len(piece), reach * 2
            if cut - start == len(piece):
                self._note_piece(offset + start, is_plain=False)
                yield from self._one_by_one(piece[start:cut], may_be_odd)
            else:
                yield from self._process(piece[start:cut], offset + start, may_be_odd)
            start = cut

    def _clean(self, piece: bytes, may_be_odd: bool) -> bytes | None:
        """The piece with plain line ends, if every record in it is well formed as far as counting tells.

        Args:
            may_be_odd: Whether it may have a spelling that the casts take and the contract does not.
        """
        if not piece.endswith(b"\n"):
            piece += b"\n"
        lines = _count(piece, b"\n")
        outside = text = piece
        if self._quote in piece:
            parts = piece.split(self._quote)
            if len(parts) % 2 == 0:
                return None
            outside = b"".join(parts[::2])
            if _count(outside, b"\n") != lines or b"\0" in piece:
                return None
            quoted = b"\0".join(parts[1::2]).replace(self._delimiter, b" ").replace(b"\n", b" ")
            parts[1::2] = quoted.split(b"\0")
            text = b"".join(parts)  # as the server reads it, but every separator in it separates
        if _count(outside, self._delimiter) != lines * self._separators or b"\0" in piece:
            return None
        if may_be_odd and self._spellings.are_in(text, self._delimiter):
            return None
        if b"\r" in piece:
            if piece.count(b"\r") != lines or piece.count(b"\r\n") != lines:
                return None
            piece = piece.replace(b"\r\n", b"\n")
        if not piece.isascii():
            try:
                piece.decode()
            except UnicodeDecodeError:
                return None
        return piece

    def _numbered(self, piece: bytes) -> bytes:
        lines = _count(piece, b"\n")
        self._note_run(self.lines_out + 1, self._line)
        if b"%" in piece:
            piece = piece.replace(b"%", b"%%")
        # One format over the whole piece is the quickest way to write a number before each line.
        template = self._prefix + piece[:-1].replace(b"\n", b"\n" + self._prefix) + b"\n"
        numbered = template % tuple(range(self._line, self._line + lines))
        self._line += lines
        self.lines_out += lines
        self.records += lines
        return numbered

    def _note_run(self, line_out: int, line: int) -> None:
        offset = line - line_out
        if not self._run_offsets or self._run_offsets[-1] != offset:
            self._run_starts.append(line_out)
            self._run_offsets.append(offset)

    def _one_by_one(self, piece: bytes, may_be_odd: bool = True) -> Iterator[bytes]:
        out: list[bytes] = []
        for line, record in records(piece, self._line, self._quote, self.may_span_lines):
            if not record.strip():
                continue
            self.records += 1
            reasons = self._problems(record, may_be_odd)
            if reasons:
                self._keep_aside(BadRecord(line, record, reasons))
                continue
            if self.header.has_extra_columns:
                record = self._without_extra_columns(record)
            # COPY counts the lines inside a quoted field too and names the last line of a record.
            if not self.lines_out:
                self.uncounted_lines = record.count(b"\n")
            self.lines_out += record.count(b"\n") + 1
            self._note_run(self.lines_out, line)
            out.append(self._prefix % line + record + b"\n")
        self._line += piece.count(b"\n") + (not piece.endswith(b"\n"))
        if out:
            yield b"".join(out)

    def _problems(self, record: bytes, may_be_odd: bool) -> tuple[str, ...]:
        reasons = []
        outside = record
        if self._quote in record:
            parts = record.split(self._quote)
            if len(parts) % 2 == 0:
                return ("a quotation mark is opened and not closed",)
            outside = b"".join(parts[::2])
        found = outside.count(self._delimiter) + 1
        if found != self._separators + 1:
            reasons.append(f"has {found} fields where the header has {self._separators + 1}")
        if b"\r" in outside:
            reasons.append("has a carriage return outside quotation marks")
        if b"\0" in record:
            reasons.append("has a NUL byte")
        try:
            record.decode()
        except UnicodeDecodeError as error:
            reasons.append(f"is not UTF-8: byte 0x{record[error.start]:02x} at position {error.start + 1}")
        if may_be_odd and self._spellings.may_be_in(record.replace(self._quote, b"")):
            fields = split_fields(record, self._delimiter, self._quote)
            if len(fields) == self._separators + 1:
                reasons += self._spellings.reasons(fields)
        return tuple(reasons)

    def may_span_lines(self, record: bytes) -> bool:
        """Whether several lines are one record: its quotation marks stand around whole fields, and it has as
        many fields as the header.

        The server takes a mark anywhere for the begin of a quoted part; but one inside a value, such as the
        inches in `24" Monitor`, is rather stray than a sign that the value goes on in the next line.
        """
        outside = record.split(self._quote)[::2]
        first, *middle, last = (part.strip(b" \r") for part in outside)
        mark = self._delimiter
        return (
            (not first or first.endswith(mark))
            # nothing between two marks: together they stand for one
            and all(not part or (part.startswith(mark) and part.endswith(mark)) for part in middle)
            and (not last or last.startswith(mark))
            and b"".join(outside).count(mark) == self._separators
        )

    def _without_extra_columns(self, record: bytes) -> bytes:
        fields = split_fields(record, self._delimiter, self._quote)
        return self._delimiter.join(self._quoted(fields[number]) for number in self._keep)

    def _quoted(self, value: bytes) -> bytes:
        if any(mark in value for mark in (self._delimiter, self._quote, b"\n", b"\r")):
            return self._quote + value.replace(self._quote, 2 * self._quote) + self._quote
        return value

    def _keep_aside(self, record: BadRecord) -> None:
        self._kept_bytes += len(record.raw) + 100
        if self._kept_bytes > MAX_KEPT_BYTES and not self.may_keep_all:
            raise TooManyRejectsError(f"{len(self.bad_records)} records")
        self.bad_records.append(record)


def _count(data: bytes, byte: bytes, start: int = 0, end: int | None = None) -> int:
    """`data.count(byte, start, end)`, four times as quick where the byte is frequent."""
    end = len(data) if end is None else end
    if end - start < 1 << 15:
        return data.count(byte, start, end)
    import numpy as np  # not for small files: importing it takes longer than they do

    return int(np.count_nonzero(np.frombuffer(data, np.uint8, end - start, start) == byte[0]))


def records(
    data: bytes, first_line: int, quote: bytes, is_record: Callable[[bytes], bool]
) -> Iterator[tuple[int, bytes]]:
    """The records in `data`, each with its first line and without its line end; blank lines included.

    A record whose quotation mark is not closed within 64 lines is its first line alone, and so is one that is
    closed but, over several lines, is no record to `is_record`: one stray mark must not take the rest of the
    file with it, and two of them not what lies between.
    """
    lines = data.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    number = 0
    while number < len(lines):
        record = lines[number]
        end = number + 1
        if record.count(quote) % 2:
            marks = 1
            while marks % 2 and end < len(lines) and end - number < _MAX_RECORD_LINES:
                marks += lines[end].count(quote)
                end += 1
            joined = b"\n".join(lines[number:end])
            if marks % 2 or not is_record(joined):
                end = number + 1
            else:
                record = joined
        yield first_line + number, record[:-1] if record.endswith(b"\r") else record
        number = end


def fetch_records(
    location: Location, *, is_gzip: bool, stream: RecordStream, wanted: list[int]
) -> Iterator[tuple[int, bytes]]:
    """Read a file a second time for some of its records.

    Args:
        stream: What the first reading left behind: it knows where each line is.
        wanted: First lines of the records, ascending.

    Yields:
        First line and bytes of each wanted record.

    Raises:
        UnreadableFileError: The file cannot be read any more.
    """
    quote = stream.contract.layout.quote.encode()
    position = 0
    with contextlib.closing(_Content(location, is_gzip=is_gzip)) as content:
        while position < len(wanted):
            piece = stream.piece_with(wanted[position])
            end = len(wanted)
            if piece.next_line is not None:
                end = bisect_left(wanted, piece.next_line, position)
            here = wanted[position:end]
            data = content.read(piece.start, piece.end)
            found = list(piece.records(data, here, quote, stream.may_span_lines))
            if len(found) != len(here):
                raise UnreadableFileError(f"{location} changed while it was read: line {here[0]} is gone.")
            yield from found
            position = end


class _Content:
    """A file's content, read forward in parts."""

    def __init__(self, location: Location, *, is_gzip: bool) -> None:
        self._reader = FileReader(location, is_gzip=is_gzip)
        self._pieces = self._reader.pieces()
        self._start = 0
        self._data = b""

    def read(self, start: int, end: int | None) -> bytes:
        """The content from `start` to `end`; parts must be asked for in ascending order."""
        if not self._reader.is_gzip and start > self._start + len(self._data) + READ_SIZE:
            self._start, self._data = self._reader.seek(start), b""
        while end is None or self._start + len(self._data) < end:
            piece = next(self._pieces, None)
            if piece is None:
                break
            gone = min(max(start - self._start, 0), len(self._data))
            self._data = self._data[gone:] + piece
            self._start += gone
        return self._data[start - self._start : None if end is None else end - self._start]

    def close(self) -> None:
        """Give the file back."""
        self._reader.close()
