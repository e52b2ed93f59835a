"""`ecommerce-dw build`."""

from __future__ import annotations

import dataclasses
import json

import click
from rich.console import Console

from ecommerce_dw import db
from ecommerce_dw.runs import close_run, freeze, open_run, shell_run_id
from ecommerce_dw.settings import get_settings
from ecommerce_dw.transform import LAYERS, BuildError, Layer, build, parsed_once


@click.command()
@click.option("--from", "first", type=click.Choice(LAYERS), help="Start at this layer.")
@click.option("--only", type=click.Choice(LAYERS), help="Build this layer alone.")
@click.option("--full-refresh", is_flag=True, help="Rebuild every table instead of bringing it up to date.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(first: Layer | None, only: Layer | None, full_refresh: bool, as_json: bool) -> None:
    """Build the layers with dbt: staging, warehouse, marts (into the schema marts_build).

    Nothing is validated and nothing is published: that is `ecommerce-dw validate` and
    `ecommerce-dw publish`. The Airflow DAG does all of it in order.
    """
    if first and only:
        raise click.UsageError("Give --from or --only, not both.")
    layers = [only] if only else LAYERS[LAYERS.index(first) :] if first else list(LAYERS)
    settings = get_settings()
    console = Console(stderr=True)
    run_id = shell_run_id()
    connection = db.connect("transformer", settings=settings)
    open_run(connection, run_id, business_date=None, is_full_refresh=full_refresh)
    freeze(connection, run_id)
    outcome: list[dict[str, object]] = []
    try:
        with parsed_once():
            for layer in layers:
                with console.status(f"Building {layer} …"):
                    summary = build(layer, run_id, settings=settings)
                nodes = [dataclasses.asdict(node) for node in summary.nodes]
                outcome.append({"layer": layer, "nodes": nodes})
                if as_json:
                    continue
                click.echo(
                    f"{layer}: {summary.count('model')} models, {summary.count('seed')} seeds, "
                    f"{summary.count('test')} tests passed, {len(summary.warnings)} with warnings"
                )
                for warning in summary.warnings:
                    click.echo(f"  warning: {warning.node_id.split('.')[2]}: {warning.message}")
    except (BuildError, db.LockHeldError, db.LockLostError) as error:
        close_run(connection, run_id, is_success=False, message=str(error))
        raise click.ClickException(str(error)) from error
    finally:
        if as_json:
            click.echo(json.dumps({"run_id": run_id, "layers": outcome}))
    close_run(connection, run_id, is_success=True)
    connection.close()
