"""Building the layers with dbt, in this process, one invocation per layer.

Every node's outcome becomes a row of `ops.dbt_results`. On a second try only what failed or was skipped
runs again (`dbt retry`).
"""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from psycopg2.extras import execute_values

from ecommerce_dw import db
from ecommerce_dw.runs import Run, get_run
from ecommerce_dw.settings import Settings, get_settings

Layer = Literal["staging", "warehouse", "marts"]
LAYERS: tuple[Layer, ...] = ("staging", "warehouse", "marts")

_logger = logging.getLogger(__name__)

#: Statuses of a dbt node that mean it did not do its work.
_BAD = frozenset({"error", "fail", "runtime error", "partial success"})
#: What the server says of a statement that waited too long for a lock.
_LOCK_TIMEOUT = "due to lock timeout"
#: How many runs keep their dbt folder (needed for `dbt retry`, useful for a look at compiled SQL).
_KEEP_RUNS = 10
#: Rows kept of each test that found any.
_KEPT_FAILURES = 20
#: The parsed project, for as long as `parsed_once` keeps it: nothing in it before dbt is first called.
_manifest: ContextVar[list[Any] | None] = ContextVar("manifest", default=None)


class BuildError(RuntimeError):
    """A layer did not build; the message names each failed node and what the database said."""


@dataclass(frozen=True)
class NodeResult:
    """What became of one dbt node (a model, test, seed …).

    Attributes:
        node_id, resource_type, status, failures, message: As dbt gives them.
        seconds: How long it took.
        rows_affected: Rows its last statement wrote; None where the server did not say.
        query: Of a test that found something: what finds it again.
    """

    node_id: str
    resource_type: str
    status: str
    seconds: float
    rows_affected: int | None
    failures: int | None
    message: str | None
    query: str | None = None

    @property
    def is_bad(self) -> bool:
        """Whether it failed (skipped nodes are the consequence of a bad one)."""
        return self.status in _BAD


@dataclass(frozen=True)
class BuildSummary:
    """What one invocation of dbt did.

    Attributes:
        layer: Which layer was built.
        nodes: One entry per node that dbt selected.
        is_retry: Whether only what had failed or been skipped ran.
    """

    layer: Layer
    nodes: tuple[NodeResult, ...]
    is_retry: bool

    def count(self, *resource_types: str) -> int:
        """How many nodes of these types succeeded."""
        good = {"success", "pass", "warn", "no-op"}
        return sum(n.resource_type in resource_types and n.status in good for n in self.nodes)

    @property
    def warnings(self) -> tuple[NodeResult, ...]:
        """Tests that found something, with severity `warn`."""
        return tuple(n for n in self.nodes if n.status == "warn")


def build(
    layer: Layer,
    run_id: str,
    *,
    settings: Settings | None = None,
    may_retry: bool = False,
) -> BuildSummary:
    """Build one layer, under the transform lock.

    Args:
        layer: Which one.
        run_id: A run of `ops.runs` whose upper end is frozen.
        settings: Defaults to the process's settings.
        may_retry: This is a second try of the same step: run only what failed or was skipped before, where
            dbt's results of the first try are there and the run's window is the same.

    Raises:
        BuildError: A node failed, or dbt could not run at all.
        ecommerce_dw.db.LockHeldError: Another run held the transform lock all the time allowed.
    """
    settings = settings or get_settings()
    with db.transform_lock(holder=f"build {layer} ({run_id})", settings=settings):
        connection = db.connect("transformer", settings=settings)
        try:
            run = get_run(connection, run_id)
            if run is None or run.load_id_to is None:
                raise BuildError(
                    f"Run {run_id} has no frozen window in ops.runs: load first (`ecommerce-dw load`), "
                    "or start a whole run (`ecommerce-dw build` opens one)."
                )
            target = _target_folder(settings, run_id, layer)
            is_retry = may_retry and _can_retry(target, run)
            if not is_retry:
                (target / "run_results.json").unlink(missing_ok=True)
            # An interrupted dbt leaves results without the nodes it had not come to: `dbt retry` would leave
            # those out for good. So the window is there only when dbt came to its end.
            (target / "window.json").unlink(missing_ok=True)
            command = ["retry"] if is_retry else _build_command(layer, run)
            invocation_id, nodes = _invoke(command, target, settings, run_id)
            (target / "window.json").write_text(json.dumps({"load_id_to": run.load_id_to}))
            _record(connection, run_id, invocation_id, layer, nodes)
            _keep_failures(connection, run_id, nodes)
            connection.commit()
        finally:
            connection.close()
    bad = [node for node in nodes if node.is_bad]
    if bad:
        users = db.users_of(settings) if any(_LOCK_TIMEOUT in (node.message or "") for node in bad) else ""
        raise BuildError(_describe(layer, bad, users))
    return BuildSummary(layer, nodes, is_retry)


