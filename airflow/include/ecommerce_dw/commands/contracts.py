"""`ecommerce-dw contracts`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import click

from ecommerce_dw.contracts.derived import sync
from ecommerce_dw.contracts.model import Contract
from ecommerce_dw.contracts.reader import ContractError, read_contracts
from ecommerce_dw.contracts.released import VersionError, check_versions
from ecommerce_dw.settings import PROJECT_DIR, get_settings

_json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group()
def command() -> None:
    """Check the data contracts and write what is derived from them."""


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
