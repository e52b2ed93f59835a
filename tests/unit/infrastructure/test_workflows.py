"""The forge's workflows: valid, and they name only what is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ecommerce_dw.cli import COMMANDS
from ecommerce_dw.settings import PROJECT_DIR

WORKFLOWS = sorted((PROJECT_DIR / ".github" / "workflows").glob("*.yml"))

#: A path of the checkout: what begins with one of its folders, or is one of its files at the top.
PATH = re.compile(
    r"(?<![\w./$-])(?:\./)?"
    r"((?:\.ci|\.github|airflow|data-generation|dbt|docs|infrastructure|tests)/[\w./-]+|deploy\.sh|docker-compose\.yml)"
)


def jobs(workflow: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(workflow.read_text())["jobs"]
    return found


def steps() -> Iterator[dict[str, Any]]:
    for workflow in WORKFLOWS:
        for job in jobs(workflow).values():
            yield from job["steps"]


def problems(script: str) -> list[str]:
    """What a step's script names that is not there: paths, subcommands and options of our own programs."""
    script = script.replace("\\\n", " ")
    found = [f"{path} is not there" for path in PATH.findall(script) if not (PROJECT_DIR / path).exists()]
    for line in script.splitlines():
        if match := re.search(r"(?:^|\s)python ([\w./-]+\.py)(.*)", line):
            found += _problems_of_call([sys.executable, match[1]], match[2])
        if match := re.search(r"(?:^|\s)\./deploy\.sh(.*)", line):
            found += _problems_of_call(["./deploy.sh"], match[1])
        if (match := re.search(r"(?:^|\s)ecommerce-dw ([\w-]+)", line)) and match[1] not in COMMANDS:
            found.append(f"ecommerce-dw has no command {match[1]}")
        if (match := re.match(r"\s*(\.ci/\S+)", line)) and not os.access(PROJECT_DIR / match[1], os.X_OK):
            found.append(f"{match[1]} can't be executed")
    return found


def _problems_of_call(program: list[str], arguments: str) -> list[str]:
    words = arguments.split()
    subcommand = [word for word in words[:1] if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-")]
    told = subprocess.run([*program, *subcommand, "--help"], cwd=PROJECT_DIR, capture_output=True, text=True)
    if told.returncode != 0:
        return [f"{' '.join([*program, *subcommand])} does not run: {(told.stdout + told.stderr).strip()}"]
    options = [word for word in words if word.startswith("--")]
    return [f"{program[-1]} has no option {option}" for option in options if option not in told.stdout]


def test_there_are_workflows_that_run_something() -> None:
    assert [workflow.name for workflow in WORKFLOWS] == ["ci.yml", "upload-day-files.yml"]
    assert {".ci/run", "python .ci/modified.py build last-good"} <= {step.get("run") for step in steps()}


def test_workflows_keep_to_the_forge_s_schema() -> None:
    arguments = ["--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS)]
    done = subprocess.run(
        [Path(sys.executable).with_name("check-jsonschema"), *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_has_nothing_to_say() -> None:
    program = shutil.which("actionlint")
    if program is None:
        pytest.skip("there is no actionlint here")
    done = subprocess.run([program, "-no-color", *WORKFLOWS], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_path_command_and_option_that_a_step_names_is_there() -> None:
    found = [problem for step in steps() for problem in problems(step.get("run", ""))]
    assert found == []


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (".ci/modifed.py keep x", ".ci/modifed.py is not there"),
        ("python .ci/modified.py rebuild x", "No such command 'rebuild'"),
        ("python .ci/modified.py build --staet x", "no option --staet"),
        ("docker build -f \\\n  infrastructure/Dockerfil .", "infrastructure/Dockerfil is not there"),
        ("./deploy.sh tset", "There is no command 'tset'"),
        ("ecommerce-dw lod", "no command lod"),
        (".ci/modified.py build x", ".ci/modified.py can't be executed"),
    ],
)
def test_a_name_that_is_not_there_is_found(script: str, problem: str) -> None:
    assert any(problem in found for found in problems(script)), problems(script)


def test_the_state_that_is_kept_is_the_one_that_is_fetched() -> None:
    ci = jobs(PROJECT_DIR / ".github" / "workflows" / "ci.yml")
    (upload,) = (step for step in ci["last-good"]["steps"] if "upload-artifact" in step.get("uses", ""))
    (fetch,) = (step["run"] for step in ci["modified"]["steps"] if "gh run download" in step.get("run", ""))
    (made,) = (step["run"] for step in ci["last-good"]["steps"] if "modified.py keep" in step.get("run", ""))
    assert f"--name {upload['with']['name']} " in fetch
    assert made.endswith(" " + upload["with"]["path"].rstrip("/"))
    assert "--workflow ci.yml " in fetch
    assert ci["last-good"]["needs"] == "test"  # only what has passed is good
