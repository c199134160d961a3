"""The settings of a service: who may use it, which platforms and catalogues it may name, and its limits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from upscaling.config.collection import Block
from upscaling.errors import ConfigError

__all__ = ["Oidc", "Platform", "Quota", "ServiceSettings", "Target", "lies_below", "load_settings"]


class Account(Block):
    """What a process logs in with."""

    environment: dict[str, str] = Field({})
    """Variable of the process -> variable of the service's that holds its value, e.g.
    `{OPENEO_AUTH_PASSWORD: CDSE_PASSWORD}`. Values never stand here."""

    @property
    def secrets(self) -> dict[str, str]:
        """The variables of the process, as far as the service has them."""
        return {name: os.environ[source] for name, source in self.environment.items() if source in os.environ}


class Platform(Account):
    """A platform that runs may use."""

    endpoint: str = Field(min_length=1)
    """Address, as users name it."""
    kind: Literal["openeo", "ogcapi"] = "openeo"
    """What it speaks."""
    auth: str = "oidc"
    """`backend.auth` of the runs on it."""
    slots: int = Field(2, ge=1, le=1000)
    """Jobs at the same time, of one account."""
    exchange: dict[str, str] = Field({})
    """Token exchange for each user (RFC 8693): `token_url`, `audience`, and `client_id_env`, `client_secret_env`, names
    of variables of the service. The token goes to the run as `token_env` (default `OPENEO_AUTH_TOKEN`)."""
    options: dict[str, Any] = Field({})
    """Further keys of `backend` for the runs on it, e.g. `{job_options: {executor-memory: 4G}}`."""


class Target(Account):
    """A place where users may publish results."""

    name: str = Field(min_length=1, max_length=80)
    """What users see."""
    s3: str = Field(pattern=r"^s3://[^\s]+$")
    """Bucket and prefix; each run gets a folder of its own below."""
    endpoint: str | None = None
    """Address of the object storage where it is not AWS's own."""
    public_url: str | None = None
    """Where the prefix can be read by everybody."""
    stac_api: str | None = None
    """STAC API in which collections and items are registered."""


class Oidc(Block):
    """An OpenID Connect provider whose access tokens are taken."""

    issuer: str = Field(min_length=1)
    """The issuer, exactly as tokens name it."""
    audience: str = Field(min_length=1)
    """What tokens must be meant for."""
    algorithms: list[Literal["RS256", "ES256"]] = Field(["RS256", "ES256"])
    """Signatures that are taken."""
    role_claim: str = "realm_access.roles"
    """Where a token lists roles, dotted."""
    admin_role: str = "upscaling-admin"
    """Whoever has it sees everybody's tasks."""
    client_id: str | None = Field(None, min_length=1)
    """Client of the page, with the page's address as its redirect address; without one the page has no log-in."""
    client_secret_env: str | None = None
    """Variable of the service with the client's secret, where the provider asks for one besides PKCE."""
    scope: str = "openid"
    """What the page asks for."""
    resource: str | None = None
    """What the token is for (RFC 8707), where the provider does not know it from the client."""


class Quota(Block):
    """What one user may have."""

    tasks: int = Field(100, ge=1)
    """Tasks that have not ended."""
    tiles: int = Field(200_000, ge=1)
    """Tiles of one task."""
    credits: float | None = Field(None, gt=0)
    """Costs of all tasks of 30 days, in the platforms' units; no limit when left out."""


