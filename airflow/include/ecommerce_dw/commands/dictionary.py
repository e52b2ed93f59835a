"""`ecommerce-dw dictionary`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ecommerce_dw.contracts.reader import ContractError, read_contracts
from ecommerce_dw.generated import bring_current, read_text
from ecommerce_dw.settings import PROJECT_DIR, get_settings


@click.command()
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit 1 when a page is not current.")
@click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="dbt's manifest.json of the project as it is. Default: the project is parsed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(only_check: bool, manifest: Path | None, as_json: bool) -> None:
    """Write the data dictionary: docs/data-dictionary.md and a page per layer.

    Everything in it comes from the data contracts and from dbt's yml files. A column without a description,
    a type, or a unit that its name tells is an error.
    """
    from ecommerce_dw.dictionary import IncompleteError, pages
    from ecommerce_dw.dictionary.pages import WRITTEN_BY
    from ecommerce_dw.transform import parse

    settings = get_settings()
    docs = PROJECT_DIR / "docs"
    try:
        file = manifest or parse(settings) / "manifest.json"
        files = pages(read_contracts(settings.contracts_dir), json.loads(file.read_text()), docs)
    except (ContractError, IncompleteError) as error:
        raise click.ClickException(str(error)) from error
    ours = [page for page in docs.glob("data-dictionary/*.md") if WRITTEN_BY in (read_text(page) or "")]
    result = bring_current(files, removable=ours, dry_run=only_check)
    is_good = not (only_check and result.stale)
    stale = [str(path.relative_to(PROJECT_DIR)) for path in result.stale]
    if as_json:
        click.echo(json.dumps({"ok": is_good, "current": len(result.current), "stale": stale}))
    else:
        for path in stale:
            click.echo(f"{'Not current' if only_check else 'Written'}: {path}")
        click.echo(f"{len(result.current)} pages were current.")
        if not is_good:
            click.echo("Run `ecommerce-dw dictionary` and commit what it writes.", err=True)
    if not is_good:
        raise SystemExit(1)
