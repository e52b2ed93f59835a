"""`ecommerce-dw contracts`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import click

from ecommerce_dw.contracts.derived import sync
from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.contracts.reader import SUFFIX, ContractError, read_contracts
from ecommerce_dw.contracts.released import VersionError, check_versions
from ecommerce_dw.loading.drift import (
    SAMPLE_ROWS,
    Drift,
    UnlikeAnyContractError,
    compare_file,
    find_contract,
    proposed_yaml,
)
from ecommerce_dw.loading.landing import UnreadableFileError
from ecommerce_dw.loading.stream import RefusedFileError
from ecommerce_dw.settings import PROJECT_DIR, get_settings

_json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group()
def command() -> None:
    """Check the data contracts, compare a file with one, write what is derived."""


@command.command("check")
@_json_option
def check_command(as_json: bool) -> None:
    """Read every contract and compare it with what was released.

    Exits 1 when one is broken, naming the file, the place in it and what to do, or when one changed and its
    version number is not the one that the change asks for.
    """
    contracts = _read(as_json)
    with _told_version_errors(as_json):
        check_versions(contracts, get_settings().contracts_dir)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "ok": True,
                    "contracts": [
                        {
                            "source": contract.source,
                            "entity": contract.entity,
                            "version": contract.version,
                            "hash": contract.hash,
                            "columns": len(contract.columns),
                            "feeds": list(contract.feeds),
                        }
                        for entities in contracts.values()
                        for contract in entities.values()
                    ],
                }
            )
        )
        return
    for source, entities in contracts.items():
        for contract in entities.values():
            click.echo(
                f"{source}.{contract.entity} {contract.version}: {len(contract.columns)} columns, "
                f"feeds {', '.join(contract.feeds)}"
            )


@command.command("sync")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit 1 when a file is not current.")
@_json_option
def sync_command(only_check: bool, as_json: bool) -> None:
    """Write dbt's sources, the macro of the sources, and what was released.

    Nothing is written while a contract's version number does not fit what changed.
    """
    contracts = _read(as_json)
    with _told_version_errors(as_json):
        result = sync(contracts, PROJECT_DIR, contracts_dir=get_settings().contracts_dir, dry_run=only_check)
    is_good = not (only_check and result.stale)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "ok": is_good,
                    "current": [_shown(path) for path in result.current],
                    "written": [_shown(path) for path in result.written],
                    "removed": [_shown(path) for path in result.removed],
                }
            )
        )
    else:
        for path in result.written:
            click.echo(f"{'Not current' if only_check else 'Written'}: {_shown(path)}")
        for path in result.removed:
            click.echo(f"{'Of no source any more' if only_check else 'Removed'}: {_shown(path)}")
        click.echo(f"{len(result.current)} files were current.")
        if not is_good:
            click.echo("Run `ecommerce-dw contracts sync` and commit what it writes.", err=True)
    if not is_good:
        raise SystemExit(1)


@command.command("diff")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--source", help="Whose file it is. Default: the source with the contract most like it.")
@click.option("--entity", help="What is in it. Default: as its path says, else the contract most like it.")
@click.option(
    "--rows", type=click.IntRange(0), default=SAMPLE_ROWS, show_default=True, help="Rows that are looked at."
)
@_json_option
def diff_command(file: Path, source: str | None, entity: str | None, rows: int, as_json: bool) -> None:
    """Compare a file's header and first rows with its contract, and propose the contract's next version.

    Shows columns that are new, missing, probably renamed or of another type, and values that are not allowed
    yet. What is printed is the proposed contract as YAML, with the differences as comments before it: review
    it, put it in the contract's place, then `ecommerce-dw contracts sync`. Nothing is written.

    Exit code 0: the file is what the contract says. 1: there are differences. 2: it cannot be compared: it
    cannot be read, has no header, or is like no contract.
    """
    contracts = _read(as_json)
    chosen = [
        contract
        for name, entities in contracts.items()
        for contract in entities.values()
        if source in (None, name) and entity in (None, contract.entity)
    ]
    try:
        if not chosen:
            raise UnlikeAnyContractError(
                f"There is no contract of source {source or 'any'} and entity {entity or 'any'}; there are "
                + ", ".join(f"{name}.{e}" for name, entities in contracts.items() for e in entities)
                + "."
            )
        contract = chosen[0] if len(chosen) == 1 else find_contract(file, chosen)
        drift = compare_file(file, contract, rows=rows)
    except (UnlikeAnyContractError, RefusedFileError, UnreadableFileError) as error:
        told = str(error) if str(file) in str(error) else f"{file}: {error}"
        if as_json:
            click.echo(json.dumps({"ok": False, "problem": told}))
        else:
            click.echo(f"Error: {told}", err=True)
        raise SystemExit(2) from error
    text = ""
    if drift.changes:
        contract_file = get_settings().contracts_dir / contract.source / f"{contract.entity}{SUFFIX}"
        text = proposed_yaml(drift, contract_file)
    if as_json:
        click.echo(json.dumps(_diff_as_dict(drift, text), indent=2))
    else:
        for line in _diff_lines(file, drift):
            click.echo(f"# {line}")
        click.echo(text, nl=False)
    if drift.differences:
        raise SystemExit(1)


def _diff_lines(file: Path, drift: Drift) -> Iterator[str]:
    contract = drift.contract
    name = f"{contract.source}.{contract.entity} {contract.version}"
    if not drift.differences:
        yield f"{file} is what contract {name} says ({drift.rows:,} rows looked at)."
        return
    yield f"{file} and contract {name} ({drift.rows:,} rows looked at):"
    for difference in drift.differences:
        yield f"  {difference.kind}: {difference.what}"
    if not drift.changes:
        yield "The contract takes it as it is."
        return
    yield f"Proposed: version {drift.proposed.version}, because of"
    for change in drift.changes:
        yield f"  {change.level}: {change.what}"
        if change.effect == "impossible":
            yield f"    A table with rows cannot follow that. {change.remedy}"


def _diff_as_dict(drift: Drift, text: str) -> dict[str, object]:
    return {
        "ok": not drift.differences,
        "source": drift.contract.source,
        "entity": drift.contract.entity,
        "version": drift.contract.version,
        "rows": drift.rows,
        "differences": [dataclasses.asdict(difference) for difference in drift.differences],
        "proposed_version": drift.proposed.version,
        "changes": [dataclasses.asdict(change) for change in drift.changes],
        "proposed": text or None,
    }


def _read(as_json: bool) -> dict[str, dict[str, Contract]]:
    try:
        return read_contracts(get_settings().contracts_dir)
    except ContractError as error:
        if as_json:
            click.echo(
                json.dumps(
                    {"ok": False, "file": str(error.file), "place": error.place, "problem": error.problem}
                )
            )
            raise SystemExit(1) from error
        raise click.ClickException(str(error)) from error


@contextlib.contextmanager
def _told_version_errors(as_json: bool) -> Iterator[None]:
    try:
        yield
    except VersionError as error:
        if as_json:
            click.echo(json.dumps({"ok": False, "problem": str(error)}))
            raise SystemExit(1) from error
        raise click.ClickException(str(error)) from error


def _shown(path: Path) -> str:
    return str(path.relative_to(PROJECT_DIR) if path.is_relative_to(PROJECT_DIR) else path)
