"""`ecommerce-dw metrics`."""

from __future__ import annotations

import contextlib
import logging

import click

from ecommerce_dw.settings import get_settings

DEFAULT_ADDRESS = "127.0.0.1:9109"


def _address(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, with an IPv6 address in brackets."""
    host, _, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise click.BadParameter(f"{value} is no address: give HOST:PORT, such as {DEFAULT_ADDRESS}.")
    return host, int(port)


@click.command()
@click.option(
    "--listen",
    metavar="HOST:PORT",
    callback=_address,
    default=DEFAULT_ADDRESS,
    show_default=True,
    help="Address to listen on; port 0 takes a free one.",
)
def command(listen: tuple[str, int]) -> None:
    """Serve the warehouse's figures to Prometheus at /metrics, until Ctrl-C.

    They are those of `ecommerce-dw status`, read by one query at each scrape: the last run that succeeded and
    the last publication (as points in time), how far each source is behind, loaded, rejected and refused,
    open incidents, alerts that wait. While the warehouse does not answer there is `ecommerce_dw_up 0` alone,
    and the reason on standard error.

    It reads as role monitor where MONITOR_PASSWORD is set, else as analyst. Whoever reaches the address reads
    the figures: there is no login.
    """
    from ecommerce_dw.metrics import metrics_server

    logging.getLogger("ecommerce_dw").setLevel(logging.INFO)
    settings = get_settings()
    host, port = listen
    try:
        with metrics_server(settings, host, port) as server:
            shown = f"[{host}]" if ":" in host else host
            click.echo(f"Serving http://{shown}:{server.server_port}/metrics as {settings.metrics_role}.")
            with contextlib.suppress(KeyboardInterrupt):
                server.serve_forever()
    except OSError as error:
        raise click.ClickException(f"Can't listen on {host}:{port}: {error.strerror or error}.") from error
