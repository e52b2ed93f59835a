"""Hands alerts over to the channels and records what became of each."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ecommerce_dw import db
from ecommerce_dw.alerts.channels import Channel, ChannelError, Message

_logger = logging.getLogger(__name__)

#: More alerts than this at once go out as one message per channel: nobody reads three hundred mails.
BUNDLE_ABOVE = 10
#: An alert that no channel took for so long is history; its row in `ops.alerts` stays.
_GIVE_UP_AFTER = "7 days"
#: Condition on a row `a` of `ops.alerts`: a channel has not taken it, and is tried again.
WAITS = f"""(
    a.raised_at > clock_timestamp() - interval '{_GIVE_UP_AFTER}'
    and exists (
        select from jsonb_each(a.deliveries) as d where d.value ->> 'status' in ('pending', 'failed')
    )
)"""


@dataclass(frozen=True)
class Delivery:
    """What one channel did with one alert.

    Attributes:
        alert_id: Row of `ops.alerts`.
        channel: Its name.
        error: None when it was delivered.
    """

    alert_id: int
    channel: str
    error: str | None


def deliver(connection: db.Connection, channels: Sequence[Channel]) -> tuple[Delivery, ...]:
    """Deliver what waits, oldest first, each alert once per channel. Commits after each message.

    A channel that fails once is left alone until the next call, so that a dead server costs one timeout.
    The record is written right after the message was handed over: a crash in between sends that message
    again (with the same reference), never none.
    """
    return tuple(delivery for channel in channels for delivery in _deliver_by(connection, channel))


def _deliver_by(connection: db.Connection, channel: Channel) -> Iterator[Delivery]:
    with connection, connection.cursor() as cursor:
        cursor.execute(
            f"""
            select alert_id from ops.alerts
            where deliveries -> %(channel)s ->> 'status' in ('pending', 'failed')
                and raised_at > clock_timestamp() - interval '{_GIVE_UP_AFTER}'
            order by alert_id
            """,
            {"channel": channel.name},
        )
        waiting = [alert_id for (alert_id,) in cursor]
    messages = [waiting] if len(waiting) > BUNDLE_ABOVE else [[alert_id] for alert_id in waiting]
    for alert_ids in messages:
        with connection, connection.cursor() as cursor:
            # Locked while it is handed over: another evaluation passes by what is under way here.
            cursor.execute(
                """
                select alert_id, incident_id, kind, title, body, link
                from ops.alerts
                where alert_id = any(%(ids)s)
                    and deliveries -> %(channel)s ->> 'status' in ('pending', 'failed')
                order by alert_id
                for update skip locked
                """,
                {"ids": alert_ids, "channel": channel.name},
            )
            rows = cursor.fetchall()
            if not rows:
                continue
            error = _send(channel, _message(rows))
            cursor.execute(
                """
                update ops.alerts
                set deliveries = jsonb_set(
                    deliveries,
                    array[%(channel)s],
                    %(result)s::jsonb || jsonb_build_object(
                        'attempts', coalesce((deliveries -> %(channel)s ->> 'attempts')::integer, 0) + 1,
                        'at', clock_timestamp()
                    )
                )
                where alert_id = any(%(ids)s)
                """,
                {
                    "channel": channel.name,
                    "ids": [row[0] for row in rows],
                    "result": json.dumps(
                        {"status": "failed", "error": error} if error else {"status": "delivered"}
                    ),
                },
            )
        yield from (Delivery(row[0], channel.name, error) for row in rows)
        if error:
            _logger.warning(
                "Alerts wait in ops.alerts, the next run tries again. Channel %s: %s", channel.name, error
            )
            return


def _send(channel: Channel, message: Message) -> str | None:
    """Send; the error's text instead of an error, because a broken channel must not break a run."""
    try:
        channel.send(message)
    except ChannelError as error:
        return str(error)
    except Exception as error:  # whatever a channel does, the run and the other channels go on
        _logger.exception("Channel %s is broken.", channel.name)
        return f"{type(error).__name__}: {error}"
    return None


def _message(rows: Sequence[tuple[Any, ...]]) -> Message:
    if len(rows) == 1:
        alert_id, incident_id, kind, title, body, link = rows[0]
        thread = f"incident-{incident_id or f'alert-{alert_id}'}"
        return Message(title, body, link, kind == "closed", f"{thread}-{kind}", thread)
    opened = sum(row[2] == "opened" for row in rows)
    thread = f"alerts-{rows[0][0]}-{rows[-1][0]}"
    return Message(
        title=f"{len(rows)} alerts: {opened} incidents opened, {len(rows) - opened} closed",
        body="\n\n".join(f"{title}\n{body}" for _, _, _, title, body, _ in rows),
        link=next((row[5] for row in rows if row[5]), None),
        is_recovery=False,
        reference=thread,
        thread=thread,
    )
