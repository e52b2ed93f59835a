"""Real receivers of alerts: an SMTP server and an HTTP server in this process."""

from __future__ import annotations

import contextlib
import email
import email.message
import email.policy
import http.server
import json
import threading
from collections.abc import Iterator

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from ecommerce_dw.platform.postgres import free_port


class Inbox:
    """An SMTP server's inbox."""

    def __init__(self) -> None:
        self.port = free_port()
        self.mails: list[email.message.EmailMessage] = []
        #: The receivers of each mail.
        self.receivers: list[list[str]] = []
        #: Receivers that it refuses.
        self.unknown: set[str] = set()
        self.refuses = False

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.unknown:
            return "550 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.refuses:
            return "451 try again later"
        content = envelope.content
        assert isinstance(content, bytes)
        mail = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(mail, email.message.EmailMessage)
        self.mails.append(mail)
        self.receivers.append(list(envelope.rcpt_tos))
        return "250 OK"


class Hook:
    """An HTTP server that takes what Slack would take."""

    def __init__(self) -> None:
        self.posts: list[dict[str, str]] = []
        self.answers = 200
        #: A post with this in its text is refused.
        self.refuses: str | None = None
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                post = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = 400 if hook.refuses and hook.refuses in post["text"] else hook.answers
                if answer == 200:
                    hook.posts.append(post)
                self.send_response(answer)
                self.end_headers()
                self.wfile.write(b"ok" if answer == 200 else b"invalid_token")

            def log_message(self, format: str, *args: object) -> None:
                """Keep the test's output quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/T0/B0/secret"


@contextlib.contextmanager
def receiving_mail(host: str = "127.0.0.1") -> Iterator[Inbox]:
    """A real SMTP receiver at an address of this machine, for as long as the block runs."""
    box = Inbox()
    controller = Controller(box, hostname=host, port=box.port)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()


@contextlib.contextmanager
def receiving_posts() -> Iterator[Hook]:
    """A real HTTP receiver, for as long as the block runs."""
    receiver = Hook()
    thread = threading.Thread(target=receiver.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()
