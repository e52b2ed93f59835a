"""Certificates for the TLS of a PostgreSQL of one's own: an authority, and the server's certificate by it.

A folder of four files. `server.crt` and `server.key` go to the server (`ssl_cert_file`, `ssl_key_file`),
`authority.crt` to every client (`WAREHOUSE_SSLROOTCERT`), `authority.key` nowhere.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ecommerce_dw.platform.errors import PlatformError

#: How long an authority lasts.
AUTHORITY_DAYS = 3650
#: When a certificate is told to end soon.
_RENEW_BEFORE = dt.timedelta(days=30)
#: Clocks of server and clients may differ by this much.
_CLOCK_SKEW = dt.timedelta(hours=1)

#: A host's name, of which the first part may be `*`.
_HOST_NAME = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.IGNORECASE)

_AUTHORITY_KEY, _AUTHORITY = "authority.key", "authority.crt"
_SERVER_KEY, _SERVER = "server.key", "server.crt"


@dataclass(frozen=True)
class Certificates:
    """What lies in the folder.

    Attributes:
        folder: Where.
        hosts: Names and addresses the server's certificate is for.
        server_until: When the server's certificate ends (UTC).
        authorities_until: When each authority that clients trust ends, the one that signs first.
    """

    folder: Path
    hosts: tuple[str, ...]
    server_until: dt.datetime
    authorities_until: tuple[dt.datetime, ...]

    @property
    def ends_soon(self) -> bool:
        """Whether the server's certificate has to be renewed now; nobody can connect after its end."""
        return self.server_until < _now() + _RENEW_BEFORE


def read_certificates(folder: Path) -> Certificates | None:
    """What lies in a folder; None where nothing was made yet.

    Raises:
        PlatformError: A file is missing or is no certificate.
    """
    return _lies_in(folder) if (folder / _SERVER).exists() else None


def make_certificates(folder: Path, hosts: Sequence[str], days: int) -> Certificates:
    """Make the server's certificate, a new one each time, and the authority where there is none.

    The key and the certificate before are replaced. Clients notice nothing: they trust the authority.

    Args:
        folder: Made where it is not there, for its owner alone.
        hosts: Names and addresses that clients reach the server by; none: those of the certificate before.
        days: How long it lasts.

    Raises:
        PlatformError: No hosts are known, one is none, the authority ends before it would, or a file is
            broken.
    """
    before = read_certificates(folder)
    hosts = tuple(dict.fromkeys(hosts)) or (before.hosts if before else ())
    if not hosts:
        raise PlatformError(
            "There is no certificate to renew: say with --host what clients know the server by. "
            "Nothing was made."
        )
    alternatives = [_host(host) for host in hosts]
    if days >= AUTHORITY_DAYS:
        raise PlatformError(
            f"An authority lasts {AUTHORITY_DAYS} days; it ends before a certificate of {days} days would. "
            "Nothing was changed. Give fewer --days."
        )
    if not (folder / _AUTHORITY).exists():
        _make_authority(folder, trusted=())
    authority, key = _signing_authority(folder)
    end = _now() + dt.timedelta(days=days)
    if end > authority.not_valid_after_utc:
        raise PlatformError(
            f"The authority in {folder} ends {authority.not_valid_after_utc:%Y-%m-%d}, before a certificate "
            f"of {days} days would. Nothing was changed. Give fewer --days, or make a new authority first "
            "(--new-authority)."
        )
    server_key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(_name(hosts[0]), server_key.public_key(), end)
        .issuer_name(authority.subject)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(folder / _SERVER_KEY, _pem_of_key(server_key), 0o600)
    _write(folder / _SERVER, _pem(certificate), 0o644)
    return _lies_in(folder)


def add_authority(folder: Path) -> Certificates:
    """Make a new authority, which signs from now on. Clients that get the file trust the old one, too.

    Raises:
        PlatformError: There is none yet, or a second one is there already.
    """
    _need_authorities(folder, 1, "There are two authorities already: take the old one out first.")
    _make_authority(folder, trusted=_read(folder / _AUTHORITY))
    return _lies_in(folder)


def drop_old_authority(folder: Path) -> Certificates:
    """Take the old authority out of what clients trust.

    Raises:
        PlatformError: There is only one, or the server's certificate is still by the old one.
    """
    _need_authorities(folder, 2, "There is no old authority.")
    authority, _ = _signing_authority(folder)
    server = _read(folder / _SERVER)[0]
    try:
        server.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise PlatformError(
            "The server's certificate is still by the old authority: make a new one and give it to the "
            "server first. Nothing was changed."
        ) from error
    _write(folder / _AUTHORITY, _pem(authority), 0o644)
    return _lies_in(folder)


# ---- files -----------------------------------------------------------------------------------------------


def _lies_in(folder: Path) -> Certificates:
    server, authorities = _read(folder / _SERVER)[0], _read(folder / _AUTHORITY)
    try:
        names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError) as error:
        raise PlatformError(
            f"{folder / _SERVER} names no host, so it was not made here: {error}. Nothing was changed."
        ) from error
    return Certificates(
        folder,
        tuple(str(name.value) for name in names),
        server.not_valid_after_utc,
        tuple(authority.not_valid_after_utc for authority in authorities),
    )


def _need_authorities(folder: Path, number: int, otherwise: str) -> None:
    if read_certificates(folder) is None:
        raise PlatformError(f"There are no certificates in {folder} yet. Nothing was changed.")
    if len(_read(folder / _AUTHORITY)) != number:
        raise PlatformError(f"{otherwise} Nothing was changed.")


def _make_authority(folder: Path, trusted: Sequence[x509.Certificate]) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    # Two authorities of one name could not be told apart by who builds the chain.
    name = _name(f"E-commerce warehouse authority {_now():%Y-%m-%d} {os.urandom(3).hex()}")
    certificate = (
        _builder(name, key.public_key(), _now() + dt.timedelta(days=AUTHORITY_DAYS))
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_SIGNS, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(folder / _AUTHORITY_KEY, _pem_of_key(key), 0o600)
    _write(folder / _AUTHORITY, b"".join(map(_pem, (certificate, *trusted))), 0o644)


_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _signing_authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    authority = _read(folder / _AUTHORITY)[0]
    file = folder / _AUTHORITY_KEY
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise PlatformError(
            f"{file} can't be read: {error}. Put it back, or move {folder} away to begin with a new "
            "authority, which every client has to get."
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != authority.public_key():
        raise PlatformError(
            f"{file} is not the key of the first certificate in {_AUTHORITY}. Nothing was changed."
        )
    return authority, key


def _read(file: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError) as error:
        raise PlatformError(f"{file} can't be read: {error}. Nothing was changed.") from error


def _write(file: Path, content: bytes, mode: int) -> None:
    """Write a file whole, never readable by more than its mode says."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(file)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


# ---- parts of a certificate ------------------------------------------------------------------------------


def _builder(
    subject: x509.Name, public_key: ec.EllipticCurvePublicKey, end: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - _CLOCK_SKEW)
        .not_valid_after(end)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        if not _HOST_NAME.fullmatch(text):
            raise PlatformError(
                f"{text!r} is neither the name of a host (without a port, in ASCII) nor an IP address. "
                "Nothing was changed."
            ) from None
        return x509.DNSName(text)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
