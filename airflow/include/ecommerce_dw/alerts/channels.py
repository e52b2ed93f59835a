"""Ways an alert reaches people beside its row in `ops.alerts`: mail and a Slack-compatible webhook.

A new channel is a class with a `name` and a `send`, and a line in `configured_channels`.
"""

from __future__ import annotations

import contextlib
import email.message
import email.policy
import email.utils
import http.client
import json
import smtplib
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ecommerce_dw.settings import Settings

#: Longest text a webhook is given; receivers cut or refuse more.
_WEBHOOK_LIMIT = 30_000
#: Errors that carry the words of a mail server.
_MAIL_ANSWERS = (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused)


class ChannelError(RuntimeError):
    """A channel did not take an alert; the message says why and which setting to look at.

    Attributes:
        is_answer: Whether the peer answered, so that it may take the next alert.
        missing: Those who did not get the alert, where others did.
    """

    def __init__(self, message: str, *, is_answer: bool = False, missing: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.is_answer = is_answer
        self.missing = missing


@dataclass(frozen=True)
class Message:
    """An alert as a channel gets it.

    Attributes:
        title: One line.
        body: Plain text for the person who has to act.
        link: Where to look, or None.
        is_recovery: Whether it tells of an incident's end.
        reference: Stable identifier of the alert; the same again means the same alert sent twice.
        thread: Stable identifier of the incident, the same when it opens and when it closes.
        only_to: The receivers who are to get it, as the channel has named them; empty: all.
    """

    title: str
    body: str
    link: str | None
    is_recovery: bool
    reference: str
    thread: str
    only_to: tuple[str, ...] = ()


class Channel(Protocol):
    """A way to reach people."""

    @property
    def name(self) -> str:
        """Its name in `ops.alerts.deliveries`."""

    def send(self, message: Message) -> None:
        """Hand the message over; raises ChannelError when that did not work."""


def configured_channels(settings: Settings) -> tuple[Channel, ...]:
    """The channels that the settings name."""
    channels: list[Channel] = []
    if settings.smtp_host and settings.alert_mail_to:
        channels.append(MailChannel(settings))
    if url := settings.alert_webhook_url.get_secret_value():
        channels.append(WebhookChannel(url, settings.alert_timeout_seconds))
    return tuple(channels)


class _Conversation:
    """Connects to a peer and cuts the connection when the whole takes longer than it may.

    The timeout of a socket is one for each read: a peer that sends a byte a second never reaches it.

    Args:
        seconds: Longest time from the first look at the address to the end of the block (s).
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._sockets: list[socket.socket] = []
        self._is_over = False
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> _Conversation:
        self._timer.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._timer.cancel()
        for each in self._sockets:
            each.close()
        if isinstance(error, Exception) and self._is_over:
            raise TimeoutError(f"not finished after {self._seconds:g} s (ALERT_TIMEOUT_SECONDS)") from error

    def connect(self, address: tuple[str, int], *options: object) -> socket.socket:
        """A connection to one of the addresses of a host; in place of `socket.create_connection`."""
        problem: OSError = OSError(f"{address[0]} has no address")
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
        for place, (family, kind, protocol, _, where) in enumerate(found):
            connection = socket.socket(family, kind, protocol)
            try:
                # An address that does not answer leaves time for the others.
                connection.settimeout(max(self._end - time.monotonic(), 0.01) / (len(found) - place))
                connection.connect(where)
                connection.settimeout(max(self._end - time.monotonic(), 0.01))
            except OSError as error:
                connection.close()
                problem = error
                continue
            # A duplicate is there also after TLS has taken the socket over.
            self._sockets.append(connection.dup())
            if self._is_over:  # meanwhile
                self._cut()
            return connection
        raise problem

    def _cut(self) -> None:
        self._is_over = True
        for each in self._sockets:
            with contextlib.suppress(OSError):  # the peer was quicker
                each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def mail_session(settings: Settings) -> Iterator[smtplib.SMTP]:
    """A session with the mail server, encrypted and logged in as the settings say.

    Raises:
        OSError, smtplib.SMTPException: The server does not answer, refuses, or takes longer than
            `alert_timeout_seconds` for the whole session.
    """
    with _Conversation(settings.alert_timeout_seconds) as conversation:

        class Session(smtplib.SMTP):
            def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
                return conversation.connect((host, port))

        with Session(settings.smtp_host, settings.smtp_port) as server:
            if settings.smtp_starttls:
                server.starttls(context=ssl.create_default_context())
            if settings.smtp_user:
                server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
            yield server


def _opener(conversation: _Conversation) -> urllib.request.OpenerDirector:
    """Opens addresses in a conversation; follows no redirect, which would make a GET of a POST."""

    def connecting(kind: Callable[..., Any]) -> Callable[..., Any]:
        def make(host: str, **options: object) -> Any:
            connection = kind(host, **options)
            connection._create_connection = conversation.connect
            return connection

        return make

    class Http(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(connecting(http.client.HTTPConnection), req)

    class Https(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(connecting(http.client.HTTPSConnection), req)

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    return urllib.request.build_opener(Http, Https, NoRedirect)


class MailChannel:
    """Plain-text mail through an SMTP server.

    Args:
        settings: `smtp_*` and `alert_mail_*`.
    """

    name = "smtp"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def send(self, message: Message) -> None:
        """Send one mail to its receivers."""
        settings = self._settings
        # Long lines stay whole (the protocol allows 998): commands in the text can be copied.
        mail = email.message.EmailMessage(policy=email.policy.SMTP.clone(max_line_length=900))
        mail["From"] = settings.alert_mail_from
        mail["To"] = ", ".join(part.strip() for part in settings.alert_mail_to.split(",") if part.strip())
        mail["Subject"] = " ".join(message.title.split())
        mail["Date"] = email.utils.localtime()
        # A mail that was sent, but whose delivery could not be recorded, is sent again with the same id:
        # mail programs show it once. The end of an incident answers its beginning.
        mail["Message-ID"] = f"<{message.reference}@{settings.warehouse_db}.ecommerce-dw>"
        if message.is_recovery:
            mail["In-Reply-To"] = mail["References"] = (
                f"<{message.thread}-opened@{settings.warehouse_db}.ecommerce-dw>"
            )
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.body + (f"\n\n{message.link}\n" if message.link else "\n"))
        refused: dict[str, tuple[int, bytes]] | None = None
        try:
            with mail_session(settings) as server:
                refused = server.send_message(mail, to_addrs=message.only_to or None)
        except (OSError, smtplib.SMTPException) as error:
            if refused is None:  # else it has the mail, however it says goodbye
                raise ChannelError(
                    f"SMTP server {settings.smtp_host}:{settings.smtp_port} did not take the mail: {error}. "
                    "Check SMTP_HOST, SMTP_PORT, SMTP_USER, SMTP_PASSWORD, SMTP_STARTTLS and ALERT_MAIL_TO.",
                    is_answer=isinstance(error, _MAIL_ANSWERS),
                ) from error
        if refused:
            reasons = "; ".join(
                f"{name} ({code} {text.decode('utf-8', 'replace')})"
                for name, (code, text) in sorted(refused.items())
            )
            raise ChannelError(
                f"SMTP server {settings.smtp_host}:{settings.smtp_port} refused {reasons}; the other "
                "receivers got the mail. Check ALERT_MAIL_TO.",
                is_answer=True,
                missing=tuple(sorted(refused)),
            )


class WebhookChannel:
    """A JSON POST of `{"text": …}`, which Slack and the receivers compatible with it take.

    Args:
        url: Where to post; whoever has it may post, so it is never put into a message.
        timeout: Longest time for one post (s).
    """

    name = "webhook"

    def __init__(self, url: str, timeout: float) -> None:
        self._url = url
        self._timeout = timeout

    def send(self, message: Message) -> None:
        """Post one message."""
        text = f"*{_escape(' '.join(message.title.split()))}*\n{_escape(message.body)}"
        if len(text) > _WEBHOOK_LIMIT:
            text = text[:_WEBHOOK_LIMIT] + "\n… (the whole text is in ops.alerts)"
        if message.link:
            text += f"\n{message.link}"
        if urllib.parse.urlsplit(self._url).scheme not in ("http", "https"):
            raise ChannelError("The webhook's address does not begin with http. Check ALERT_WEBHOOK_URL.")
        try:
            request = urllib.request.Request(
                self._url,
                data=json.dumps({"text": text}).encode(),
                headers={
                    "Content-Type": "application/json",
                    "User-Agent": "ecommerce-dw",
                    # The same alert again has the same key: a receiver that knows it tells people once.
                    "Idempotency-Key": message.reference,
                },
                method="POST",
            )
            with _Conversation(self._timeout) as conversation:
                self._post(_opener(conversation), request)
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise ChannelError(f"The webhook was not reached: {reason}. Check ALERT_WEBHOOK_URL.") from error
        except (ValueError, http.client.HTTPException) as error:
            # Their texts may hold the address.
            raise ChannelError(
                f"The webhook was not reached ({type(error).__name__}). Check ALERT_WEBHOOK_URL."
            ) from error

    @staticmethod
    def _post(opener: urllib.request.OpenerDirector, request: urllib.request.Request) -> None:
        """Post; the status is the answer, and what follows a good one is not waited for."""
        try:
            opener.open(request).close()
        except urllib.error.HTTPError as error:
            response: Any = error.fp
            answer = ""
            with error, contextlib.suppress(OSError, http.client.HTTPException):
                answer = ": " + response.read1(300).decode("utf-8", "replace")
            hint = " It redirects; set the address it redirects to." if error.code in range(300, 400) else ""
            raise ChannelError(
                f"The webhook answered {error.code} {error.reason}{answer}. Check ALERT_WEBHOOK_URL.{hint}",
                is_answer=True,
            ) from error


def _escape(text: str) -> str:
    """What Slack's markup would read as links and mentions, as text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
