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
#: Longest pause between two tries of one alert.
_LONGEST_PAUSE = "6 hours"
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


def deliver(
    connection: db.Connection, channels: Sequence[Channel], retry_seconds: float
) -> tuple[Delivery, ...]:
    """Deliver what is due, each alert once per channel. Commits after each message.

    An alert that was not taken is due again after a pause that doubles with each try. Incidents that were
    tried least go first, so that one that is refused each time holds up no other. A channel that is not
    reached is left alone until the next call: a dead server costs one timeout.
    The record is written right after the message was handed over: a crash in between, or a peer that is gone
    before it has answered, has that message sent again (with the same reference), never none.

    Args:
        connection: To the warehouse.
        channels: Where to.
        retry_seconds: Pause after the first try of an alert (s).
    """
    return tuple(
        delivery for channel in channels for delivery in _deliver_by(connection, channel, retry_seconds)
    )


def _deliver_by(connection: db.Connection, channel: Channel, retry_seconds: float) -> Iterator[Delivery]:
    with connection, connection.cursor() as cursor:
        cursor.execute(
            f"""
            with waiting as (
                select
                    alert_id, d, coalesce(incident_id, -alert_id) as incident,
                    (d ->> 'attempts')::integer as attempts
                from ops.alerts
                cross join lateral (select deliveries -> %(channel)s) as delivery (d)
                where d ->> 'status' in ('pending', 'failed')
                    and raised_at > clock_timestamp() - interval '{_GIVE_UP_AFTER}'
            ),
            -- the end of an incident brings its beginning along, which goes first
            incidents as (
                select
                    incident, max(attempts) as attempts,
                    bool_or(attempts = 0 or clock_timestamp() >= (d ->> 'at')::timestamptz + least(
                        make_interval(secs => %(pause)s * power(2, least(attempts, 20) - 1)),
                        interval '{_LONGEST_PAUSE}'
                    )) as is_due
                from waiting
                group by incident
            )
            select alert_id, d ? 'missing'
            from waiting
            join incidents using (incident)
            where is_due
            order by incidents.attempts, alert_id
            """,
            {"channel": channel.name, "pause": retry_seconds},
        )
        due = cursor.fetchall()
    to_all = [alert_id for alert_id, is_to_some in due if not is_to_some]
    messages = [to_all] if len(to_all) > BUNDLE_ABOVE else [[alert_id] for alert_id in to_all]
    messages += [[alert_id] for alert_id, is_to_some in due if is_to_some]
    for alert_ids in messages:
        with connection, connection.cursor() as cursor:
            # Locked while it is handed over: another evaluation passes by what is under way here.
            cursor.execute(
                """
                select alert_id, incident_id, kind, title, body, link, deliveries -> %(channel)s -> 'missing'
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
            message = _message(rows)
            problem = _send(channel, message)
            result: dict[str, Any] = {"status": "delivered"}
            if problem:
                result = {"status": "failed", "error": str(problem)}
                if missing := problem.missing or message.only_to:
                    result["missing"] = missing
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
                    "result": json.dumps(result),
                },
            )
        yield from (Delivery(row[0], channel.name, str(problem) if problem else None) for row in rows)
        if problem:
            _logger.warning(
                "Alerts wait in ops.alerts and are tried again. Channel %s: %s", channel.name, problem
            )
            if not problem.is_answer:
                return


def _send(channel: Channel, message: Message) -> ChannelError | None:
    """Send; the error returned and not raised, because a broken channel must not break a run."""
    try:
        channel.send(message)
    except ChannelError as error:
        return error
    except Exception as error:  # whatever a channel does, the run and the other channels go on
        _logger.exception("Channel %s is broken.", channel.name)
        return ChannelError(f"{type(error).__name__}: {error}")
    return None


def _message(rows: Sequence[tuple[Any, ...]]) -> Message:
    if len(rows) == 1:
        alert_id, incident_id, kind, title, body, link, missing = rows[0]
        thread = f"incident-{incident_id or f'alert-{alert_id}'}"
        return Message(
            title, body, link, kind == "closed", f"{thread}-{kind}", thread, only_to=tuple(missing or ())
        )
    opened = sum(row[2] == "opened" for row in rows)
    thread = f"alerts-{rows[0][0]}-{rows[-1][0]}"
    return Message(
        title=f"{len(rows)} alerts: {opened} incidents opened, {len(rows) - opened} closed",
        body="\n\n".join(f"{title}\n{body}" for _, _, _, title, body, *_ in rows),
        link=next((row[5] for row in rows if row[5]), None),
        is_recovery=False,
        reference=thread,
        thread=thread,
    )
