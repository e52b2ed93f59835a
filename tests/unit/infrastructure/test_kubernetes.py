"""The manifests and the chart's values: what Kubernetes, the chart, Airflow and our own command line take."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from airflow.configuration import conf

from ecommerce_dw.cli import main
from ecommerce_dw.platform.configuration import airflow_options
from ecommerce_dw.settings import PROJECT_DIR, Settings
from tests.support.kubernetes_models import problems

VALUES = PROJECT_DIR / "infrastructure" / "helm" / "values.yaml"
MANIFESTS = PROJECT_DIR / "infrastructure" / "kubernetes"
GUIDE = PROJECT_DIR / "docs" / "production.md"


def read_all(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


def manifests() -> list[dict[str, Any]]:
    names = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"]
    return [document for name in names for document in read_all((MANIFESTS / name).read_text())]


def values() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(VALUES.read_text())
    return found


def found_under(key: str, tree: Any) -> Iterator[Any]:
    """Every value under this key, at any depth."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name == key:
                yield value
            yield from found_under(key, value)
    elif isinstance(tree, list):
        for value in tree:
            yield from found_under(key, value)


def containers(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        each for documents_ in documents for group in found_under("containers", documents_) for each in group
    ]


def chart() -> Path:
    """The chart's folder, as `helm pull --untar apache-airflow/airflow` leaves it."""
    named = os.environ.get("ECOMMERCE_DW_AIRFLOW_CHART", "")
    if not named:
        pytest.skip("ECOMMERCE_DW_AIRFLOW_CHART names no folder of Airflow's Helm chart")
    return Path(named)


def test_every_manifest_is_listed_and_what_the_api_takes() -> None:
    listed = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"]
    assert set(listed) | {"kustomization.yaml"} == {path.name for path in MANIFESTS.iterdir()}
    assert [problem for manifest in manifests() for problem in problems(manifest)] == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"spec": {"template": {"spec": {"containerz": []}}}}, "no field containerz"),
        ({"spec": {"template": {"spec": {"containers": [{"image": "a"}]}}}}, "`name`, must not be `None`"),
        ({"spec": {"backoffLimit": "3", "template": {"spec": {"containers": []}}}}, "'3' is no int"),
        ({"apiVersion": "batch/v7"}, "batch: there is no Job v7"),
    ],
)
def test_a_wrong_manifest_is_found(change: dict[str, Any], problem: str) -> None:
    manifest = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}} | change
    assert any(problem in found for found in problems(manifest)), problems(manifest)


def test_jobs_run_commands_that_exist() -> None:
    commands = [each["command"] for each in containers(manifests())]
    assert len(commands) == 3
    for program, name, *options in commands:
        assert program == "ecommerce-dw"
        command = main.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None, name
        assert set(options) <= {option for parameter in command.params for option in parameter.opts}


def test_settings_are_settings_and_no_secret_is_written_down() -> None:
    documents = manifests()
    assert not [each for each in documents if each["kind"] == "Secret"]
    (settings,) = (each["data"] for each in documents if each["kind"] == "ConfigMap")
    assert set(settings) <= {name.upper() for name in Settings.model_fields}
    secret = {
        name.upper() for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)
    }
    assert secret and not secret & set(settings)
    assert not list(found_under("env", [documents, values()]))
    kept = Settings(_env_file=None, **{name.lower(): settings[name] for name in settings})
    assert kept.ecommerce_dw_environment == "production" and not kept.is_embedded


def test_the_guide_makes_every_secret_that_is_asked_for() -> None:
    documents = [*manifests(), values(), *read_all(values()["extraEnvFrom"])]
    names = {each["name"] for each in found_under("secretRef", documents)}
    names |= set(found_under("secretName", documents))
    names |= {name for key, name in values().items() if key.endswith("SecretName")}
    names |= {name for key, name in values()["data"].items() if key.endswith("SecretName")}
    assert len(names) == 6
    guide = GUIDE.read_text()
    missing = [name for name in names if f"secret generic {name} " not in guide]
    assert not missing


def test_values_set_options_that_airflow_has_and_as_the_platform_does() -> None:
    known = conf.configuration_description
    ours = airflow_options_of_the_platform()
    for section, options in values()["config"].items():
        for name, value in options.items():
            assert name in known[section]["options"], f"[{section}] {name}"
            if section == "scheduler":
                assert str(value) == ours[section][name], name
    assert values()["executor"] == "KubernetesExecutor"


def airflow_options_of_the_platform() -> dict[str, dict[str, str]]:
    import tempfile

    with tempfile.TemporaryDirectory() as home:
        return airflow_options(Settings(_env_file=None, ecommerce_dw_home=Path(home)))


def test_components_and_jobs_run_as_the_image_s_user_with_the_same_home() -> None:
    claims = {each["claimName"] for each in found_under("persistentVolumeClaim", [*manifests(), values()])}
    (claim,) = (each["metadata"]["name"] for each in manifests() if each["kind"] == "PersistentVolumeClaim")
    assert claims | {values()["logs"]["persistence"]["existingClaim"]} == {claim}
    users = set(found_under("runAsUser", [*manifests(), values()])) | {values()["uid"]}
    assert users == {50000}
    assert all(
        each["securityContext"]["allowPrivilegeEscalation"] is False for each in containers(manifests())
    )


def test_values_keep_to_the_chart_s_schema() -> None:
    schema = json.loads((chart() / "values.schema.json").read_text())
    jsonschema.validate(values(), schema)
    assert set(values()) <= set(schema["properties"])  # the schema itself lets unknown names through


def test_the_chart_renders_to_what_the_api_takes_with_our_image_everywhere() -> None:
    if shutil.which("helm") is None:
        pytest.skip("there is no helm here")
    rendered = subprocess.run(
        ["helm", "template", "airflow", str(chart()), "--namespace", "ecommerce-dw", "--values", str(VALUES)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    documents = read_all(rendered)
    (config,) = (each["data"] for each in documents if each["kind"] == "ConfigMap")
    documents += read_all(config["pod_template_file.yaml"])
    assert [problem for document in documents for problem in problems(document)] == []
    started = [
        *containers(documents),
        *(c for g in found_under("initContainers", documents) for c in g or []),
    ]
    assert len(started) >= 9
    assert {each["image"] for each in started} == {
        f"{values()['defaultAirflowRepository']}:{values()['defaultAirflowTag']}"
    }
    # scripts that the chart's own image has, and ours has not
    assert "/entrypoint" not in rendered and "/clean-logs" not in rendered
