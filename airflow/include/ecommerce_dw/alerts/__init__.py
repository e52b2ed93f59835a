"""Incidents and the alerts that tell people of them."""

from __future__ import annotations

from ecommerce_dw.alerts.channels import Channel, ChannelError, Message
from ecommerce_dw.alerts.incidents import (
    DAG_ID,
    Evaluation,
    TaskFailure,
    evaluate,
    run_link,
    send_waiting,
)
from ecommerce_dw.alerts.kinds import Kind

__all__ = [
    "DAG_ID",
    "Channel",
    "ChannelError",
    "Evaluation",
    "Kind",
    "Message",
    "TaskFailure",
    "evaluate",
    "run_link",
    "send_waiting",
]
