"""Whether a manifest is what the Kubernetes API takes, by the models of its official client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kubernetes import client

#: What the client's models call the plain types of JSON.
_PLAIN: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "float": (int, float),
    "datetime": str,
}


def problems(manifest: dict[str, Any]) -> list[str]:
    """Unknown fields, fields that are missing, and values of another type, each with its place."""
    version, kind = manifest.get("apiVersion", ""), manifest.get("kind", "")
    group, _, number = version.rpartition("/")
    name = f"{number[:1].upper()}{number[1:]}{kind}"
    if not hasattr(client, name):
        return [f"{group or 'core'}: there is no {kind} {number}"]
    return list(_problems(manifest, name, kind))


def _problems(value: Any, kind: str, place: str) -> Iterator[str]:
    if match := re.fullmatch(r"list\[(.+)\]", kind):
        if not isinstance(value, list):
            yield f"{place}: {value!r} is no list"
            return
        for number, item in enumerate(value):
            yield from _problems(item, match[1], f"{place}[{number}]")
    elif match := re.fullmatch(r"dict[(\[]str, (.+)[)\]]", kind):
        if not isinstance(value, dict):
            yield f"{place}: {value!r} is no mapping"
            return
        for key, item in value.items():
            yield from _problems(item, match[1], f"{place}.{key}")
    elif kind in _PLAIN:
        if not isinstance(value, _PLAIN[kind]) or (kind != "bool" and isinstance(value, bool)):
            yield f"{place}: {value!r} is no {kind}"
    elif kind != "object":
        yield from _problems_of_model(value, getattr(client, kind), place)


def _problems_of_model(value: Any, model: Any, place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place}: {value!r} is no mapping"
        return
    attributes = {field: attribute for attribute, field in model.attribute_map.items()}
    for field in value.keys() - attributes.keys():
        yield f"{place}: {model.__name__} has no field {field}"
    known = {field: item for field, item in value.items() if field in attributes}
    try:
        model(**{attributes[field]: item for field, item in known.items()})
    except ValueError as error:  # of a field that is required, or a value out of its list
        yield f"{place}: {error}"
    for field, item in known.items():
        if item is None:  # to the API as if it were not there
            continue
        yield from _problems(item, model.openapi_types[attributes[field]], f"{place}.{field}")
