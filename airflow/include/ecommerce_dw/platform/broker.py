"""Redis, which hands Airflow's tasks to Celery workers: where it is, and who answers there."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from urllib.parse import quote

from ecommerce_dw.platform.errors import PlatformError
from ecommerce_dw.platform.processes import Component
from ecommerce_dw.settings import Settings

#: Names of the programs under which Redis's descendants are installed, too.
_SERVERS = ("redis-server", "valkey-server")


def broker_url(settings: Settings) -> str:
    """Celery's address of Redis: the one that was given, else the socket of the one that is started."""
    if not settings.redis_host:
        return f"redis+socket://{socket_file(settings)}"
    password = settings.redis_password.get_secret_value()
    login = f":{quote(password, safe='')}@" if password else ""
    return f"redis://{login}{settings.redis_host}:{settings.redis_port}/0"


def socket_file(settings: Settings) -> Path:
    """Socket of the Redis that is started with the workers: short, for a socket's path may have 107 bytes."""
    digest = hashlib.sha256(str(settings.home).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"ecommerce-dw-redis-{digest}" / "redis.sock"


def redis_component(settings: Settings) -> Component:
    """A Redis that listens on its socket alone; what waits in it survives its end.

    Raises:
        PlatformError: None is installed.
    """
    program = next(filter(None, map(shutil.which, _SERVERS)), None)
    if program is None:
        raise PlatformError(
            "Workers get their tasks through Redis, and there is no redis-server on PATH. Install it (Debian "
            "and Ubuntu: apt install redis-server; Fedora: dnf install valkey), or set REDIS_HOST to one "
            "that runs, or leave --workers out. Airflow was left as it is."
        )
    folder = socket_file(settings).parent
    folder.mkdir(mode=0o700, exist_ok=True)
    data = settings.home / "redis"
    data.mkdir(mode=0o700, exist_ok=True)
    listening = ("--port", "0", "--unixsocket", str(socket_file(settings)), "--unixsocketperm", "700")
    keeping = ("--dir", str(data), "--appendonly", "yes", "--save", "")
    return Component("redis", (program, *listening, *keeping))


def answering_workers(settings: Settings, *, seconds: float = 2.0, name: str | None = None) -> list[str]:
    """The workers that answer a ping within so many seconds, as `celery@host`; only that one if named.

    Raises:
        OSError, kombu.exceptions.OperationalError: Redis does not answer.
    """
    # Celery alone, without Airflow: it is there in a third of a second.
    from celery import Celery

    with Celery(broker=broker_url(settings), set_as_current=False) as app:
        answers = app.control.ping(destination=[name] if name else None, timeout=seconds)
    return sorted(worker for answer in answers for worker in answer)
