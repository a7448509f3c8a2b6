"""What `meadow-node run` is told by options and by environment variables named MEADOW_NODE_*."""

from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from node_agent.dispatcher_url import parse_dispatcher_url
from node_agent.errors import SettingsInvalid
from node_agent.identity import check_wallet
from node_agent.owner_rules import ALL_PURPOSES
from protocol import limits
from protocol.errors import MalformedMessage
from protocol.job import Purpose
from protocol.keys import KEY_BYTES, from_base64url
from protocol.urls import TestSites

_PREFIX = "MEADOW_NODE_"


class NodeSettings(BaseSettings):
    """Options of one run. None leaves the owner's stored rule as it is. Lists in the environment: commas between."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid")

    dispatcher: str
    accept_terms: bool = False
    wallet: str | None = None
    country: str | None = Field(default=None, pattern=r"^[A-Z]{2}$")
    root_key: str | None = None
    max_concurrent: int | None = Field(default=None, ge=1, le=limits.NODE_CONCURRENT_JOBS)
    daily_bytes: int | None = Field(default=None, ge=0)
    daily_jobs: int | None = Field(default=None, ge=0)
    per_second: float | None = Field(default=None, gt=0, le=1_000, allow_inf_nan=False)
    purpose: Annotated[tuple[Purpose, ...], NoDecode] = ()
    allow_test_site: Annotated[tuple[str, ...], NoDecode] = ()
    once: bool = False
    die_with_parent: bool = False

    @field_validator("purpose", "allow_test_site", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("dispatcher")
    @classmethod
    def _check_dispatcher(cls, value: str) -> str:
        parse_dispatcher_url(value)
        return value

    @field_validator("wallet")
    @classmethod
    def _check_wallet(cls, value: str | None) -> str | None:
        return None if value is None else check_wallet(value)

    @field_validator("root_key")
    @classmethod
    def _check_root_key(cls, value: str | None) -> str | None:
        expected = "a root key is 32 bytes in base64url, 43 characters"
        try:
            if value is not None and len(from_base64url(value)) != KEY_BYTES:
                raise ValueError(expected)
        except MalformedMessage as error:
            raise ValueError(expected) from error
        return value

    @field_validator("allow_test_site")
    @classmethod
    def _check_test_sites(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        TestSites.parse(value)
        return value


def read_settings(**options: Any) -> NodeSettings:
    """Join options (None: not given) with the environment; SettingsInvalid names every wrong value at once."""
    try:
        return NodeSettings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        raise SettingsInvalid("\n".join(_explain(error))) from error


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False):
        name = str(problem["loc"][0]) if problem["loc"] else "settings"
        where = f"--{name.replace('_', '-')} (or {_PREFIX}{name.upper()})"
        if name == "purpose":
            lines.append(f"{where}: each is one of {', '.join(ALL_PURPOSES)}; got {problem['input']!r}")
        elif name == "country":
            lines.append(f"{where}: two capital letters (ISO 3166), as DE; got {problem['input']!r}")
        elif problem["type"] == "missing":
            lines.append(f"{where}: not given; it says which dispatcher to work for")
        else:
            lines.append(f"{where}: {problem['msg'].removeprefix('Value error, ')}")
    return lines
