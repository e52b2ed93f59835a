"""A landing zone in a bucket: S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage.

Nothing is copied to disk: a file is one GET whose body goes through in pieces. All requests of one reading
carry the etag that was listed, so no two states of an object are ever mixed.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, PreconditionError
from obstore.store import S3Store, from_url

from ecommerce_dw.loading.landing import (
    READ_SIZE,
    FileChangedError,
    FileForm,
    LandingError,
    Listed,
    Location,
    OpenFile,
    is_passed_over,
)

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

    from ecommerce_dw.settings import Settings

_SCHEMES = ("s3", "gs", "az", "abfs", "abfss")

#: Some twenty seconds in all. A body that breaks off is asked for again from there on, however long it has
#: flowed until then.
_RETRY: RetryConfig = {
    "max_retries": 8,
    "retry_timeout": dt.timedelta(days=1),
    "backoff": {"init_backoff": dt.timedelta(milliseconds=500)},
}
#: How long a role's credentials are used before they are asked for again: well below their shortest life.
_CREDENTIALS_FOR = dt.timedelta(minutes=5)

_CODE = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
#: The library's words for a request that failed; its query may hold a token.
_FAILED = re.compile(r"Error performing (?P<request>[A-Z]+ [^\s?]+)\S* in .* - (?P<what>[^\n]*)")
_HINTS = {
    "NoSuchBucket": "Make the bucket, or correct the landing setting.",
    "PermanentRedirect": "Set AWS_REGION to the bucket's region.",
    "AuthorizationHeaderMalformed": "Set AWS_REGION to the bucket's region.",
}


class ObjectLanding:
    """A prefix in a bucket; implements `Landing`."""

    def __init__(self, address: str, settings: Settings) -> None:
        """Take an address such as `s3://bucket/prefix`. Nothing is asked of the store yet.

        Args:
            address: Of the bucket, and a prefix in it.
            settings: Bound the waits for the network.

        Raises:
            LandingError: There is no such kind of store, or no bucket in the address.
        """
        parts = urlsplit(address)
        if parts.scheme not in _SCHEMES or not parts.netloc:
            kinds = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
            raise LandingError(
                f"The landing zone {address} is of no kind that is known: give a folder, or a bucket and a "
                f"prefix ({kinds}), as in s3://bucket/prefix."
            )
        self._address = address.rstrip("/")
        # The library's bound of 30 s is on a whole request, its body included: a large file takes longer.
        self._client: ClientConfig = {
            "timeout": "1 day",
            "read_timeout": f"{settings.network_timeout_seconds} seconds",
            "connect_timeout": f"{settings.connect_timeout_seconds} seconds",
        }

    @cached_property
    def store(self) -> ObjectStore:
        """The library's store. Raises LandingError where there are no credentials."""
        return _store(self._address, self._client)

    def __str__(self) -> str:
        return self._address

    def files(self, unreadable: list[tuple[str, str]]) -> Iterator[Listed]:
        """See `Landing.files`; a request for each thousand files."""
        try:
            listed: Iterator[ObjectMeta | None] = chain.from_iterable(
                obstore.list(self.store, chunk_size=1000)
            )
            for meta, following in pairwise(chain(listed, [None])):
                assert meta is not None
                path = meta["path"]
                if not _is_folder(meta, following) and not any(map(is_passed_over, path.split("/"))):
                    form = _form(meta)
                    yield Listed(path, _ObjectFile(self, path, form.etag), partial(_same, form))
        except (BaseError, OSError, ValueError) as error:
            raise self._unreachable("could not be listed", error) from error

    def at(self, path: str) -> Location:
        """See `Landing.at`."""
        return _ObjectFile(self, path, None)

    def holds(self, path: str) -> bool:
        """See `Landing.holds`."""
        try:
            obstore.head(self.store, path)
        except FileNotFoundError:
            return False
        except (BaseError, OSError) as error:
            raise self._unreachable(f"could not be asked for {path}", error) from error
        return True

    def put(self, path: str, file: Path) -> None:
        """See `Landing.put`; a large file goes in parts that appear together."""
        try:
            obstore.put(self.store, path, file)
        except (BaseError, OSError) as error:
            raise self._unreachable(f"could not be given {path}", error) from error

    def path_of(self, file: Path) -> None:
        """See `Landing.path_of`: no file of this machine lies in a bucket."""

    def spellings(self, path: str) -> set[str]:
        """See `Landing.spellings`."""
        return {path, path.removeprefix(self._address + "/")}

    def _unreachable(self, what: str, error: Exception) -> LandingError:
        reason, hint = _reason(error)
        return LandingError(f"The landing zone {self} {what}: {reason}. {hint} Nothing was loaded from it.")


