"""`ecommerce-dw docs`."""

from __future__ import annotations

import functools
import http.server
import shutil
from pathlib import Path

import click
import psycopg2

from ecommerce_dw.settings import get_settings


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8088, show_default=True, help="0: any free one."
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Only write index.html there.")
def command(port: int, out: Path | None) -> None:
    """Build dbt's documentation (models, columns, lineage graph, tests) and serve it on this machine alone.

    It is one page that needs nothing else, so --out can give it to any web server. Ctrl-C ends serving.
    """
    from ecommerce_dw.transform import BuildError, write_docs

    settings = get_settings()
    try:
        page = write_docs(settings)
    except (BuildError, psycopg2.OperationalError) as error:
        raise click.ClickException(f"{error}\nIs the warehouse up? `./deploy.sh dev` starts it.") from error
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(page, out / "index.html")
        click.echo(f"Written: {out / 'index.html'}")
        return
    handler = functools.partial(_QuietHandler, directory=str(page.parent))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise click.ClickException(f"Port {port}: {error.strerror}. Choose another with --port.") from error
    with server:
        click.echo(f"http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Requests are nobody's news here."""
