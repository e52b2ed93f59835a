"""The embedded server comes back after it was killed, also where nobody ends its zombie."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from ecommerce_dw.platform.postgres import reachable_folder
from ecommerce_dw.settings import PROJECT_DIR

#: Its processes become children of this one, as of a container's first process, and are not waited for.
SCRIPT = textwrap.dedent(
    """
    import ctypes, os, signal, sys, time
    from pathlib import Path
    import psutil
    from ecommerce_dw.platform.postgres import EmbeddedPostgres, free_port

    PR_SET_CHILD_SUBREAPER = 36
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    server = EmbeddedPostgres(Path(sys.argv[1]), free_port())
    server.start()
    try:
        for _ in range(2):
            pid = server.pid()
            server.execute("create table if not exists kept (n int); insert into kept values (1)")
            os.kill(pid, signal.SIGKILL)
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)
            assert not server.is_running() and server.pid() is None and server.running_port() is None
            server.start()
            server.execute("do $$ begin assert (select count(*) > 0 from kept); end $$")
            assert server.pid() != pid
    finally:
        server.remove()
    """
)


def test_a_killed_server_that_nobody_reaps_starts_again(tmp_path: Path) -> None:
    folder = reachable_folder(tmp_path / "server")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)], cwd=PROJECT_DIR, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