def take_snapshots(run_id: str, *, settings: Settings | None = None) -> bool:
    """Keep what people are shown now (`history.published_segments`), under the transform lock.

    Does nothing where that is kept already, or where somebody has built on since the publication: what is in
    `marts_build` then is not what is shown, and the next publication comes here again.

    Returns:
        Whether anything was kept.

    Raises:
        BuildError: dbt could not take the snapshot.
        ecommerce_dw.db.LockHeldError: Another run held the transform lock all the time allowed.
    """
    settings = settings or get_settings()
    with db.transform_lock(holder=f"snapshots ({run_id})", settings=settings):
        with db.transaction("transformer", settings=settings) as cursor:
            if not _is_shown_anew(cursor):
                return False
        target = settings.home / "dbt" / "snapshots"
        target.mkdir(parents=True, exist_ok=True)
        _begin_with_shared_parse(target, settings)
        _, nodes = _invoke(["snapshot"], target, settings, run_id)
    bad = [node for node in nodes if node.is_bad]
    if bad:
        raise BuildError(
            "The marts are published, but what is shown was not kept in history.published_segments: "
            f"{'; '.join(node.message or node.node_id for node in bad)}. Run the publication again."
        )
    return True


def _is_shown_anew(cursor: Any) -> bool:
    """Whether what is shown is what is built, and not what was kept last."""

    def exists(table: str) -> bool:
        cursor.execute("select to_regclass(%s) is not null", (table,))
        return bool(cursor.fetchone()[0])

    def differ(one: str, other: str) -> bool:
        cursor.execute(
            f"select exists (({one} except {other}) union all ({other} except {one}))"  # nothing from outside
        )
        return bool(cursor.fetchone()[0])

    columns = "select source_system, customer_id, segment, marketing_strategy from"
    shown, built = f"{columns} marts.customer_segmentation", f"{columns} marts_build.customer_segmentation"
    if not (exists("marts.customer_segmentation") and exists("marts_build.customer_segmentation")):
        return False
    if differ(shown, built):
        return False
    if not exists("history.published_segments"):
        return True
    return differ(shown, f"{columns} history.published_segments where shown_to is null")


def parse(settings: Settings | None = None) -> Path:
    """Parse the project into the shared target folder, so that runs start from a partial parse.

    Returns:
        The folder that holds `manifest.json` and `partial_parse.msgpack`.
    """
    settings = settings or get_settings()
    target = settings.home / "dbt" / "target"
    target.mkdir(parents=True, exist_ok=True)
    _invoke(["parse"], target, settings)
    return target


def begin_with_parse(made: Path, settings: Settings) -> None:
    """Let runs start from a parse that was made elsewhere (with an image), where they have no newer one."""
    if made.exists():
        _share_parse(made.parent, settings)


def prepare(run_id: str, *, settings: Settings | None = None) -> None:
    """Import dbt and let it read the project, inside `parsed_once`: what the first layer would begin with.

    For who has to wait for something else anyway. A project that dbt cannot read is told by the build.

    Args:
        run_id: The run that is to be built.
        settings: Defaults to the process's settings.
    """
    settings = settings or get_settings()
    target = _target_folder(settings, run_id, LAYERS[0])
    with _environment(settings, run_id):
        _parsed(_arguments(target, settings))
    _share_parse(target, settings)


@contextmanager
def parsed_once() -> Iterator[None]:
    """Let dbt read the project once for all that is built inside, in place of once per layer."""
    kept = _manifest.set([])
    try:
        yield
    finally:
        _manifest.reset(kept)


def write_docs(settings: Settings | None = None) -> Path:
    """Write dbt's documentation of the project and of the tables as they are, as one page.

    Returns:
        `index.html`, alone in its folder.

    Raises:
        BuildError: dbt could not read the project or the warehouse.
    """
    settings = settings or get_settings()
    target = settings.home / "dbt" / "docs"
    site = target / "site"
    site.mkdir(parents=True, exist_ok=True)
    # Compiled SQL is left out: compiling asks for a run's window, and there is none here.
    shutil.copyfile(parse(settings) / "manifest.json", target / "manifest.json")
    _invoke(["docs", "generate", "--static", "--no-compile"], target, settings)
    page = site / "index.html"
    (target / "static_index.html").replace(page)
    return page