@dataclass(frozen=True)
class _ObjectFile:
    """An object, in the state that was listed where it was; implements `Location`."""

    landing: ObjectLanding
    path: str
    etag: str | None

    def __str__(self) -> str:
        return f"{self.landing}/{self.path}"

    def open(self) -> OpenFile:
        return _OpenObject(self.landing.store, self.path, self.etag)


class _OpenObject:
    """Implements `OpenFile`."""

    def __init__(self, store: ObjectStore, path: str, etag: str | None) -> None:
        self._store, self._path, self._etag = store, path, etag
        self._pieces: Iterator[bytes]
        self.form = self._ask(0)
        self._etag = self.form.etag

    def read(self) -> bytes:
        try:
            return bytes(next(self._pieces, b""))
        except BaseError as error:
            raise _as_os_error(error) from error

    def seek(self, position: int) -> int:
        self._ask(position)
        return position

    def close(self) -> None:
        self._pieces = iter(())

    def _ask(self, position: int) -> FileForm:
        options: GetOptions = {"if_match": self._etag} if self._etag else {}
        if position:
            options["range"] = {"offset": position}
        try:
            found = obstore.get(self._store, self._path, options=options)
            form = _form(found.meta)
            # A small body is taken at once, so that its connection serves the next file.
            small = form.bytes - position <= READ_SIZE
            self._pieces = iter([bytes(found.bytes())]) if small else iter(found.stream(READ_SIZE))
        except (BaseError, FileNotFoundError) as error:
            raise _as_os_error(error) from error
        if self._etag not in (None, form.etag):  # a store that knows no conditions
            raise FileChangedError
        return form


def _as_os_error(error: Exception) -> OSError:
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError("it is gone")
    # In the middle of a body the library has no name for it.
    if isinstance(error, PreconditionError) or "412 Precondition Failed" in str(error):
        return FileChangedError()
    return OSError(_reason(error)[0])


def _is_folder(meta: ObjectMeta, following: ObjectMeta | None) -> bool:
    """Whether an object stands for a folder, as consoles make them: empty, and what follows lies in it."""
    path = meta["path"]
    return not path or (
        meta["size"] == 0 and following is not None and following["path"].startswith(path + "/")
    )


def _same(form: FileForm) -> FileForm:
    return form


def _form(meta: ObjectMeta) -> FileForm:
    etag = meta["e_tag"]
    if etag and not etag.endswith('"'):  # some stores leave the marks out in a listing
        etag = f'"{etag}"'
    return FileForm(meta["size"], meta["last_modified"], etag)


def _store(address: str, client: ClientConfig) -> ObjectStore:
    parts = urlsplit(address)
    if parts.scheme == "s3":
        return _s3_store(address, parts.netloc, parts.path.strip("/"), client)
    try:
        return from_url(address, client_options=client, retry_config=_RETRY)
    except (BaseError, ValueError) as error:
        raise LandingError(f"The landing zone {address} cannot be used: {_reason(error)[0]}.") from error


def _s3_store(address: str, bucket: str, prefix: str, client: ClientConfig) -> S3Store:
    """The store with what AWS's own tools would use: credentials, region, endpoint, certificates.

    The library that reads the objects knows neither profiles nor single sign-on; AWS's own does.
    """
    import boto3
    import botocore.session
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        core = botocore.session.get_session()
        session = boto3.Session(botocore_session=core)
        endpoint: str = session.client("s3").meta.endpoint_url
        if session.get_credentials() is None:
            raise LandingError(
                f"There are no AWS credentials for the landing zone {address}. They are looked for as AWS's "
                "own tools look: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE and ~/.aws, the "
                "machine's role. Nothing was loaded from it."
            )
        authority = core.get_config_variable("ca_bundle")
        return S3Store(
            bucket,
            prefix=prefix or None,
            region=session.region_name or "us-east-1",
            endpoint=endpoint,
            credential_provider=Boto3CredentialProvider(session, ttl=_CREDENTIALS_FOR),
            client_options={
                **client,
                "allow_http": endpoint.startswith("http:"),
                **({"root_certificate": Path(authority).read_bytes()} if authority else {}),
            },
            retry_config=_RETRY,
        )
    except (BotoCoreError, BaseError, OSError, ValueError) as error:
        raise LandingError(f"The landing zone {address} cannot be used: {_reason(error)[0]}.") from error


def _reason(error: Exception) -> tuple[str, str]:
    """What a store's error says to a person, and what to do. The library's text holds the whole answer."""
    text = str(error)
    code, message = _CODE.search(text), _MESSAGE.search(text)
    if code:
        said = f"the store answers {code[1]}" + (f" ({message[1].rstrip('.')})" if message else "")
        if code[1] in _HINTS:
            return said, _HINTS[code[1]]
        return said, "See whether the credentials are the right ones and may list and read there."
    failed = _FAILED.search(text)
    first = f"{failed['request']}: {failed['what']}" if failed else text.split("\n", 1)[0]
    return first.strip().rstrip(
        "."
    ), "See whether the address is right and the store can be reached from here."
