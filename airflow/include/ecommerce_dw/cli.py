"""The command line `ecommerce-dw`: one module of `ecommerce_dw.commands` per command, imported when used."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys

import click

#: Command → what it does. The module is `ecommerce_dw.commands.<command>` (`-` written `_`), the function
#: in it is `command`.
COMMANDS = {
    "accept": "Take a refused file although too many of its rows fail, or a failed expectation.",
    "build": "Build the layers with dbt.",
    "certificates": "Make or renew the certificates for the TLS of a PostgreSQL of your own.",
    "container": "What the containers of docker-compose.yml run.",
    "contracts": "Check the data contracts, compare a file with one, write what is derived.",
    "dictionary": "Write the data dictionary from contracts and dbt.",
    "docs": "Build and serve dbt's documentation.",
    "discard": "Settle a refused file by leaving it out.",
    "explain": "Say what a table is, where it comes from and how fresh it is.",
    "export": "Write a table as CSV for spreadsheets, without formulas.",
    "fingerprint": "Print each table's row count and checksum, or compare two states.",
    "forget-customer": "Erase a customer's personal data, in raw and in the landed files.",
    "ingest": "Take one file to the published marts, without Airflow.",
    "load": "Load the landed files.",
    "metrics": "Serve the warehouse's figures to Prometheus.",
    "migrate": "Bring the schemas raw and ops to the newest version.",
    "platform": "Start and stop the platform (what ./deploy.sh calls).",
    "publish": "Bring the schema marts to the validated state.",
    "reconcile": "What became of every row and amount, from the file to the marts.",
    "rejects": "List and export rejected rows.",
    "reprocess": "Read loaded days again: what it would change, or do it.",
    "simulate-day": "Land the sample shop's days that are missing.",
    "status": "The state of the warehouse.",
    "validate": "Run a Great Expectations checkpoint.",
    "withdraw": "Take a loaded file's rows out.",
}


class _LazyGroup(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            from ecommerce_dw.logs import writes_json

            # A collector of JSON would stumble over click's own words, a person reads them.
            if not writes_json() or sys.stderr.isatty():
                raise
            logging.getLogger(__name__).error(error.format_message())
            ctx.exit(error.exit_code)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"ecommerce_dw.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ecommerce-dw")
@click.option("--verbose", "-v", is_flag=True, help="Log every step to standard error.")
def main(verbose: bool) -> None:
    """The e-commerce analytics warehouse: load, build, validate, publish, and see what happened.

    Results go to standard output, log lines (LOG_FORMAT, LOG_LEVEL) to standard error.
    """
    from pydantic import ValidationError

    from ecommerce_dw import logs
    from ecommerce_dw.settings import read_settings

    with contextlib.suppress(ValidationError):  # the command tells of it
        logs.configure(read_settings(), logging.INFO if verbose else logging.WARNING)
