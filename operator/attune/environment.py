"""Settings from the environment, whichever process they are of: read once, and a bad value is one line. Used by `settings` and `rest`.

A settings class has one field a variable, whose alias is the variable's name.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from attune.errors import StartError

_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"


class SettingsError(StartError):
    """A variable of the environment has a value that is not allowed. The message is one line."""


# ---- kinds of values


def _split(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _are_namespaces(value: tuple[str, ...]) -> tuple[str, ...]:
    for name in value:
        if not re.match(DNS_LABEL, name):
            raise ValueError(f"{name!r} is no namespace; allowed are names like team-a,team-b, or nothing for all")
    return value


def _exists(value: Path) -> Path:
    if not value.expanduser().is_file():
        raise ValueError("no such file; allowed is the path of a file")
    return value.expanduser()


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


Several = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""Values separated by commas."""
Namespaces = Annotated[Several, AfterValidator(_are_namespaces)]
"""Empty: all."""
ExistingFile = Annotated[Path, AfterValidator(_exists)]
ANY_CASE = BeforeValidator(_lower)
LogFormat = Annotated[Literal["auto", "json", "console"], ANY_CASE]
"""auto: console on a terminal, else json."""
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], ANY_CASE]


class OwnSettings(BaseSettings):
    """Settings of one of our processes."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True)

    def by_variable(self) -> dict[str, str]:
        """Variable → value as one would write it; for `--settings`."""
        values = {name: getattr(self, field) for name, field in variables(type(self)).items()}
        return {variable: _written(value) for variable, value in values.items()}


S = TypeVar("S", bound=OwnSettings)
Kind = type[OwnSettings]


def own_namespace() -> str:
    """The namespace of our pod; `default` outside of a cluster."""
    return _OWN_NAMESPACE.read_text().strip() if _OWN_NAMESPACE.is_file() else "default"


def variables(kind: Kind) -> dict[str, str]:
    """Variable → field."""
    return {str(info.alias): name for name, info in kind.model_fields.items()}


def load(kind: type[S], environ: Mapping[str, str] | None = None) -> S:
    """Settings of this class; an empty variable is an absent one. Raises SettingsError."""
    source = os.environ if environ is None else environ
    given = {name: source[name] for name in variables(kind) if source.get(name, "").strip()}
    try:
        return kind.model_validate(given)
    except ValidationError as e:
        raise SettingsError("; ".join(_describe(kind, dict(error), given) for error in e.errors())) from e


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _describe(kind: Kind, error: dict[str, Any], given: Mapping[str, str]) -> str:
    """`FINETUNE_PROVIDER="azure": allowed are openai, local`."""
    if not error["loc"]:
        return str(error["msg"]).removeprefix("Value error, ")
    variable = str(error["loc"][0])
    return f'{variable}="{given.get(variable, error["input"])}": {_allowed(kind, variable, error)}'


def _allowed(kind: Kind, variable: str, error: dict[str, Any]) -> str:
    message = str(error["msg"])
    if error["type"] == "value_error":
        return message.removeprefix("Value error, ")
    annotation = kind.model_fields[variables(kind).get(variable, variable)].annotation
    if get_origin(annotation) is Literal:
        return "allowed are " + ", ".join(map(str, get_args(annotation)))
    if annotation is bool:
        return "allowed are true, false"
    if annotation in {int, float}:
        return ("allowed are whole numbers" if annotation is int else "allowed are numbers") + _bounds(kind, variable)
    if "pattern" in (error.get("ctx") or {}):
        return "allowed are lower-case letters, digits and hyphens"
    return message


def _bounds(kind: Kind, variable: str) -> str:
    """` ≥ 1, ≤ 256`, from the field's own constraints."""
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    metadata = kind.model_fields[variables(kind)[variable]].metadata
    found = [(sign, getattr(bound, name, None)) for bound in metadata for name, sign in signs.items()]
    return ",".join(f" {sign} {value}" for sign, value in found if value is not None)
