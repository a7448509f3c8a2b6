"""Where the objects, the log's files and the datasets of a network are kept: one URL, and the options of its service.

file:///path            a folder
s3://bucket/prefix      S3, or a server that speaks its protocol (AWS_ENDPOINT_URL)
gs://bucket/prefix      Google Cloud Storage
az://container/prefix   Azure Blob Storage (AZURE_STORAGE_ACCOUNT_NAME)
memory:///              the memory of one process, for tests
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, get_args
from urllib.parse import unquote, urlsplit

import msgspec

from dispatcher.errors import SetupError

Scheme = Literal["file", "s3", "gs", "az", "memory"]

SCHEMES: Final[tuple[Scheme, ...]] = get_args(Scheme)
_OPTIONS: Final[dict[Scheme, tuple[str, ...]]] = {
    "file": (),
    "memory": (),
    "s3": (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
        "AWS_SERVER_SIDE_ENCRYPTION",
        "AWS_SSE_KMS_KEY_ID",
        "AWS_ROLE_ARN",
        "AWS_ROLE_SESSION_NAME",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AWS_METADATA_ENDPOINT",
        "AWS_SKIP_SIGNATURE",
    ),
    "gs": ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_APPLICATION_CREDENTIALS"),
    "az": (
        "AZURE_STORAGE_ACCOUNT_NAME",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_KEY",
        "AZURE_STORAGE_CLIENT_ID",
        "AZURE_STORAGE_CLIENT_SECRET",
        "AZURE_STORAGE_TENANT_ID",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_STORAGE_USE_EMULATOR",
        "AZURE_ENDPOINT",
    ),
}
"""The variables that are read, as the services' own tools name them; everything else is left to their defaults."""

_CONTAINER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_ADDRESS: Final = re.compile(r"https?://[A-Za-z0-9._\[\]:-]+(/[A-Za-z0-9._/-]*)?")


class StoreLocation(msgspec.Struct, frozen=True, kw_only=True):
    """A store. `container` is the bucket, Azure's container, or empty; `prefix` a path in it, or the folder's path.

    `options` are the service's own, by the names of their environment variables; they hold secrets.
    """

    scheme: Scheme
    container: str
    prefix: str
    options: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"StoreLocation({self})"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.container}{'/' if self.container and self.prefix else ''}{self.prefix}"

    @property
    def folder(self) -> Path:
        """The folder of a `file` store."""
        return Path(self.prefix)

    @property
    def endpoint(self) -> str | None:
        """The address of a server that is not the service's own, where one is named."""
        names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AZURE_ENDPOINT")
        return next((self.options[name] for name in names if name in self.options), None)


def folder_location(folder: Path) -> StoreLocation:
    """Return the location of a folder."""
    return StoreLocation(scheme="file", container="", prefix=str(folder.absolute()))


def parse_location(url: str, environment: Mapping[str, str]) -> StoreLocation:
    """Read a store's URL, with the options of its service out of the environment's variables.

    Raises SetupError, which says what is wrong with the URL and what it may be.
    """
    parts = urlsplit(url)
    scheme = next((known for known in SCHEMES if known == parts.scheme), None)
    forms = "file:///path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
    if scheme is None:
        raise SetupError(f"the object store's URL is {url.partition('@')[0]!r}; it must be one of {forms}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise SetupError("the object store's URL holds only a place; keys go into the service's own variables")
    path = unquote(parts.path)
    if any(part in (".", "..") for part in path.split("/")):
        raise SetupError(f"the object store's URL {url!r} has a part that is . or ..; write the whole path")
    options = {name: environment[name] for name in _OPTIONS[scheme] if environment.get(name)}
    if scheme == "memory":
        return StoreLocation(scheme=scheme, container="", prefix="")
    if scheme == "file":
        if parts.netloc not in ("", "localhost") or path in ("", "/"):
            raise SetupError(f"the object store's URL {url!r} names no folder; write file:///path, with three slashes")
        return StoreLocation(scheme=scheme, container="", prefix=path.rstrip("/"))
    if not parts.netloc:
        raise SetupError(f"the object store's URL {url!r} names no bucket; it must be one of {forms}")
    if not _CONTAINER.fullmatch(parts.netloc):
        raise SetupError(
            f"the object store's URL {url!r} names a bucket that cannot be: letters, digits, . - and _ only"
        )
    for name, address in options.items():
        if "ENDPOINT" in name and not _ADDRESS.fullmatch(address):
            raise SetupError(f"{name} is {address!r}; it must be an address as https://host:port")
    if scheme == "az" and not {"AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_USE_EMULATOR"} & options.keys():
        raise SetupError("an az:// object store needs AZURE_STORAGE_ACCOUNT_NAME, the name of the storage account")
    return StoreLocation(scheme=scheme, container=parts.netloc, prefix=path.strip("/"), options=options)
