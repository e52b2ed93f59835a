"""`ecommerce-dw certificates`."""

from __future__ import annotations

from pathlib import Path

import click

from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.settings import get_settings

#: How long a certificate lasts, unless another time is said.
DAYS = 397


@click.command()
@click.argument("folder", required=False, metavar="[DIR]", type=click.Path(path_type=Path, resolve_path=True))
@click.option(
    "--host",
    "hosts",
    multiple=True,
    help="What clients know the server by; more than once.",
)
@click.option(
    "--days", type=click.IntRange(min=1), default=DAYS, show_default=True, help="How long it lasts."
)
@click.option("--new-authority", "is_new", is_flag=True, help="A new authority beside the old one.")
@click.option("--drop-old-authority", "is_dropped", is_flag=True, help="Clients no longer trust the old one.")
def command(folder: Path | None, hosts: tuple[str, ...], days: int, is_new: bool, is_dropped: bool) -> None:
    """Make or renew the certificates for the TLS of a PostgreSQL of your own.

    Of the containers' servers: ./deploy.sh certificates, which also gives them to the servers.

    DIR (default: certificates in the platform's home) gets an authority and a certificate for the server;
    each call makes a new one for the same hosts. server.crt and server.key go to the server, authority.crt
    to the clients: WAREHOUSE_SSLMODE=verify-full, WAREHOUSE_SSLROOTCERT=DIR/authority.crt.

    A new authority takes three calls, and no client is shut out in between: --new-authority, and give
    authority.crt to every client; then without it, and give the new certificate to the server; then
    --drop-old-authority, and give authority.crt to every client again.
    """
    from ecommerce_dw.platform.certificates import add_authority, drop_old_authority, make_certificates

    if is_new + is_dropped + bool(hosts) > 1:
        raise click.UsageError("--host, --new-authority and --drop-old-authority are steps of their own.")
    settings = get_settings()
    folder = folder or settings.home / "certificates"
    try:
        if is_new:
            made = add_authority(folder)
            advice = (
                f"Give {folder}/authority.crt to every client: it has the new authority and the old one. "
                "Then call this again without --new-authority."
            )
        elif is_dropped:
            made = drop_old_authority(folder)
            advice = f"Give {folder}/authority.crt to every client: the old authority is no longer in it."
        else:
            made = make_certificates(folder, hosts, days)
            advice = (
                f"Copy {folder}/server.crt and server.key (mode 600, owned by the server's user) to where "
                "its ssl_cert_file and ssl_key_file point, and `select pg_reload_conf()`: sessions go on."
            )
    except (PlatformError, OSError) as error:
        raise click.ClickException(str(error)) from error
    ends = ", ".join(f"an authority until {end:%Y-%m-%d}" for end in made.authorities_until)
    click.echo(f"The certificate is for {', '.join(made.hosts)}, until {made.server_until:%Y-%m-%d}.")
    click.echo(f"Its clients trust {ends}.")
    if not settings.warehouse_on_private_network:
        click.echo(advice)
    elif is_new or is_dropped:
        click.echo("The containers have the new authority.crt; every other client needs it again.")
