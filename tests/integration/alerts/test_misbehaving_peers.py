"""Mail servers and webhooks that misbehave at each point: bounded waits, nothing lost, nothing told twice."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator

import pytest
from pydantic import SecretStr

from ecommerce_dw import db
from ecommerce_dw.alerts import ChannelError, Evaluation, Message, evaluate, send_waiting
from ecommerce_dw.alerts.channels import Channel, MailChannel, WebhookChannel
from ecommerce_dw.platform.postgres import free_port
from ecommerce_dw.settings import Settings
from tests.support.peers import (
    HTTP_PHASES,
    SMTP_PHASES,
    Peer,
    mail_server,
    misbehave,
    peer,
    silent,
    web_answer,
    web_server,
    within,
)
from tests.support.receivers import Hook, Inbox

TIMEOUT = 0.4
#: What a busy machine may add to it (s).
SLACK = 5.0
MESSAGE = Message("Title", "Body\n" * 20, "http://link", False, "incident-1-opened", "incident-1")
WAYS = ("closes", "resets", "hangs", "drips")


def mail_settings(port: int, **values: object) -> Settings:
    return Settings(
        _env_file=None,  # type: ignore[call-arg]
        smtp_host="127.0.0.1",
        smtp_port=port,
        alert_mail_to="a@example.com, b@example.com",
        alert_timeout_seconds=TIMEOUT,
        **values,  # type: ignore[arg-type]
    )


def webhook(port: int, scheme: str = "http") -> WebhookChannel:
    return WebhookChannel(f"{scheme}://127.0.0.1:{port}/services/secret", TIMEOUT)


def refused(channel: Channel) -> ChannelError:
    with within(TIMEOUT + SLACK), pytest.raises(ChannelError) as caught:
        channel.send(MESSAGE)
    assert "secret" not in str(caught.value)
    return caught.value


# --- mail --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("phase", SMTP_PHASES)
def test_a_mail_server_that_breaks_off_has_not_taken_the_mail(phase: str, how: str) -> None:
    with peer(mail_server(phase, how)) as server:
        error = refused(MailChannel(mail_settings(server.port)))
    assert "SMTP_HOST" in str(error)
    assert not error.is_answer
    assert server.connections == 1, "tried again by the next evaluation, not at once"
    # The one case that nobody can tell from outside: the whole mail was read, and no answer came.
    assert len(server.messages) == (phase == "answer")


@pytest.mark.parametrize("phase", SMTP_PHASES)
def test_a_mail_server_that_refuses_is_quoted(phase: str) -> None:
    with peer(mail_server(phase if phase != "content" else "DATA", "451 not now")) as server:
        error = refused(MailChannel(mail_settings(server.port)))
    assert "451" in str(error) and "not now" in str(error)
    assert error.is_answer


def test_an_endless_answer_ends_with_the_timeout() -> None:
    with peer(mail_server("EHLO", "drips lines")) as server:
        assert "ALERT_TIMEOUT_SECONDS" in str(refused(MailChannel(mail_settings(server.port))))


@pytest.mark.parametrize("how", [*WAYS, "554 no"])
def test_a_mail_that_was_taken_is_taken_however_the_server_says_goodbye(how: str) -> None:
    with peer(mail_server("QUIT", how)) as server, within(TIMEOUT + SLACK):
        MailChannel(mail_settings(server.port)).send(MESSAGE)
    assert len(server.messages) == 1


@pytest.mark.parametrize("how", WAYS)
def test_a_mail_servers_tls_that_never_comes_about_ends_with_the_timeout(how: str) -> None:
    def dialogue(server: Peer, connection: socket.socket) -> None:
        connection.sendall(b"220 here\r\n")
        connection.recv(1000)
        connection.sendall(b"250-here\r\n250 STARTTLS\r\n")
        connection.recv(1000)
        connection.sendall(b"220 begin\r\n")
        misbehave(server, connection, how)

    with peer(dialogue) as server:
        refused(MailChannel(mail_settings(server.port, smtp_starttls=True)))
    assert server.messages == []


def test_nobody_listens() -> None:
    port = free_port()
    assert "refused" in str(refused(MailChannel(mail_settings(port))))
    assert "refused" in str(refused(webhook(port)))


@pytest.fixture
def full_backlog() -> Iterator[int]:
    """A port whose connections are never accepted: packets to it are dropped."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(server.getsockname())
        yield server.getsockname()[1]
        for each in waiting:
            each.close()


def test_a_connection_that_does_not_come_about_ends_with_the_timeout(full_backlog: int) -> None:
    refused(MailChannel(mail_settings(full_backlog)))
    refused(webhook(full_backlog))


