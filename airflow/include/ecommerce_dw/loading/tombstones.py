"""Whom to forget, outside the database: a keyed hash for each person, which every load and restore asks.

The hash says of a customer's id whether it is one of them, to who has the key, and names nobody to others. So
do those of the person's visits, whose first events do not say whose they are.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ecommerce_dw.settings import Settings

#: Of what a tombstone is.
Kind = Literal["customer", "visit"]


class TombstoneError(RuntimeError):
    """The tombstones or their key can't be used; the message says why and what to do. Nothing was changed."""


@dataclass(frozen=True)
class Tombstones:
    """The people of whom nothing may come back.

    Attributes:
        hashes: Keyed hashes of source and id.
        key: What they are made with; empty where there are none.
    """

    hashes: frozenset[str]
    key: bytes

    def __bool__(self) -> bool:
        return bool(self.hashes)

    def among(self, source: str, ids: Iterable[str], kind: Kind = "customer") -> list[str]:
        """Those of a source's ids that are to be forgotten."""
        if not self:
            return []
        return [each for each in ids if _hash(self.key, source, each, kind) in self.hashes]


def tombstones_file(settings: Settings) -> Path:
    """Where they are."""
    return settings.home / "erasure" / "tombstones.jsonl"


def read_tombstones(settings: Settings) -> Tombstones:
    """The tombstones of this installation.

    Raises:
        TombstoneError: Others can read them, a line is none, or the key is another one.
    """
    file = tombstones_file(settings)
    if not file.exists():
        return Tombstones(frozenset(), b"")
    entries = _entries(_private_text(file), file)
    return Tombstones(frozenset(entry["hash"] for entry in entries), _key_of(settings, entries))


def add_tombstones(settings: Settings, source: str, customers: Iterable[str], visits: Iterable[str]) -> None:
    """Keep, on the disk, that customers and visits are to be forgotten; what is there already stays."""
    known = read_tombstones(settings)
    key = _key(settings, make=True)
    ids: list[tuple[str, Kind]] = [(each, "customer") for each in sorted(customers)]
    ids += [(each, "visit") for each in sorted(visits)]
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    missing = [
        json.dumps({"hash": _hash(key, source, id_, kind), "key_check": _key_check(key), "at": now})
        for id_, kind in ids
        if not known.among(source, [id_], kind)
    ]
    if missing:
        _append(tombstones_file(settings), missing)


def merge_tombstones(settings: Settings, saved: str) -> int:
    """Add those of a backup; how many this installation did not have.

    Raises:
        TombstoneError: They were made with a key that is not here.
    """
    file = tombstones_file(settings)
    known = set(_private_text(file).splitlines()) if file.exists() else set()
    missing = [line for line in saved.splitlines() if line.strip() and line not in known]
    if missing:
        _key_of(settings, _entries("\n".join(missing), file))
        _append(file, missing)
    return len(missing)


def _append(file: Path, lines: Iterable[str]) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, "".join(f"{line}\n" for line in lines).encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _entries(text: str, file: Path) -> list[dict[str, str]]:
    entries = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            entry = json.loads(line)
            entries.append({name: str(entry[name]) for name in ("hash", "key_check")})
        except (ValueError, TypeError, KeyError) as error:
            raise TombstoneError(
                f"{file}, line {number}: not a tombstone. Nothing was changed. A last line that a crash has "
                "torn can be deleted: forget that person again."
            ) from error
    return entries


def _key_file(settings: Settings) -> Path:
    return settings.home / "erasure" / "key"


def _key_of(settings: Settings, entries: Iterable[Mapping[str, str]]) -> bytes:
    """The key, with which all the entries were made."""
    key = _key(settings)
    check = _key_check(key)
    if any(entry["key_check"] != check for entry in entries):
        raise TombstoneError(
            f"The tombstones in {tombstones_file(settings)}, or of a backup, were made with another key. Set "
            f"ERASURE_KEY to that one, or bring back {_key_file(settings)}. Nothing was changed."
        )
    return key


def _key(settings: Settings, *, make: bool = False) -> bytes:
    """The key: setting ERASURE_KEY, else the one that was made once for this installation."""
    if given := settings.erasure_key.get_secret_value():
        return given.encode()
    file = _key_file(settings)
    key = _private_text(file).strip() if file.exists() else ""
    if not key:  # or it was being made when the machine died
        if not make:
            raise TombstoneError(
                f"There are tombstones, here or in a backup, and no key to read them with: set "
                f"ERASURE_KEY, or bring back {file}. Nothing was changed."
            )
        key = secrets.token_urlsafe(48)
        _append(file, [key])
    return key.encode()


def _private_text(file: Path) -> str:
    mode = file.stat().st_mode & 0o777
    if mode & 0o077:
        raise TombstoneError(
            f"{file} can be read by others (mode {mode:03o}). Nothing was changed. chmod 600 {file}"
        )
    return file.read_text(encoding="utf-8")


def _hash(key: bytes, source: str, id_: str, kind: Kind) -> str:
    what = source if kind == "customer" else f"{source}\0{kind}"
    return hmac.new(key, f"{what}\0{id_}".encode(), hashlib.sha256).hexdigest()


def _key_check(key: bytes) -> str:
    """Tells one key from another, and nothing more."""
    return hmac.new(key, b"key check", hashlib.sha256).hexdigest()[:16]