def _build_command(layer: Layer, run: Run) -> list[str]:
    command = [
        "build",
        "--select", f"tag:layer_{layer}",
        "--exclude-resource-type", "unit_test",
        # A test belongs to the last layer it reads.
        "--indirect-selection", "buildable",
    ]  # fmt: skip
    return [*command, "--full-refresh"] if run.is_full_refresh else command


def _target_folder(settings: Settings, run_id: str, layer: Layer) -> Path:
    """dbt's folder of this run and layer; a new one starts from the shared partial parse."""
    runs = settings.home / "dbt" / "runs"
    folder = runs / _safe_name(run_id) / layer
    if not folder.exists():
        folder.mkdir(parents=True)
        kept = sorted(runs.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in kept[_KEEP_RUNS:]:
            shutil.rmtree(old, ignore_errors=True)
    _begin_with_shared_parse(folder, settings)
    return folder


def _begin_with_shared_parse(folder: Path, settings: Settings) -> None:
    """Give a folder of dbt's the shared partial parse, where there is one."""
    shared = _shared_parse(settings)
    if shared.exists():
        shutil.copy2(shared, folder / shared.name)  # with its time: see _share_parse()


def _forget_parse(target: Path, settings: Settings) -> bool:
    """Remove what an earlier version of the project left parsed; whether there was anything.

    dbt 1.11 looks for the model of a unit test that is gone with it, when it starts from such a parse.
    """
    kept = [path for path in (target / "partial_parse.msgpack", _shared_parse(settings)) if path.exists()]
    for path in kept:
        path.unlink(missing_ok=True)
    return bool(kept)


def _shared_parse(settings: Settings) -> Path:
    return settings.home / "dbt" / "target" / "partial_parse.msgpack"


def _safe_name(run_id: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in run_id)


def _can_retry(target: Path, run: Run) -> bool:
    """Whether the try before came to its end, in the same window, and left something to run again."""
    try:
        window = json.loads((target / "window.json").read_text())
        results = json.loads((target / "run_results.json").read_text())["results"]
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return False
    statuses = {result["status"] for result in results}
    return window.get("load_id_to") == run.load_id_to and bool(statuses & (_BAD | {"skipped"}))


def _invoke(
    command: Sequence[str], target: Path, settings: Settings, run_id: str | None = None
) -> tuple[str, tuple[NodeResult, ...]]:
    """Run dbt in this process and give its invocation id and every node's outcome.

    A build writes no artifacts (half of what starting dbt takes), but for `run_results.json` where something
    failed, which `dbt retry` reads.
    """
    from dbt.cli.main import dbtRunner
    from dbt.exceptions import ParsingError

    invocation: dict[str, str] = {}

    def keep(event: Any) -> None:
        invocation["id"] = event.info.invocation_id
        if event.info.level in ("warn", "error"):
            _logger.log(logging.getLevelName(event.info.level.upper()), "dbt: %s", event.info.msg)
        elif event.info.name in ("LogModelResult", "LogSeedResult", "LogTestResult"):
            _logger.info("dbt: %s", event.info.msg)

    arguments = _arguments(target, settings)
    own = [] if command[0] in ("parse", "docs") else ["--no-write-json"]
    if command[0] == "retry":
        own += ["--state", str(target)]
    with _environment(settings, run_id):
        runner = dbtRunner(manifest=_parsed(arguments, keep), callbacks=[keep])
        outcome = runner.invoke([*command, *arguments, *own])
        if isinstance(outcome.exception, ParsingError) and _forget_parse(target, settings):
            outcome = runner.invoke([*command, *arguments, *own])
    _share_parse(target, settings)
    if outcome.exception is not None:
        raise BuildError(f"dbt {command[0]} could not run: {outcome.exception}") from outcome.exception
    results = getattr(outcome.result, "results", None) or ()
    nodes = tuple(_node(result) for result in results)
    left = target / "run_results.json"
    if any(node.is_bad for node in nodes):
        outcome.result.write(str(left))
    else:
        left.unlink(missing_ok=True)
    return invocation.get("id", ""), nodes


def _arguments(target: Path, settings: Settings) -> list[str]:
    """What every command of dbt is called with."""
    return [
        "--quiet", "--no-use-colors", "--log-level", "none",
        "--log-path", str(settings.home / "dbt" / "logs"),
        "--project-dir", str(settings.dbt_dir),
        "--profiles-dir", str(settings.dbt_dir),
        "--target-path", str(target),
    ]  # fmt: skip


def _parsed(arguments: Sequence[str], *callbacks: Callable[[Any], None]) -> Any:
    """The project as `parsed_once` keeps it, parsed by who asks first; None where it keeps none."""
    from dbt.cli.main import dbtRunner

    known = _manifest.get()
    if known == []:
        parsed = dbtRunner(callbacks=list(callbacks)).invoke(["parse", *arguments, "--no-write-json"])
        known += [parsed.result] if parsed.success else []
        # What is kept until the end is looked through for garbage again and again: a twentieth of a build.
        gc.freeze()
    return known[0] if known else None


@contextmanager
def _environment(settings: Settings, run_id: str | None) -> Iterator[None]:
    """Give dbt's profile its variables for as long as it runs, its sessions their run and longest wait."""
    before = dict(os.environ)
    os.environ.update(settings.environment())
    # libpq reads it. A dbt variable would force a full parse; the latest run may be somebody else's.
    os.environ["PGOPTIONS"] = f"-c lock_timeout={settings.lock_timeout}"
    if run_id is not None:
        escaped = run_id.replace("\\", "\\\\").replace(" ", "\\ ")
        os.environ["PGOPTIONS"] += f" -c ecommerce_dw.run_id={escaped}"
    # dbt takes these from its arguments here; as variables they would send a run's files astray.
    for name in ("DBT_TARGET_PATH", "DBT_LOG_PATH"):
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _share_parse(target: Path, settings: Settings) -> None:
    """Keep the newest parse for later runs, if this one had to parse something anew."""
    made = target / "partial_parse.msgpack"
    shared = _shared_parse(settings)
    if made == shared or not made.exists():
        return
    # dbt writes it only when it parsed something, and all of it when a port or a password changed
    if shared.exists() and made.stat().st_mtime_ns <= shared.stat().st_mtime_ns:
        return
    shared.parent.mkdir(parents=True, exist_ok=True)
    building = shared.with_name(f".{os.getpid()}.tmp")
    shutil.copy2(made, building)
    building.rename(shared)


def _node(result: Any) -> NodeResult:
    affected = (result.adapter_response or {}).get("rows_affected")
    return NodeResult(
        node_id=result.node.unique_id,
        resource_type=str(result.node.resource_type),
        status=str(result.status),
        seconds=float(result.execution_time),
        rows_affected=affected if isinstance(affected, int) and affected >= 0 else None,
        failures=result.failures,
        message=result.message,
        # of a test that found something: what finds it again
        query=result.node.compiled_code if str(result.status) in ("fail", "warn") else None,
    )


def _keep_failures(connection: Any, run_id: str, nodes: Sequence[NodeResult]) -> None:
    """Keep the first rows that each failed test found, in place of those of an earlier try of the run."""
    tests = [node.node_id for node in nodes if node.resource_type == "test"]
    with connection.cursor() as cursor:
        cursor.execute(
            "delete from ops.test_failures where run_id = %s and node_id = any(%s)", (run_id, tests)
        )
        for node in nodes:
            if node.query is not None:
                query = node.query.replace("%", "%%")
                cursor.execute(
                    "insert into ops.test_failures (run_id, node_id, failing_row) "
                    f"select %s, %s, to_jsonb(found) from ({query}\n) as found limit %s",
                    (run_id, node.node_id, _KEPT_FAILURES),
                )


def _record(
    connection: Any, run_id: str, invocation_id: str, layer: Layer, nodes: Sequence[NodeResult]
) -> None:
    with connection.cursor() as cursor:
        execute_values(
            cursor,
            """
            insert into ops.dbt_results (run_id, invocation_id, layer, node_id, resource_type, status,
                execution_seconds, rows_affected, failures, message)
            values %s
            """,
            [
                (run_id, invocation_id, layer, n.node_id, n.resource_type, n.status, n.seconds,
                 n.rows_affected, n.failures, n.message)
                for n in nodes
            ],
            page_size=1000,
        )  # fmt: skip


def _describe(layer: Layer, bad: Sequence[NodeResult], users: str) -> str:
    lines = [f"{len(bad)} of the {layer} layer's dbt nodes failed; what depends on them was not built."]
    for node in bad:
        what = (node.message or "").strip().replace("\n", "\n    ")
        lines.append(f"  {node.resource_type} {node.node_id.split('.')[2]}: {what}")
    if any(node.query for node in bad):
        lines.append("The rows that failed a test are in ops.test_failures.")
    if users:
        lines.append(
            f"A table was in use for longer than LOCK_WAIT_SECONDS, by: {users}. Let those sessions end."
        )
    lines.append(
        "What was built before stays, and nothing of it is published. Mend the cause and run again: "
        "a second try of the task runs only what failed or was skipped."
    )
    return "\n".join(lines)
