"""Reads data contracts (Open Data Contract Standard v3) into the values of `model`.

A contract is a standard ODCS file; what the standard has no field for stands in its `customProperties`.
`docs/decisions/0012-contracts.md` lists which field means what.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import zoneinfo
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn, cast, get_args

import yaml

from ecommerce_dw.contracts.model import Column, ColumnType, Contract, FileLayout, Severity

SUFFIX = ".odcs.yaml"

#: Conformed entities that a source may feed.
CONFORMED_ENTITIES = (
    "customers",
    "products",
    "orders",
    "order_items",
    "payments",
    "returns",
    "inventory",
    "web_events",
    "marketing_spend",
)

API_VERSIONS = ("v3.0.0", "v3.0.1", "v3.0.2", "v3.1.0")
STATUSES = ("proposed", "draft", "active", "deprecated", "retired")

_TYPES: dict[str, tuple[ColumnType, ...]] = {
    "string": ("text",),
    "integer": ("integer", "bigint"),
    "number": ("numeric",),
    "boolean": ("boolean",),
    "date": ("date",),
    "timestamp": ("timestamptz",),
}
_FORMATS = {"date": "yyyy-MM-dd", "timestamp": "yyyy-MM-dd HH:mm:ss"}
_CLASSES = {"none": "none", "pii-indirect": "indirect", "pii-direct": "direct"}
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")

# Only what this reader understands, or what is for people alone: a misspelt key must not pass unseen.
_CONTRACT_KEYS = frozenset(
    {
        "apiVersion",
        "kind",
        "id",
        "name",
        "version",
        "status",
        "domain",
        "dataProduct",
        "tenant",
        "tags",
        "description",
        "servers",
        "schema",
        "slaProperties",
        "customProperties",
        "team",
        "roles",
        "support",
        "price",
        "authoritativeDefinitions",
        "contractCreatedTs",
    }
)
_ENTITY_KEYS = frozenset(
    {
        "id",
        "name",
        "physicalName",
        "logicalType",
        "physicalType",
        "businessName",
        "description",
        "dataGranularityDescription",
        "tags",
        "properties",
        "customProperties",
        "authoritativeDefinitions",
    }
)
_COLUMN_KEYS = frozenset(
    {
        "id",
        "name",
        "physicalName",
        "logicalType",
        "physicalType",
        "logicalTypeOptions",
        "businessName",
        "description",
        "required",
        "unique",
        "primaryKey",
        "primaryKeyPosition",
        "classification",
        "relationships",
        "quality",
        "tags",
        "examples",
        "criticalDataElement",
        "authoritativeDefinitions",
    }
)
_OPTION_KEYS: dict[str, frozenset[str]] = {
    "string": frozenset({"maxLength", "pattern"}),
    "integer": frozenset({"minimum", "maximum"}),
    "number": frozenset({"minimum", "maximum", "multipleOf"}),
    "boolean": frozenset(),
    "date": frozenset({"format"}),
    "timestamp": frozenset({"format"}),
}
_CONTRACT_PROPERTIES = frozenset(
    {"timeZone", "currency", "extraColumns", "maxRejectedRows", "maxRejectedShare", "refusalSeverity"}
)
_ENTITY_PROPERTIES = frozenset(
    {"orderingColumn", "currencyColumn", "touchKeys", "feeds", "businessDateColumn"}
)
_LAYOUT_PROPERTIES = frozenset({"delimiter", "quote", "encoding", "compression"})


class ContractError(ValueError):
    """A contract that cannot be used: the file, the place in it, what is wrong and what to do."""

    def __init__(self, file: Path, place: str, problem: str) -> None:
        """`place` is a path in the YAML such as `schema[0].properties[3].logicalType`."""
        super().__init__(f"{file}: {place}: {problem}" if place else f"{file}: {problem}")
        self.file = file
        self.place = place
        self.problem = problem


def read_contracts(contracts_dir: Path) -> dict[str, dict[str, Contract]]:
    """All contracts below a folder: `{source: {entity: contract}}`, both in alphabetical order.

    A source is a folder, an entity a file `<entity>.odcs.yaml` in it; folders without such a file are
    passed over. Raises ContractError for the first contract that is broken, or that does not fit the others.
    """
    if not contracts_dir.is_dir():
        raise ContractError(
            contracts_dir,
            "",
            "There is no such folder. Set CONTRACTS_DIR to the folder of the data contracts.",
        )
    contracts: dict[str, dict[str, Contract]] = {}
    for file in sorted(contracts_dir.glob(f"*/*{SUFFIX}")):
        contract = read_contract(file)
        contracts.setdefault(contract.source, {})[contract.entity] = contract
    for source, entities in contracts.items():
        _check_source(contracts_dir / source, entities)
    return contracts


def read_contract(file: Path) -> Contract:
    """The contract in one file `<source>/<entity>.odcs.yaml`. Raises ContractError when it is broken."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(file, "", f"The file cannot be read as UTF-8 text ({error}).") from error
    try:
        document = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ContractError(file, place, f"This is not valid YAML: {problem}.") from error
    return _contract(_Node(file, "", document))