class ServiceSettings(Block):
    """Settings of a service."""

    folder: Path = Path("service")
    """Where the runs and the database lie."""
    database: str | None = None
    """SQLAlchemy address; `postgresql+psycopg://…` for PostgreSQL. A SQLite file in `folder` when left out."""
    auth: Literal["none", "oidc"] = "none"
    """`none`: one local user, and the service listens on this machine only."""
    oidc: Oidc | None = None
    """The provider, with `auth: oidc`."""
    platforms: list[Platform] = Field([])
    """Platforms that tasks may name; no other host is asked."""
    sources: list[str] = Field([])
    """Beginnings of addresses (or folders) that algorithms and records may come from."""
    uploads: bool | None = None
    """Whether users may bring an algorithm as a file; with `auth: none` they may when left out. A package (CWL) runs
    programs on this machine."""
    publish: list[Target] = Field([])
    """Where results may be published."""
    catalogue: str | None = None
    """Catalogue that the page shows: a folder or an address in the APEx layout."""
    aliases: dict[str, str] = Field({})
    """Beginning of an address -> what is asked in its place: a mirror, or a folder of this machine."""
    any_source: bool = False
    """Let users name any platform and source; only with `auth: none`."""
    runs_at_once: int = Field(4, ge=1, le=100)
    """Runs that work at the same time; the others wait."""
    attach_hours: float = Field(24.0, ge=0, le=87_600)
    """A task of the same content by the same user within this time is the earlier one; 0 for never."""
    quota: Quota = Quota()
    request_mb: float = Field(32.0, gt=0)
    """Largest request."""
    requests_per_minute: int = Field(60_000, ge=1)
    """Of one user."""
    origins: list[str] = Field([])
    """Web pages of other origins that may use the service (CORS)."""
    profile: Literal["local", "slurm"] = "local"
    """How Snakemake runs tasks."""
    public_url: str | None = None
    """Address under which users see the service, for links; taken from the request when left out."""
    basemap: str | None = None
    """Style document of a base map for the page; a land outline when left out."""

    @model_validator(mode="after")
    def _consistent(self) -> ServiceSettings:
        if self.auth == "oidc" and self.oidc is None:
            raise ValueError("auth: oidc needs the block oidc with issuer and audience")
        if self.auth == "oidc" and self.any_source:
            raise ValueError("any_source is for auth: none only: users of others could make the service ask any host")
        return self

    @property
    def database_url(self) -> str:
        """Where the database is."""
        return self.database or f"sqlite:///{(self.folder / 'service.db').resolve()}"

    @property
    def takes_uploads(self) -> bool:
        """Whether users may bring an algorithm as a file."""
        return self.auth == "none" if self.uploads is None else self.uploads

    def mirrored(self, address: str) -> str:
        """Return what is asked in the place of an address: the mirror of the longest alias that it begins with."""
        for known in sorted(self.aliases, key=len, reverse=True):
            rest = address[len(known) :]
            if address.startswith(known) and (known.endswith("/") or not rest or rest[0] in "/?#"):
                return self.aliases[known] + rest
        return address

    def platform(self, endpoint: str, kind: str) -> Platform | None:
        """Return the platform of an address, if it may be used."""
        wanted = endpoint.rstrip("/")
        for platform in self.platforms:
            if platform.endpoint.rstrip("/") == wanted and platform.kind == kind:
                return platform
        return Platform(endpoint=endpoint, kind=kind) if self.any_source else None

    def may_read(self, source: str) -> bool:
        """Whether an algorithm may come from ``source``."""
        if self.any_source:
            return True
        allowed = [*self.sources, *([self.catalogue] if self.catalogue else [])]
        allowed += [platform.endpoint for platform in self.platforms]
        return any(lies_below(source, beginning) for beginning in allowed)


def lies_below(source: str, beginning: str) -> bool:
    """Whether an address or path lies below another; ``..`` and look-alike hosts do not help."""
    if any(part in {"..", "%2e%2e", ".%2e", "%2e."} for part in source.lower().replace("\\", "/").split("/")):
        return False
    base = beginning.rstrip("/")
    return source == base or source.startswith(f"{base}/")


def load_settings(path: Path | None, **given: Any) -> ServiceSettings:
    """Read the settings from a YAML file; ``given`` from the command line wins.

    Raises
    ------
    ConfigError
        One line with file and key.
    """
    import yaml

    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"cannot be read: {error}", file=path) from None
        if not isinstance(values, dict):
            raise ConfigError("must be a mapping of settings", file=path)
    values |= {name: value for name, value in given.items() if value is not None}
    try:
        return ServiceSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        raise ConfigError(message, key=key or None, file=path) from None