# --- webhooks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("phase", HTTP_PHASES)
def test_a_webhook_that_breaks_off_has_not_taken_the_post(phase: str, how: str) -> None:
    with peer(web_server(phase, how)) as server:
        error = refused(webhook(server.port))
    assert "ALERT_WEBHOOK_URL" in str(error)
    assert ("500" in str(error)) == error.is_answer
    assert server.connections == 1


@pytest.mark.parametrize("how", WAYS)
def test_a_webhook_that_does_not_read_has_not_taken_the_post(how: str) -> None:
    with peer(silent(how)) as server:
        assert not refused(webhook(server.port)).is_answer


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 502, 503, 504])
def test_a_webhook_that_refuses_is_quoted(status: int) -> None:
    answer = b"HTTP/1.1 %d Sorry\r\nContent-Length: 7\r\n\r\nno room" % status
    with peer(web_answer(answer)) as server:
        error = refused(webhook(server.port))
    assert f"{status} Sorry: no room" in str(error)
    assert error.is_answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_and_not_followed(status: int, hook: Hook) -> None:
    """Followed as a GET, it would look like a delivery and be none."""
    answer = b"HTTP/1.1 %d There\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, hook.url.encode())
    with peer(web_answer(answer)) as server:
        error = refused(webhook(server.port))
    assert str(status) in str(error) and "redirects" in str(error)
    assert hook.posts == []


@pytest.mark.parametrize(
    "answer", [b"hello\r\n\r\n", b"HTTP/1.1 999\r\n\r\n", b"\x16\x03\x01", b"\r\n" * 100]
)
def test_what_is_no_http_is_no_delivery(answer: bytes) -> None:
    with peer(web_answer(answer)) as server:
        refused(webhook(server.port))


