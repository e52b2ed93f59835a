"""How many records a file has, counted slowly and plainly: what the loader's numbers are held against."""

from __future__ import annotations

import itertools

from ecommerce_dw.contracts.model import Contract

#: Lines that a record may have.
_MOST_LINES = 64


def count_records(content: bytes, contract: Contract) -> range:
    """How many records may be said to be behind a file's header: one number, or several; none without one.

    Several only where a quotation mark is astray: then it is open whether a record of several lines near it
    is one, or each of its lines a broken one.

    A record is a line that is not blank; with an odd number of quotation marks it goes on up to the line that
    closes it, where together they are as many fields as the header has, each quoted part a whole field.
    """
    delimiter, quote = contract.layout.delimiter.encode(), contract.layout.quote.encode()
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not lines[-1]:
        lines.pop()
    position = 0
    while position < len(lines) and not lines[position].strip():
        position += 1
    if position == len(lines):
        return range(0)
    header = lines[position]
    position += 1
    while header.count(quote) % 2 and position < len(lines):
        header += b"\n" + lines[position]
        position += 1
    wanted = _separators(header, delimiter, quote)
    count = 0
    filled = sum(bool(line.strip()) for line in lines[position:])
    is_astray = False
    while position < len(lines):
        line = lines[position]
        position += 1
        if line.count(quote) % 2:
            is_joined = False
            for number in range(1, min(_MOST_LINES, len(lines) - position + 1)):
                joined = b"\n".join([line, *lines[position : position + number]])
                if joined.count(quote) % 2 == 0:
                    if _is_record(joined, delimiter, quote, wanted):
                        line, position, is_joined = joined, position + number, True
                    break
            is_astray |= not is_joined
        count += bool(line.strip())
    return range(count, (max(filled, count) if is_astray else count) + 1)


def _separators(record: bytes, delimiter: bytes, quote: bytes) -> int:
    """Delimiters outside quotation marks."""
    inside = list(itertools.accumulate((byte == quote[0] for byte in record), lambda a, b: a ^ b))
    return sum(byte == delimiter[0] and not is_in for byte, is_in in zip(record, inside, strict=True))


def _is_record(joined: bytes, delimiter: bytes, quote: bytes, wanted: int) -> bool:
    """Whether lines are one record: the right number of fields, none quoted in part only."""
    if _separators(joined, delimiter, quote) != wanted:
        return False
    fields: list[bytes] = [b""]
    is_inside = False
    for byte in (bytes([number]) for number in joined):
        is_inside ^= byte == quote
        if byte == delimiter and not is_inside:
            fields.append(b"")
        else:
            fields[-1] += byte
    for field in fields:
        bare = field.strip(b" \r")
        if quote not in bare:
            continue
        if not (bare.startswith(quote) and bare.endswith(quote)):
            return False
        # within it, marks stand in pairs
        if any(part for part in bare[1:-1].replace(2 * quote, b"").split(quote)[1:]):
            return False
    return True
