"""The health of this host's component of Airflow: asked often, so it imports little."""

from __future__ import annotations

import socket

from ecommerce_dw.platform import orchestrator
from ecommerce_dw.platform.broker import answering_workers
from ecommerce_dw.settings import Settings


def problem_of(settings: Settings, component: str) -> str | None:
    """Why this host's component is not healthy; None when it is.

    Args:
        settings: Of this installation.
        component: One of Airflow's components, or `worker`.
    """
    host = socket.getfqdn()
    if component == "api-server":
        return None if orchestrator.answers(settings) else "The api-server does not answer."
    if component == "worker":
        name = f"celery@{socket.gethostname()}"
        return None if answering_workers(settings, name=name) else f"{name} does not answer a ping."
    if orchestrator.has_heartbeat(settings, component, host):
        return None
    return f"No heartbeat of the {component} on {host} for {orchestrator.HEARTBEAT_LIMIT:.0f} s."
