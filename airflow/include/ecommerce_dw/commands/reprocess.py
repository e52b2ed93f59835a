"""`ecommerce-dw reprocess`."""

from __future__ import annotations

import datetime as dt
import json

import click
from rich.console import Console

from ecommerce_dw.loading.landing import LandingError
from ecommerce_dw.loading.reload import Reload
from ecommerce_dw.one_process import STOPS
from ecommerce_dw.reprocess import plan, reprocess
from ecommerce_dw.runs import shell_run_id
from ecommerce_dw.settings import get_settings

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.option("--from", "first", type=_DAY, required=True, help="First business date.")
@click.option("--to", "last", type=_DAY, help="Last business date.  [default: --from]")
@click.option("--source", help="Files of this source alone.")
@click.option("--entity", "entities", multiple=True, help="Files of this entity alone; may be repeated.")
@click.option("--full-refresh", is_flag=True, help="Build every table again from raw.")
@click.option("--apply", "is_applied", is_flag=True, help="Do it. Without this nothing is changed.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan (and what was done) as JSON.")
def command(
    first: dt.datetime,
    last: dt.datetime | None,
    source: str | None,
    entities: tuple[str, ...],
    full_refresh: bool,
    is_applied: bool,
    as_json: bool,
) -> None:
    """Read the landed files of some days again, also those that are loaded in their present form.

    For when their meaning changed and not their bytes: a corrected contract, a mended loader, rows that were
    changed by hand. Says which files, days and rows are concerned; with --apply a run of the pipeline does
    it, from load to publish. A file that a person discarded or withdrew stays set aside.
    """
    settings = get_settings()
    reload = Reload(first.date(), (last or first).date(), source, entities)
    try:
        planned = plan(settings, reload, is_full_refresh=full_refresh)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except LandingError as error:
        raise click.ClickException(str(error)) from error
    if not as_json:
        click.echo(planned.markdown())
    done: dict[str, object] | None = None
    if is_applied and planned.changes_anything:
        console = Console(stderr=True)
        run_id = shell_run_id()
        try:
            with console.status("Reprocessing …") as status:
                done = reprocess(
                    settings, planned, run_id=run_id, progress=lambda step: status.update(f"{step} …")
                )
        except STOPS as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps({"plan": planned.as_dict(), "done": done}, default=str))
    elif done is not None:
        click.echo(f"Done: {json.dumps(done, default=str)}")
    elif is_applied:
        click.echo("There is nothing to do.")
    else:
        click.echo("\nNothing was changed. With --apply it is done.")
