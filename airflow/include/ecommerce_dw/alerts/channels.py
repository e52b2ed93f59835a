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
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ecommerce_dw.settings import Settings

#: Longest wait for a channel (s). Alerting must not hold up a run.
TIMEOUT = 5.0
#: Longest text a webhook is given; receivers cut or refuse more.
_WEBHOOK_LIMIT = 30_000


class ChannelError(RuntimeError):
    """A channel did not take an alert; the message says why and which setting to look at."""


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
    """

    title: str
    body: str
    link: str | None
    is_recovery: bool
    reference: str
    thread: str


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
        channels.append(WebhookChannel(url))
    return tuple(channels)


@contextlib.contextmanager
def mail_session(settings: Settings) -> Iterator[smtplib.SMTP]:
    """A session with the mail server, encrypted and logged in as the settings say.

    Raises:
        OSError, smtplib.SMTPException: The server does not answer, or refuses.
    """
    with smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=TIMEOUT) as server:
        if settings.smtp_starttls:
            server.starttls(context=ssl.create_default_context())
        if settings.smtp_user:
            server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
        yield server


class MailChannel:
    """Plain-text mail through an SMTP server.

    Args:
        settings: `smtp_*` and `alert_mail_*`.
    """

    name = "smtp"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def send(self, message: Message) -> None:
        """Send one mail to all receivers."""
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
        try:
            with mail_session(settings) as server:
                refused = server.send_message(mail)
        except (OSError, smtplib.SMTPException) as error:
            raise ChannelError(
                f"SMTP server {settings.smtp_host}:{settings.smtp_port} did not take the mail: {error}. "
                "Check SMTP_HOST, SMTP_PORT, SMTP_USER, SMTP_PASSWORD, SMTP_STARTTLS and ALERT_MAIL_TO."
            ) from error
        if refused:
            raise ChannelError(
                f"SMTP server {settings.smtp_host}:{settings.smtp_port} refused {', '.join(sorted(refused))} "
                "(the other receivers got the mail). Check ALERT_MAIL_TO."
            )


class WebhookChannel:
    """A JSON POST of `{"text": …}`, which Slack and the receivers compatible with it take.

    Args:
        url: Where to post; whoever has it may post, so it is never put into a message.
    """

    name = "webhook"

    def __init__(self, url: str) -> None:
        self._url = url

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
                headers={"Content-Type": "application/json", "User-Agent": "ecommerce-dw"},
                method="POST",
            )
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                response.read(1000)
        except urllib.error.HTTPError as error:
            with error:
                answer = error.read(300).decode("utf-8", "replace")
            raise ChannelError(
                f"The webhook answered {error.code} {error.reason}: {answer}. Check ALERT_WEBHOOK_URL."
            ) from error
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise ChannelError(f"The webhook was not reached: {reason}. Check ALERT_WEBHOOK_URL.") from error
        except (ValueError, http.client.HTTPException) as error:
            # Their texts may hold the address.
            raise ChannelError(
                f"The webhook was not reached ({type(error).__name__}). Check ALERT_WEBHOOK_URL."
            ) from error


def _escape(text: str) -> str:
    """What Slack's markup would read as links and mentions, as text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
