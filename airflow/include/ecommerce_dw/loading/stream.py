"""A file's bytes on their way to COPY: header, line numbers, and what the server could not digest.

Python looks at pieces of the file, not at rows: a piece whose separators, quotes, line ends and encoding
add up goes through as it is, with each line's file id and line number written in front. Only a piece that
does not add up is cut smaller, down to the records that are wrong; these are kept aside and never reach the
server.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import re
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.loading.landing import READ_SIZE, FileChangedError, FileForm, Location, UnreadableFileError
from ecommerce_dw.loading.printable import listed, printable
from ecommerce_dw.loading.spellings import Spellings

#: Bytes looked at and numbered at a time: several copies of it stay in the processor's cache, which makes
#: it four times as quick as with a mebibyte.
_PIECE = 192 << 10
#: Pieces that do not add up are cut to about this size before their records are looked at one by one.
_SMALL_PIECE = 1 << 11
#: A record longer than this, or of more lines, has a quotation mark that was never closed.
MAX_RECORD_BYTES = 4 << 20
_MAX_RECORD_LINES = 64
#: Bytes of records kept aside for one file in memory; beyond it the file is over any threshold.
MAX_KEPT_BYTES = 32 << 20

#: What is kept of a record that is longer than one may be.
_KEPT_OF_LONG_RECORD = 64 << 10
#: A header ends within so many bytes.
_HEADER_BYTES = 1 << 20
#: A compressed file may always hold this much.
_ALWAYS_ALLOWED = 64 << 20
#: Compressed bytes looked at together after a gzip member has ended: many may be short.
_SHORT_REACH = 16 << 10

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
#: First bytes of what is no text in UTF-8, and what it is; the longer ones first.
_OTHER_FORMATS = (
    (b"\xff\xfe\0\0", "The file is encoded in UTF-32, not in UTF-8. Deliver it in UTF-8."),
    (b"\0\0\xfe\xff", "The file is encoded in UTF-32, not in UTF-8. Deliver it in UTF-8."),
    (b"\xff\xfe", "The file is encoded in UTF-16, not in UTF-8. Deliver it in UTF-8."),
    (b"\xfe\xff", "The file is encoded in UTF-16, not in UTF-8. Deliver it in UTF-8."),
    (b"\x1f\x8b", "The file is gzip data under a name without .gz. Deliver it as <name>.csv.gz."),
    (b"PK\x03\x04", "The file is a ZIP archive or a spreadsheet, no text. Deliver it as CSV."),
    (b"\xd0\xcf\x11\xe0", "The file is a spreadsheet, no text. Deliver it as CSV."),
    (b"BZh", "The file is bzip2 data, no text. Deliver it as CSV, or packed with gzip."),
    (b"\xfd7zXZ\0", "The file is xz data, no text. Deliver it as CSV, or packed with gzip."),
    (b"\x28\xb5\x2f\xfd", "The file is zstd data, no text. Deliver it as CSV, or packed with gzip."),
    (b"PAR1", "The file is Parquet, no text. Deliver it as CSV."),
    (b"%PDF-", "The file is a PDF, no text. Deliver it as CSV."),
)


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
        max_expansion: How many times its own size a compressed file may hold; None: any number.
    """

    def __init__(self, location: Location, *, is_gzip: bool, max_expansion: int | None = None) -> None:
        self.location = location
        self.is_gzip = is_gzip
        self.max_expansion = max_expansion
        self._digest = hashlib.sha256()
        self._is_read = False
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
            self.close()
            raise self._unreadable("read", error) from error
        self._is_read = True
        self.close()

    def read_to_end(self) -> None:
        """Read what is left of the file's bytes, as they lie, for the digest.

        Raises:
            UnreadableFileError: As `raw_pieces`.
        """
        for _ in self.raw_pieces() if not self._is_read else ():
            pass

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
            RefusedFileError: The compressed data hold more than such a file may.
        """
        yield from self._bounded() if self.is_gzip else self.raw_pieces()

    def start(self) -> tuple[bytes, bool, Iterator[bytes]]:
        """The content in which the header lies, whether it is all there is, and the pieces after it.

        Raises:
            UnreadableFileError, RefusedFileError: As `pieces`.
        """
        pieces = self.pieces()
        start = b""
        for piece in pieces:
            start += piece
            if len(start) >= _HEADER_BYTES:
                return start, False, pieces
        return start, True, pieces

    def _bounded(self) -> Iterator[bytes]:
        if self.max_expansion is None:
            yield from self._decompressed()
            return
        allowed = max(self.form.bytes * self.max_expansion, _ALWAYS_ALLOWED)
        size = 0
        for piece in self._decompressed():
            size += len(piece)
            if size > allowed:
                raise RefusedFileError(
                    f"The file holds more than {self.max_expansion} times its {self.form.bytes:,} bytes, as "
                    "no file of this kind does. When it is sound, deliver it unpacked or in parts, or raise "
                    "LOAD_MAX_EXPANSION and pack it anew."
                )
            yield piece

    def _decompressed(self) -> Iterator[bytes]:
        inflate = zlib.decompressobj(wbits=31)
        has_data = False
        reach = READ_SIZE
        try:
            for piece in self.raw_pieces():
                start = 0
                while start < len(piece):
                    raw = piece[start : start + reach]
                    start += len(raw)
                    reach = min(2 * reach, READ_SIZE)
                    while raw:
                        if inflate.eof:  # a further member, or padding after the last one
                            reach = _SHORT_REACH  # what follows a member is copied: keep it short
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
            self.close()
            raise UnreadableFileError(
                f"{self.location} is no sound gzip file: {error}. Deliver it again."
            ) from error
        if not has_data or not inflate.eof:
            self.close()
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
    current: list[bytes] = []
    for number, part in enumerate(parts):
        if number % 2:  # inside quotation marks
            current.append(part)
            continue
        if not part and 0 < number < len(parts) - 1:
            current.append(quote)  # a doubled quotation mark stands for one
            continue
        first, *others = part.split(delimiter)
        current.append(first)
        for other in others:
            fields.append(b"".join(current))
            current = [other]
    fields.append(b"".join(current))
    return fields


def read_header(start: bytes, contract: Contract, *, is_whole_file: bool) -> Header:
    """Read the header at the start of a file and check it against the contract.

    Args:
        start: The file's first bytes.
        is_whole_file: Whether there is nothing after them.

    Raises:
        RefusedFileError: The file is empty, is no text, or its header breaks the contract's rules.
    """
    header = read_names(start, contract, is_whole_file=is_whole_file)
    _check_names(header.names, contract)
    return header


def read_names(start: bytes, contract: Contract, *, is_whole_file: bool) -> Header:
    """Read the header at the start of a file, whatever names it has.

    Args:
        start: The file's first bytes.
        is_whole_file: Whether there is nothing after them.

    Raises:
        RefusedFileError: The file is empty or is no text.
    """
    delimiter, quote = contract.layout.delimiter.encode(), contract.layout.quote.encode()
    for magic, message in _OTHER_FORMATS:
        if start.startswith(magic):
            raise RefusedFileError(message)
    text = start.removeprefix(_BYTE_ORDER_MARK)
    filled = text.lstrip()
    if not filled and not is_whole_file:
        raise RefusedFileError(f"The file begins with {len(start):,} blank bytes: it has no header.")
    if not filled:
        raise RefusedFileError("The file is empty: it has no header. Deliver it with its header.")
    # blank lines are no records, so they are no header either
    blank = text[: text.rfind(b"\n", 0, len(text) - len(filled)) + 1]
    text = text[len(blank) :]
    line_number = blank.count(b"\n") + 1
    end = marks = 0
    for _ in range(_MAX_RECORD_LINES):
        begin, end = end, text.find(b"\n", end) + 1 or len(text)
        marks += text.count(quote, begin, end)
        if marks % 2 == 0 or end == len(text):
            break
    raw = text[:end]
    if b"\0" in raw or (not raw.endswith(b"\n") and not is_whole_file):
        raise RefusedFileError(
            f"The file is no text: its first {len(start):,} bytes are no header. Deliver it as CSV."
            if b"\0" not in raw
            else "The file is no text: its header has a NUL byte. Deliver it as CSV in UTF-8."
        )
    if marks % 2:
        raise RefusedFileError(
            f"The header on line {line_number} opens a quotation mark and does not close it. "
            f"It begins: {_shown(raw)}"
        )
    line = raw.rstrip(b"\r\n")
    try:
        decoded = [part.decode() for part in split_fields(line, delimiter, quote)]
    except UnicodeDecodeError as error:
        raise RefusedFileError(
            f"The file is no UTF-8 text: its header has the byte 0x{error.object[error.start]:02x}. "
            "Deliver it as CSV in UTF-8."
        ) from error
    if b"\r" in b"".join(line.split(quote)[::2]):
        raise RefusedFileError(
            "The lines end in a carriage return alone. Deliver the file with line feeds, or both. "
            f"It begins: {_shown(raw)}"
        )
    names = tuple(name.strip() for name in decoded)
    by_header = {column.header: column for column in contract.columns}
    return Header(
        raw=raw,
        fields=tuple(by_header[name].name if name in by_header else None for name in names),
        names=names,
        first_line=line_number + raw.count(b"\n"),
        length=len(start) - len(text) + len(raw),
    )


def _shown(raw: bytes) -> str:
    return printable(raw[:200].decode("utf-8", "backslashreplace"))


def _check_names(names: tuple[str, ...], contract: Contract) -> None:
    seen = "The header is: " + printable(contract.layout.delimiter.join(names)[:500])
    doubled = sorted(name for name, count in Counter(names).items() if count > 1)
    known = {column.header for column in contract.columns}
    extra = [name for name in names if name not in known]
    missing = [
        column.header
        for column in contract.columns
        if (column.is_required or column.name in contract.primary_key) and column.header not in names
    ]
    if not known.intersection(names) and any(names):
        raise RefusedFileError(
            "The first line has none of the contract's columns"
            + (f": it lacks the required {_plain(missing)}." if missing else ".")
            + (_hint(missing, extra, contract) or " Perhaps the header is missing.")
            + f" {seen}"
        )
    if doubled == [""]:
        raise RefusedFileError(f"{names.count(''):,} columns of the header have no name. {seen}")
    if doubled:
        raise RefusedFileError(f"The header names {_plain(doubled)} more than once. {seen}")
    if missing:
        raise RefusedFileError(
            f"The header lacks the required {_plain(missing)}.{_hint(missing, extra, contract)} {seen}"
        )
    if extra and contract.extra_columns == "refuse":
        raise RefusedFileError(f"The header has {listed(extra)}, which the contract does not know. {seen}")


def _plain(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name[:80]) or "a blank name" for name in names[:20])
    return shown + (f" and {len(names) - 20:,} more" if len(names) > 20 else "")


def _hint(missing: Sequence[str], extra: Sequence[str], contract: Contract) -> str:
    """What may have become of required columns: another separator, or other names."""
    if len(extra) == 1 and missing:
        for separator, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars"), (",", "commas")):
            if separator != contract.layout.delimiter and missing[0] in map(
                str.strip, extra[0].split(separator)
            ):
                return f" Its names are separated by {called}, not by {contract.layout.delimiter!r}."
    pairs = list(renamed(missing, extra[:1000]).items())[:5]
    if not pairs:
        return ""
    return " Probably renamed: " + ", ".join(f"{old} to {listed([new])}" for old, new in pairs) + "."


def renamed(missing: Sequence[str], extra: Sequence[str]) -> dict[str, str]:
    """Names that are gone, each with the new name it probably has now; by their spelling alone.

    Args:
        missing: Names that the contract has and a header lacks.
        extra: Names that the header has and the contract lacks.
    """
    left = {_letters(name): name for name in reversed(extra)}
    found: dict[str, str] = {}
    for cutoff in (1.0, 0.7):  # other case or separators first
        for name in missing:
            close = [] if name in found else difflib.get_close_matches(_letters(name), left, 1, cutoff)
            if close:
                found[name] = left.pop(close[0])
    for name in missing:  # `tax` for `tax_amount`
        parts = _words(name)
        longer = [] if name in found else [other for other in left.values() if _words(other) >= parts]
        shorter = [] if name in found else [other for other in left.values() if _words(other) < parts]
        if len(longer + shorter) == 1:
            found[name] = left.pop(_letters((longer + shorter)[0]))
    return {name: found[name] for name in missing if name in found}


def _words(name: str) -> frozenset[str]:
    return frozenset(
        re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())
    ) or frozenset({""})


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


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
        is_in_long_line = False
        for block in content:
            if is_in_long_line:
                end = block.find(b"\n") + 1
                offset += end or len(block)
                if not end:
                    continue
                is_in_long_line, block = False, block[end:]
            data = rest + block if rest else block
            start = 0
            while len(data) - start >= _PIECE:
                cut = self.cut(data, start + _PIECE, start)
                if cut <= start:  # a record longer than a piece
                    end = data.find(b"\n", start) + 1
                    if (end or len(data) + 1) - start > MAX_RECORD_BYTES + 1:
                        self._pass_over_long_line(data[start : start + _KEPT_OF_LONG_RECORD], offset + start)
                        start, is_in_long_line = end or len(data), not end
                        continue
                    cut = self.cut(data, len(data), start)
                if cut <= start:
                    if len(data) - start <= MAX_RECORD_BYTES:
                        break
                    # no end in sight: the first line alone is what is wrong
                    cut = data.find(b"\n", start) + 1
                yield b"".join(self._process(data[start:cut], offset + start))
                start = cut
            offset += start
            rest = data[start:]
        while rest:
            ended = rest if rest.endswith(b"\n") else rest + b"\n"
            cut = min(self.cut(ended, len(ended)), len(rest)) or rest.find(b"\n") + 1 or len(rest)
            yield b"".join(self._process(rest[:cut], offset))
            offset += cut
            rest = rest[cut:]

    def _pass_over_long_line(self, beginning: bytes, offset: int) -> None:
        self._note_piece(offset, is_plain=False)
        self.records += 1
        reason = (
            f"is longer than {MAX_RECORD_BYTES:,} bytes; its first {_KEPT_OF_LONG_RECORD:,} bytes are kept"
        )
        self._keep_aside(BadRecord(self._line, beginning, (reason,)))
        self._line += 1

    def _note_piece(self, offset: int, *, is_plain: bool) -> None:
        self._piece_offsets.append(offset)
        self._piece_is_plain.append(is_plain)
        self._piece_lines.append(self._line)

    def cut(self, data: bytes, limit: int, start: int = 0) -> int:
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
        if piece.isspace():  # blank lines are no records; there may be very many
            self._note_piece(offset, is_plain=False)
            self._line += piece.count(b"\n") + (not piece.endswith(b"\n"))
            return
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
                cut = self.cut(piece, start + reach, start)
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
            at = next(at for at in _positions(record, b"\r") if record.count(self._quote, 0, at) % 2 == 0)
            reasons.append(f"has a carriage return outside quotation marks{self._place(record, at)}")
        if b"\0" in record:
            reasons.append(f"has a NUL byte{self._place(record, record.index(0))}")
        try:
            record.decode()
        except UnicodeDecodeError as error:
            at = error.start
            reasons.append(
                f"is not UTF-8: byte 0x{record[at]:02x} at position {at + 1}{self._place(record, at)}"
            )
        if may_be_odd and self._spellings.may_be_in(record.replace(self._quote, b"")):
            fields = split_fields(record, self._delimiter, self._quote)
            if len(fields) == self._separators + 1:
                reasons += self._spellings.reasons(fields)
        return tuple(reasons)

    def _place(self, record: bytes, position: int) -> str:
        """The column that a byte of a record stands in, for a message; nothing where there is none."""
        before = record[:position].split(self._quote)
        number = b"".join(before[::2]).count(self._delimiter)
        return f", in {listed([self.header.names[number]])}" if number < len(self.header.names) else ""

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


def _positions(data: bytes, byte: bytes) -> Iterator[int]:
    at = data.find(byte)
    while at >= 0:
        yield at
        at = data.find(byte, at + 1)


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
    location: Location,
    *,
    is_gzip: bool,
    stream: RecordStream,
    wanted: list[int],
    form: FileForm | None = None,
) -> Iterator[tuple[int, bytes]]:
    """Read a file a second time for some of its records.

    Args:
        stream: What the first reading left behind: it knows where each line is.
        wanted: First lines of the records, ascending.
        form: The file's form at the first reading; None: not to be compared.

    Yields:
        First line and bytes of each wanted record.

    Raises:
        UnreadableFileError: The file cannot be read any more.
    """
    quote = stream.contract.layout.quote.encode()
    position = 0
    with contextlib.closing(_Content(location, is_gzip=is_gzip)) as content:
        if form is not None and content.form != form:
            raise UnreadableFileError(f"{location} changed while it was read.")
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

    @property
    def form(self) -> FileForm:
        """The form the file has now."""
        return self._reader.form

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