@pytest.mark.parametrize("how", WAYS)
def test_a_good_status_is_the_answer_whatever_becomes_of_the_rest(how: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\no"
    with peer(web_answer(head, then=how)) as server, within(TIMEOUT + SLACK):
        webhook(server.port).send(MESSAGE)
    assert len(server.messages) == 1


@pytest.mark.parametrize("how", WAYS)
def test_a_webhooks_tls_that_never_comes_about_ends_with_the_timeout(how: str) -> None:
    with peer(silent(how)) as server:
        refused(webhook(server.port, "https"))
    assert server.messages == []


# --- nothing lost, nothing twice ---------------------------------------------------------------------------


@pytest.fixture
def settings(make_alerting: Callable[..., Settings]) -> Settings:
    """A warehouse whose alerts go to both receivers."""
    return make_alerting(
        alert_mail_to="a@example.com, b@example.com",
        alert_timeout_seconds=TIMEOUT,
        alert_retry_seconds=0,
    )


def posting_to(settings: Settings, port: int) -> Settings:
    """The same with the webhook of another receiver."""
    return settings.model_copy(update={"alert_webhook_url": SecretStr(f"http://127.0.0.1:{port}/")})


def incident(settings: Settings, *failed: str, succeeded: tuple[str, ...] = ()) -> Evaluation:
    return evaluate(settings, "run", task_failures=failed, task_successes=succeeded)


def delivered(settings: Settings, channel: str) -> list[tuple[str, int]]:
    with db.transaction(settings=settings) as cursor:
        cursor.execute(
            "select deliveries -> %(c)s ->> 'status', (deliveries -> %(c)s ->> 'attempts')::integer "
            "from ops.alerts order by alert_id",
            {"c": channel},
        )
        return cursor.fetchall()


@pytest.mark.parametrize(
    ("phase", "how"),
    [("greeting", "hangs"), ("EHLO", "drips"), ("RCPT", "closes"), ("content", "resets"), ("DATA", "451 no")],
)
def test_an_alert_waits_for_a_mail_server_and_the_webhook_does_not_wait_for_it(
    settings: Settings, inbox: Inbox, hook: Hook, phase: str, how: str
) -> None:
    with peer(mail_server(phase, how)) as server:
        broken = settings.model_copy(update={"smtp_port": server.port})
        with within(TIMEOUT + SLACK):
            incident(broken, "load")
        assert (len(inbox.mails), len(hook.posts)) == (0, 1)
        incident(broken, "load")
    assert delivered(settings, "smtp") == [("failed", 2)]

    # Recovered in the meantime: both messages go out, in their order.
    incident(settings, succeeded=("load",))
    assert [mail["Subject"].split(":")[0] for mail in inbox.mails] == ["Task failed", "Recovered"]
    assert len(hook.posts) == 2
    assert send_waiting(settings) == ()
    assert (len(inbox.mails), len(hook.posts)) == (2, 2)


@pytest.mark.parametrize(("phase", "how"), [("request", "hangs"), ("headers", "drips"), ("answer", "closes")])
def test_an_alert_waits_for_a_webhook_and_mail_does_not_wait_for_it(
    settings: Settings, inbox: Inbox, hook: Hook, phase: str, how: str
) -> None:
    with peer(web_server(phase, how)) as server:
        broken = posting_to(settings, server.port)
        with within(TIMEOUT + SLACK):
            incident(broken, "load")
        assert (len(inbox.mails), len(hook.posts)) == (1, 0)
    assert [delivery.error for delivery in send_waiting(settings)] == [None]
    assert send_waiting(settings) == ()
    assert (len(inbox.mails), len(hook.posts)) == (1, 1)


def test_a_mail_that_was_taken_without_an_answer_is_sent_again_with_the_same_id(
    settings: Settings, inbox: Inbox
) -> None:
    with peer(mail_server("answer", "closes")) as server:
        incident(settings.model_copy(update={"smtp_port": server.port}), "load")
        [first] = server.messages
    send_waiting(settings)
    [second] = inbox.mails
    assert f"Message-ID: {second['Message-ID']}".encode() in first


def test_a_receiver_that_is_refused_is_tried_again_and_the_others_are_not(
    settings: Settings, inbox: Inbox
) -> None:
    inbox.unknown = {"b@example.com"}
    incident(settings, "load", "publish")
    assert delivered(settings, "smtp") == [("failed", 1)] * 2
    assert inbox.receivers == [["a@example.com"]] * 2
    incident(settings, "load")
    assert inbox.receivers == [["a@example.com"]] * 2
    inbox.unknown = set()
    send_waiting(settings)
    assert inbox.receivers == [["a@example.com"]] * 2 + [["b@example.com"]] * 2
    assert send_waiting(settings) == ()


def test_an_alert_that_is_refused_each_time_holds_up_no_other(settings: Settings, hook: Hook) -> None:
    hook.refuses = "Task failed: ecommerce_etl_pipeline.load"
    incident(settings, "load", "publish")
    assert [post["text"].splitlines()[0] for post in hook.posts] == [
        "*Task failed: ecommerce_etl_pipeline.publish*"
    ]
    incident(settings, "check_raw")
    assert len(hook.posts) == 2
    assert delivered(settings, "webhook") == [("failed", 2), ("delivered", 1), ("delivered", 1)]


def test_an_alert_on_which_the_peer_breaks_off_each_time_holds_up_no_other(settings: Settings) -> None:
    """A peer that is not there is asked once a time; what was tried least goes first."""
    with peer(web_server("request", "closes")) as server:
        broken = posting_to(settings, server.port)
        incident(broken, "load", "publish")
        assert delivered(settings, "webhook") == [("failed", 1), ("pending", 0)]
        send_waiting(broken)
        assert delivered(settings, "webhook") == [("failed", 1), ("failed", 1)]


def test_tries_are_further_and_further_apart_and_end(settings: Settings, hook: Hook) -> None:
    patient = settings.model_copy(update={"alert_retry_seconds": 60.0})
    hook.answers = 503
    incident(patient, "load")

    def after(interval: str) -> int:
        """Tries that a channel has had, when so much time has passed since the last of them."""
        with db.transaction(settings=settings) as cursor:
            cursor.execute(
                "update ops.alerts set deliveries = jsonb_set(deliveries, '{webhook,at}', "
                "to_jsonb(clock_timestamp() - %s::interval))",
                (interval,),
            )
        send_waiting(patient)
        [(_, tries)] = delivered(settings, "webhook")
        return tries

    assert [after("59 s"), after("61 s"), after("61 s"), after("121 s")] == [1, 2, 2, 3]
    with db.transaction(settings=settings) as cursor:
        cursor.execute("update ops.alerts set deliveries = jsonb_set(deliveries, '{webhook,attempts}', '30')")
    assert [after("5 hours 59 minutes"), after("6 hours 1 minute")] == [30, 31]
    with db.transaction(settings=settings) as cursor:
        cursor.execute("update ops.alerts set raised_at = clock_timestamp() - interval '7 days 1 minute'")
    hook.answers = 200
    assert after("6 days") == 31
    assert hook.posts == []


def test_the_end_of_an_incident_never_arrives_before_its_beginning(settings: Settings, inbox: Inbox) -> None:
    patient = settings.model_copy(update={"alert_retry_seconds": 3600.0})
    inbox.refuses = True
    incident(patient, "load")
    inbox.refuses = False
    assert incident(patient, "load").deliveries == (), "not due yet"
    incident(patient, succeeded=("load",))
    assert [mail["Subject"].split(":")[0] for mail in inbox.mails] == ["Task failed", "Recovered"]
    assert inbox.mails[1]["In-Reply-To"] == inbox.mails[0]["Message-ID"]


def test_a_certificate_that_nobody_vouches_for_is_refused() -> None:
    """A peer that speaks TLS with nobody's certificate gets nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def dialogue(server: Peer, connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            server.messages.append(secured.recv(1000))

    with peer(dialogue) as server:
        refused(webhook(server.port, "https"))
    assert server.messages == []
