"""Structural OpenAPI v3 schemas of the models: what a CRD may contain, and nothing else. Called by `crd`.

pydantic writes JSON Schema 2020-12. A CRD wants no `$ref`, no `anyOf` with null, no `title`, the exclusive bounds of
OpenAPI 3.0, and defaults that are there for the server to fill in: an optional part that is an object gets
`default: {}`, so that the defaults inside it apply when it is left out. Defaults and bounds are said in the
descriptions too, since `kubectl explain` shows nothing else.
"""

from typing import Any

from pydantic import BaseModel, TypeAdapter

from attune.api.rules import KEY

Schema = dict[str, Any]
_EXCLUSIVE = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}
_DROPPED = frozenset({"title", "examples", "readOnly", "$defs", "$ref", "anyOf", "allOf", "const", *_EXCLUSIVE})
_NULL = {"type": "null"}
_ORDER = ("description", "type", "format", "default", "enum", "pattern", "required", "properties")


def structural(model: type[BaseModel], *, defaults: bool = True) -> Schema:
    """The structural schema of a model; without defaults for a status, which nobody fills in but the operator.

    Raises ValueError for what a CRD cannot say: recursion, unions, a field without a description.
    """
    raw = model.model_json_schema(by_alias=True, mode="validation")
    made = _Translation(raw.get("$defs", {}), defaults).node(raw, model.__name__)
    for name, computed in model.model_computed_fields.items():
        inner = TypeAdapter(computed.return_type).json_schema(by_alias=True)
        part = _Translation(inner.get("$defs", {}), defaults).node(inner, f"{model.__name__}.{name}")
        made["properties"][name] = {**part, "description": computed.description}
    return made


class _Translation:
    """One walk over a JSON schema with its definitions."""

    def __init__(self, definitions: dict[str, Schema], defaults: bool) -> None:
        self.definitions = definitions
        self.defaults = defaults

    def node(self, raw: Schema, path: str, open_refs: tuple[str, ...] = ()) -> Schema:
        """A schema and everything below it."""
        raw, open_refs = self._resolved(raw, path, open_refs)
        made = {key: value for key, value in raw.items() if key not in _DROPPED}
        if "x-kubernetes-int-or-string" in raw:
            return _ordered({**made, "anyOf": raw["anyOf"]})
        for new, old in _EXCLUSIVE.items():
            if new in raw:
                made |= {old: raw[new], new: True}
        if "const" in raw:
            made["enum"] = [raw["const"]]
        if not self.defaults or made.get("default", ...) is None:
            made.pop("default", None)
        self._children(made, path, open_refs)
        return _ordered(made)

    def _resolved(self, raw: Schema, path: str, open_refs: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """References put in place and `X or null` folded to X; what stands beside them wins, rules are joined."""
        while "$ref" in raw or "anyOf" in raw or "allOf" in raw:
            if "x-kubernetes-int-or-string" in raw:
                break
            beside = {key: value for key, value in raw.items() if key not in {"$ref", "anyOf", "allOf"}}
            if "$ref" in raw:
                name = raw["$ref"].rsplit("/", 1)[-1]
                if name in open_refs:
                    raise ValueError(f"{path}: {name} contains itself; a structural schema cannot say that")
                inner, open_refs = self.definitions[name], (*open_refs, name)
            else:
                choices = [c for c in (raw.get("anyOf") or raw["allOf"]) if c != _NULL]
                if len(choices) != 1:
                    raise ValueError(f"{path}: a union of {len(choices)} schemas; a structural schema cannot say that")
                inner = choices[0]
            rules = [*inner.get(KEY, []), *beside.get(KEY, [])]
            raw = {**inner, **beside, **({KEY: rules} if rules else {})}
        return raw, open_refs

    def _children(self, made: Schema, path: str, open_refs: tuple[str, ...]) -> None:
        required = made.get("required", [])
        properties = {}
        for name, child in made.get("properties", {}).items():
            below = self.node(child, f"{path}.{name}", open_refs)
            if not below.get("description"):
                raise ValueError(f"{path}.{name}: has no description; `kubectl explain` would say nothing about it")
            if self.defaults and name not in required and "properties" in below and not _nullable(child):
                below = _ordered({**below, "default": _default(below)})
            properties[name] = _told(below) if self.defaults else below
        if properties:
            made["properties"] = properties
        if isinstance(made.get("additionalProperties"), dict):
            made["additionalProperties"] = self.node(made["additionalProperties"], f"{path}.*", open_refs)
        elif "additionalProperties" in made:
            del made["additionalProperties"]
        if "items" in made:
            made["items"] = self.node(made["items"], f"{path}[]", open_refs)
            made.setdefault("x-kubernetes-list-type", "atomic")


def _told(schema: Schema) -> Schema:
    """With the default and the bounds of a scalar at the end of its description."""
    default = schema.get("default")
    said = [f"default {_plain(default)}"] if "default" in schema and not isinstance(default, dict) else []
    if bounds := _bounds(schema):
        said.append(bounds)
    if not said:
        return schema
    text = "; ".join(said)
    return {**schema, "description": f"{schema['description']} {text[0].upper()}{text[1:]}."}


def _bounds(schema: Schema) -> str:
    """`1 to 100`, `above 0, at most 1`, `at least 0`."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None and not any(key in schema for key in _EXCLUSIVE):
        return f"{_plain(low)} to {_plain(high)}"
    words = {
        "above": low if "exclusiveMinimum" in schema else None,
        "at least": low if "exclusiveMinimum" not in schema else None,
        "below": high if "exclusiveMaximum" in schema else None,
        "at most": high if "exclusiveMaximum" not in schema else None,
    }
    return ", ".join(f"{word} {_plain(bound)}" for word, bound in words.items() if bound is not None)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return repr(value) if isinstance(value, str) and " " in value else str(value)


def _default(schema: Schema) -> Schema:
    """`{}`, which the server fills; all of it where rules look at it: they see it before it is filled."""
    if KEY not in schema:
        return {}
    return {name: child["default"] for name, child in schema["properties"].items() if "default" in child}


def _nullable(raw: Schema) -> bool:
    return _NULL in raw.get("anyOf", [])


def _ordered(schema: Schema) -> Schema:
    """What a reader looks for first comes first; rules come last."""
    rank = {key: place for place, key in enumerate(_ORDER)}
    return dict(sorted(schema.items(), key=lambda item: (rank.get(item[0], 50), item[0] == KEY)))
