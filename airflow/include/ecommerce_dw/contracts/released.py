"""What each contract said when it was last released: `released.json` beside the contracts of a source.

It is committed with the contracts, so a version number that does not fit a change is found without a
database.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecommerce_dw.contracts import evolution
from ecommerce_dw.contracts.model import Contract

FILE_NAME = "released.json"


class VersionError(ValueError):
    """The version numbers of contracts do not fit what changed; the message has a line for each."""


def check_versions(contracts: Mapping[str, Mapping[str, Contract]], contracts_dir: Path) -> None:
    """Compare the contracts with what was released.

    A contract that was not released yet may say anything; one that is gone is not missed.

    Raises:
        VersionError: A contract changed, and its version number is not the one that asks for.
    """
    problems = []
    for source, entities in contracts.items():
        released = _read(contracts_dir / source / FILE_NAME)
        for entity, contract in entities.items():
            before, now = released.get(entity), evolution.content(contract)
            if before is None:
                continue
            changes = evolution.compare(before, now)
            if problem := evolution.version_problem(before, now, changes):
                problems.append(f"{source}.{entity}: {problem}")
    if problems:
        hint = f"(A version that nobody has loaded with yet may change: delete its entry in {FILE_NAME}.)"
        raise VersionError("\n".join([*problems, hint]))


def released_files(contracts: Mapping[str, Mapping[str, Contract]], contracts_dir: Path) -> dict[Path, str]:
    """The `released.json` of every source with the text it should have."""
    return {
        contracts_dir / source / FILE_NAME: json.dumps(
            {entity: evolution.content(contract) for entity, contract in entities.items()},
            indent=1,
            ensure_ascii=False,
        )
        + "\n"
        for source, entities in contracts.items()
    }


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        released: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise VersionError(
            f"{file}: This is not valid JSON: {error}. Take it from version control."
        ) from error
    return released