def _check_source(folder: Path, entities: Mapping[str, Contract]) -> None:
    """What only the contracts of a source together show: references, and agreement on zone and currency."""
    first = next(iter(entities.values()))
    for contract in entities.values():
        file = folder / f"{contract.entity}{SUFFIX}"
        for what in ("time_zone", "currency"):
            mine, other = getattr(contract, what), getattr(first, what)
            if mine != other:
                raise ContractError(
                    file,
                    "customProperties",
                    f"{what.replace('_', ' ')} {mine} differs from {other} in {first.entity}{SUFFIX}. "
                    f"A source has one; make two sources of them, or correct one.",
                )
        for column in contract.columns:
            if column.references is None:
                continue
            entity, target = column.references
            if entity not in entities or target not in {c.name for c in entities[entity].columns}:
                raise ContractError(
                    file,
                    f"column {column.name}, relationships",
                    f"{entity}.{target} is not in the contracts of source {folder.name}. "
                    f"Name an entity and a column of the same source.",
                )


# ------------------------------------------------------------------------------------------------ YAML


class _Loader(yaml.CSafeLoader):  # written in C: eight times as quick as SafeLoader
    """YAML in which a repeated key is an error (the last one would win in silence)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands here twice, leave one of them", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Node:
    """A value in the YAML together with the place it stands at."""

    def __init__(self, file: Path, place: str, value: Any) -> None:
        self.file = file
        self.place = place
        self.value = value

    def fail(self, problem: str) -> NoReturn:
        raise ContractError(self.file, self.place, problem)

    def has(self, key: str) -> bool:
        return self.mapping().get(key) is not None

    def __getitem__(self, key: str) -> _Node:
        """The value of a key; its absence is an error."""
        node = self.get(key)
        if node is None:
            self.fail(f"`{key}` is missing. Add it.")
        return node

    def get(self, key: str) -> _Node | None:
        value = self.mapping().get(key)
        return None if value is None else _Node(self.file, f"{self.place}.{key}".lstrip("."), value)

    def __iter__(self) -> Iterator[_Node]:
        if not isinstance(self.value, list) or not self.value:
            self.fail("Expected a list with at least one element.")
        for number, value in enumerate(self.value):
            yield _Node(self.file, f"{self.place}[{number}]", value)

    def mapping(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            self.fail(f"Expected keys and values, found {self.value!r}.")
        return cast(dict[str, Any], self.value)

    def only(self, known: frozenset[str]) -> None:
        """Refuses keys that mean nothing here."""
        for key in self.mapping():
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f" Did you mean `{near[0]}`?" if near else f" Known here: {', '.join(sorted(known))}."
                self.fail(f"`{key}` is not understood.{hint}")

    def text(self) -> str:
        """A text on one line, without outer blanks."""
        if not isinstance(self.value, str):
            self.fail(f"Expected text, found {self.value!r}. Put it in quotes.")
        if not self.value.strip():
            self.fail("Expected text, found none.")
        return re.sub(r"\s*\n\s*", " ", self.value.strip())

    def name(self) -> str:
        text = self.text()
        # PostgreSQL cuts longer names in silence, and the raw table's name is made of two.
        if not _NAME.fullmatch(text) or len(text) > 30 or "__" in text:
            self.fail(
                f"{text!r} cannot be a name. Use at most 30 lower-case letters, digits, single underscores."
            )
        return text

    def boolean(self) -> bool:
        if not isinstance(self.value, bool):
            self.fail(f"Expected true or false, found {self.value!r}.")
        return self.value

    def number(self) -> Decimal:
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            self.fail(f"Expected a number, found {self.value!r}.")
        return Decimal(str(self.value))

    def whole(self) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            self.fail(f"Expected a whole number of at least 0, found {self.value!r}.")
        return int(self.value)

    def choice(self, options: tuple[str, ...]) -> str:
        text = self.text()
        if text not in options:
            self.fail(f"{text!r} is not one of {', '.join(options)}.")
        return text

    def character(self) -> str:
        if not isinstance(self.value, str) or len(self.value.encode()) != 1:
            self.fail(f"Expected one ASCII character, found {self.value!r}.")
        return self.value

    def texts(self) -> tuple[str, ...]:
        values = tuple(node.text() for node in self)
        if len(set(values)) != len(values):
            self.fail(f"A value stands here twice: {', '.join(values)}.")
        return values

    def properties(self, known: frozenset[str]) -> dict[str, _Node]:
        """The `customProperties` of this element by name."""
        node = self.get("customProperties")
        found: dict[str, _Node] = {}
        for item in node or ():
            item.only(frozenset({"id", "property", "value", "description"}))
            name = item["property"].text()
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"Did you mean `{near[0]}`?" if near else f"Known here: {', '.join(sorted(known))}."
                item["property"].fail(f"`{name}` is not understood. {hint}")
            if name in found:
                item.fail(f"Property `{name}` stands here twice. Leave one of them.")
            found[name] = item["value"]
        return found

    def property(self, properties: Mapping[str, _Node], name: str) -> _Node:
        """One of these custom properties; its absence is an error."""
        if name not in properties:
            self.fail(f"`customProperties` has no `{name}`. Add `- property: {name}` and its `value`.")
        return properties[name]


# ------------------------------------------------------------------------------------------------ parts


def _contract(root: _Node) -> Contract:
    root.only(_CONTRACT_KEYS)
    root["apiVersion"].choice(API_VERSIONS)
    root["kind"].choice(("DataContract",))
    root["status"].choice(STATUSES)
    root["id"].text()
    version = root["version"]
    if not _VERSION.fullmatch(version.text()):
        version.fail(f"{version.text()!r} is not a semantic version. Write one such as 1.0.0.")

    source, entity = root.file.parent.name, root.file.name.removesuffix(SUFFIX)
    if not _NAME.fullmatch(source) or len(source) > 30 or "__" in source:
        root.fail(
            f"The folder's name {source!r} is the source's name; use at most 30 lower-case letters, "
            f"digits and single underscores."
        )
    if (product := root["dataProduct"]).text() != source:
        product.fail(f"Expected {source!r}, the name of the folder.")

    objects = list(root["schema"])
    if len(objects) != 1:
        root["schema"].fail("Expected one entity. Write one contract per entity.")
    body = objects[0]
    body.only(_ENTITY_KEYS)
    if body["name"].name() != entity:
        body["name"].fail(f"Expected {entity!r}, the name of the file.")
    if (physical := body["physicalName"]).text() != f"{source}__{entity}":
        physical.fail(f"Expected {source}__{entity}, the name of the raw table.")

    columns, primary_key = _columns(body)
    names = {column.name: column for column in columns}

    own = root.properties(_CONTRACT_PROPERTIES)
    of_entity = body.properties(_ENTITY_PROPERTIES)

    def column_named(node: _Node) -> str:
        if node.text() not in names:
            node.fail(f"{node.text()!r} is not a column of this contract.")
        return node.text()

    def of_type(node: _Node, *types: str) -> str:
        name = column_named(node)
        if names[name].type not in types or not names[name].is_required:
            node.fail(f"{name} must be a required column of type {' or '.join(types)}.")
        return name

    ordering = of_entity.get("orderingColumn")
    currency_column = of_entity.get("currencyColumn")
    touch_keys = (
        tuple(column_named(n) for n in of_entity["touchKeys"]) if "touchKeys" in of_entity else primary_key
    )
    if not touch_keys:
        body.fail(
            "Without a primary key the custom property `touchKeys` is needed: models replace rows by it."
        )

    feeds = body.property(of_entity, "feeds")
    time_zone = root.property(own, "timeZone")
    if time_zone.text() not in zoneinfo.available_timezones():
        time_zone.fail(f"{time_zone.text()!r} is not an IANA time zone. Write one such as Europe/London.")
    currency = root.property(own, "currency")
    if not re.fullmatch("[A-Z]{3}", currency.text()):
        currency.fail(f"{currency.text()!r} is not an ISO 4217 code. Write one such as EUR.")
    share = root.property(own, "maxRejectedShare")
    if not 0 <= share.number() <= 1:
        share.fail("A share lies between 0 and 1.")

    layout = _layout(root)
    date_column = of_entity.get("businessDateColumn")
    if ("{name}" in layout.pattern) is (date_column is None):
        body.fail(
            "A file whose name need not hold its date ({name} in the path) takes it from a column, and only "
            "such a one: name it in the custom property `businessDateColumn`."
        )
    values: dict[str, Any] = {
        "source": source,
        "entity": entity,
        "version": version.text(),
        "description": body["description"].text(),
        "columns": columns,
        "primary_key": primary_key,
        "touch_keys": touch_keys,
        "ordering_column": None
        if ordering is None
        else of_type(ordering, "timestamptz", "date", "integer", "bigint"),
        "layout": layout,
        "time_zone": time_zone.text(),
        "currency": currency.text(),
        "currency_column": None if currency_column is None else of_type(currency_column, "text"),
        "max_staleness_days": _freshness(root),
        "max_rejected_rows": root.property(own, "maxRejectedRows").whole(),
        "max_rejected_share": share.number(),
        "refusal_severity": cast(Severity, root.property(own, "refusalSeverity").choice(get_args(Severity))),
        "extra_columns": root.property(own, "extraColumns").choice(("ignore", "refuse")),
        "feeds": tuple(node.choice(CONFORMED_ENTITIES) for node in feeds),
        "grain": body["dataGranularityDescription"].text(),
        "date_column": None if date_column is None else of_type(date_column, "date"),
    }
    return Contract(hash=_digest(values), **values)


def _columns(body: _Node) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """The columns, and the names of those of the primary key in their order."""
    columns: list[Column] = []
    keys: dict[int, str] = {}
    for node in body["properties"]:
        column = _column(node)
        for what, taken in (("name", {c.name for c in columns}), ("header", {c.header for c in columns})):
            if getattr(column, what) in taken:
                node.fail(f"Another column has the {what} {getattr(column, what)!r} already.")
        columns.append(column)
        if (is_key := node.get("primaryKey")) and is_key.boolean():
            number = node.get("primaryKeyPosition")
            position = number.whole() if number else None
            if not column.is_required:
                node.fail("A column of the primary key must be `required: true`.")
            if position is None or position in keys:
                node.fail(
                    "Give each column of the primary key a `primaryKeyPosition` of its own, counted from 1."
                )
            keys[position] = column.name
    return tuple(columns), tuple(keys[position] for position in sorted(keys))


def _column(node: _Node) -> Column:
    node.only(_COLUMN_KEYS)
    logical = node["logicalType"].choice(tuple(_TYPES))
    physical = node.get("physicalType")
    type_ = cast(ColumnType, physical.choice(_TYPES[logical]) if physical else _TYPES[logical][0])
    options = node.get("logicalTypeOptions") or _Node(node.file, f"{node.place}.logicalTypeOptions", {})
    options.only(_OPTION_KEYS[logical])
    name = node["name"].name()
    header = node.get("physicalName")
    required, unique, pii = node.get("required"), node.get("unique"), node.get("classification")
    if (pattern := options.get("pattern")) is not None:
        _check_pattern(pattern)
    if (written := options.get("format")) is not None:
        written.choice((_FORMATS[logical],))
    minimum, maximum = options.get("minimum"), options.get("maximum")
    if minimum and maximum and minimum.number() > maximum.number():
        options.fail("`minimum` is greater than `maximum`: every row would be rejected.")
    step, length = options.get("multipleOf"), options.get("maxLength")
    allowed = _allowed_values(node)
    if allowed and type_ != "text":
        node.fail("Only a text column can have `validValues`.")
    return Column(
        name=name,
        header=header.text() if header else name,
        type=type_,
        is_required=required.boolean() if required else False,
        is_unique=unique.boolean() if unique else False,
        minimum=minimum.number() if minimum else None,
        maximum=maximum.number() if maximum else None,
        scale=_scale(step) if step else None,
        max_length=length.whole() if length else None,
        pattern=pattern.text() if pattern else None,
        allowed_values=allowed,
        references=_reference(node),
        pii=_CLASSES[pii.choice(tuple(_CLASSES))] if pii else "none",
        description=node["description"].text(),
        format=_FORMATS.get(logical),
    )


def _scale(step: _Node) -> int:
    """Decimals of a `multipleOf` that is 1, 0.1, 0.01 …"""
    sign, digits, exponent = step.number().normalize().as_tuple()
    if sign or digits != (1,) or not isinstance(exponent, int) or exponent > 0:
        step.fail("Only 1, 0.1, 0.01 … (the number of decimals) is understood here.")
    return -exponent


def _check_pattern(pattern: _Node) -> None:
    text = pattern.text()
    # The standard's patterns may match a part, the loader's rule matches the whole: anchors make both one.
    if not (text.startswith("^") and text.endswith("$")):
        pattern.fail("Begin the pattern with ^ and end it with $.")
    try:
        re.compile(text)
    except re.error as error:
        pattern.fail(f"{text!r} is not a regular expression: {error}.")


def _allowed_values(node: _Node) -> tuple[str, ...]:
    allowed: tuple[str, ...] = ()
    for check in node.get("quality") or ():
        check["metric"].choice(("invalidValues",))
        check.only(
            frozenset({"id", "type", "metric", "arguments", "mustBe", "description", "dimension", "severity"})
        )
        check["arguments"].only(frozenset({"validValues"}))
        if allowed or check["mustBe"].number() != 0:
            check.fail(
                "Expected one check: `metric: invalidValues`, `arguments: {validValues: [...]}`, `mustBe: 0`."
            )
        allowed = check["arguments"]["validValues"].texts()
    return allowed


def _reference(node: _Node) -> tuple[str, str] | None:
    relationships = node.get("relationships")
    if relationships is None:
        return None
    targets = [item["to"] for item in relationships]
    entity, dot, column = targets[0].text().partition(".")
    if len(targets) != 1 or not dot or "." in column:
        relationships.fail("Expected one `- to: <entity>.<column>`.")
    return entity, column


def _layout(root: _Node) -> FileLayout:
    servers = list(root["servers"])
    if len(servers) != 1:
        root["servers"].fail("Expected one server, the landing zone.")
    server = servers[0]
    server.only(
        frozenset(
            {"id", "server", "type", "path", "format", "description", "environment", "customProperties"}
        )
    )
    server["format"].choice(("csv",))
    path = server["path"]
    pattern = path.text()
    is_dated = pattern.count("{date}") + pattern.count("{name}") == 1 and pattern.count("{part}") == 1
    if not is_dated or re.search(r"[*?\\]|^/|\.\.", pattern):
        path.fail(
            "Expected a path below the landing zone with {date} and {part} once each, such as "
            "orders/dt={date}/orders{part}.csv; {name}, any name, may stand for {date}."
        )
    if not pattern.endswith("{part}.csv"):
        path.fail("The file's name ends in {part}.csv (the compression's suffix is appended by itself).")
    own = server.properties(_LAYOUT_PROPERTIES)
    delimiter = server.property(own, "delimiter").character()
    quote = server.property(own, "quote").character()
    if delimiter == quote:
        server.fail("Delimiter and quote are the same character.")
    compression = server.property(own, "compression").texts()
    if not set(compression) <= {"none", "gzip"}:
        own["compression"].fail("Only none and gzip can be read.")
    return FileLayout(
        pattern=pattern,
        delimiter=delimiter,
        quote=quote,
        encoding=server.property(own, "encoding").choice(("utf-8",)),
        compressions=compression,
    )


def _freshness(root: _Node) -> int | None:
    """Days after which the source is stale; None where the contract says `none`."""
    for agreement in root["slaProperties"]:
        if agreement["property"].text() != "freshness":
            continue
        value = agreement["value"]
        if value.value == "none":
            return None
        agreement["unit"].choice(("d", "day", "days"))
        return value.whole()
    return root["slaProperties"].fail(
        "There is no `property: freshness`. Add it; its value is days, or none."
    )


def _digest(values: Mapping[str, Any]) -> str:
    """Digest of what decides which rows load: descriptions, freshness and the like leave it as it is.

    The lists are written out, so that a field added to the model does not change every hash.
    """
    layout: FileLayout = values["layout"]
    decisive = {
        "columns": [
            [
                column.name,
                column.header,
                column.type,
                column.is_required,
                column.is_unique,
                *(
                    None if bound is None else format(bound.normalize(), "f")
                    for bound in (column.minimum, column.maximum)
                ),
                column.scale,
                column.max_length,
                column.pattern,
                sorted(column.allowed_values),
            ]
            for column in values["columns"]
        ],
        "primary_key": values["primary_key"],
        "layout": [layout.delimiter, layout.quote, layout.encoding, sorted(layout.compressions)],
        "time_zone": values["time_zone"],
        "currency": [values["currency"], values["currency_column"]],
        "thresholds": [values["max_rejected_rows"], format(values["max_rejected_share"].normalize(), "f")],
        "extra_columns": values["extra_columns"],
    }
    return hashlib.sha256(json.dumps(decisive, separators=(",", ":")).encode()).hexdigest()
