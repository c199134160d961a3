"""Application packages in an OCI registry: artifacts as ``oras push`` makes them, and as EOEPCA's tools read them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from upscaling.algorithms.cwl.load import KEY
from upscaling.errors import ConfigError, PlatformError
from upscaling.http.reply import Reply, translated
from upscaling.http.session import new_session
from upscaling.util.upstream import Patch

__all__ = ["RETRIES", "SESSION", "fetch_artifact"]

RETRIES = Patch(
    "oras",
    ">=0.2.43,<0.3",
    ("oras.provider:Registry.do_request.__wrapped__(self, url, method, data, headers, json, stream)",),
    "a registry that does not answer is asked for two minutes",
)
SESSION = Patch(
    "oras",
    ">=0.2.43,<0.3",
    ("oras.provider:Registry.session", "oras.provider:Registry.auth", "oras.auth.base:AuthBackend.session"),
    "requests to registries must follow this package's rules for redirects and passwords",
)
TIMEOUT_S = 60.0
LARGEST, MOST = 20_000_000, 100  # bytes of a file, and files: a package is text
TITLE = "org.opencontainers.image.title"
MANIFEST, INDEX = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
CWL_ENDINGS = (".cwl", ".cwl.json", ".cwl.yaml")


def fetch_artifact(reference: str, into: Path) -> Path:
    """Download the files of an artifact into the folder ``into``, each checked against its digest.

    Log-in is what ``docker login`` or ``oras login`` stored; public artifacts need none. A registry on this machine
    (localhost) is asked without TLS.

    Parameters
    ----------
    reference
        ``oci://host/name:tag`` or ``oci://host/name@sha256:…``.

    Returns
    -------
    The file that is the package: the one whose media type or name says CWL, or the only one.

    Raises
    ------
    ConfigError
        If it cannot be had, is not what its digest says, or holds no package or several.
    """
    client, container = _client(reference)
    manifest = _manifest(client, container, reference)
    layers = manifest.get("layers") or manifest.get("blobs") or []
    if not isinstance(layers, list) or not layers or len(layers) > MOST:
        raise ConfigError(f"is no artifact of 1 to {MOST} files", key=KEY, file=reference)
    packages = []
    for number, layer in enumerate(layers):
        name = _name(layer, number, reference)
        url = container.get_blob_url(str(layer.get("digest")))
        path = into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_get(client, url, reference, digest=str(layer.get("digest"))))
        if str(layer.get("mediaType")).startswith("application/cwl") or name.endswith(CWL_ENDINGS):
            packages.append(path)
    if len(layers) == 1:
        return path
    if len(packages) != 1:
        names = ", ".join(str(found.relative_to(into)) for found in packages) or "none"
        raise ConfigError(f"must hold one CWL file; it holds {names}", key=KEY, file=reference)
    return packages[0]


def _client(reference: str) -> tuple[Any, Any]:
    from oras.container import Container
    from oras.provider import Registry

    logging.getLogger("oras.logger").setLevel(logging.CRITICAL + 1)
    place = reference.removeprefix("oci://")
    host, slash, _ = place.partition("/")
    if not slash or not host:
        raise ConfigError("must be oci://HOST/NAME:TAG", key=KEY, file=reference)
    try:
        container = Container(place, registry=host)
    except ValueError:
        raise ConfigError("must be oci://HOST/NAME:TAG", key=KEY, file=reference) from None
    SESSION.insist()
    client = Registry(insecure=host.partition(":")[0] in {"localhost", "127.0.0.1"})
    client.session = client.auth.session = new_session(TIMEOUT_S)
    client.auth.load_configs(container)
    return client, container


def _manifest(client: Any, container: Any, reference: str) -> dict[str, Any]:
    headers = {"Accept": f"{MANIFEST}, {INDEX}"}
    wanted = container.digest or ""
    for _ in range(2):
        text = _get(client, container.manifest_url(wanted or None), reference, headers=headers, digest=wanted)
        try:
            manifest = dict(json.loads(text))
        except ValueError:
            raise ConfigError("the registry sent no manifest", key=KEY, file=reference) from None
        several = manifest.get("manifests")
        if not isinstance(several, list):
            return manifest
        if len(several) != 1:
            raise ConfigError(
                f"is an index of {len(several)} artifacts; name one by its digest", key=KEY, file=reference
            )
        wanted = str(several[0].get("digest"))
    raise ConfigError("is an index of indexes", key=KEY, file=reference)


def _get(client: Any, url: str, reference: str, *, headers: dict[str, str] | None = None, digest: str = "") -> bytes:
    """Return what is at a URL of the registry; it must have the digest, if one is known."""
    # Without the library's retries, which keep a person waiting for two minutes.
    asked = type(client).do_request
    request: Callable[..., Any] = asked.__wrapped__ if RETRIES.applies() else asked
    try:
        with translated("the registry"):
            answer = request(client, f"{client.prefix}://{url}", "GET", headers=headers or {}, stream=True)
        with answer:
            if not answer.ok:
                words = f"the registry answered {answer.status_code} {answer.reason}"
                raise ConfigError(words, key=KEY, file=reference)
            body = Reply(answer, "the registry", TIMEOUT_S).content(LARGEST)
    except (PlatformError, ValueError) as error:  # the library's, for a log-in that it does not know or was refused
        raise ConfigError(f"cannot be fetched: {error}", key=KEY, file=reference) from None
    algorithm, _, expected = digest.partition(":")
    if digest and (algorithm != "sha256" or hashlib.sha256(body).hexdigest() != expected):
        raise ConfigError(f"the registry sent something else than {digest[:80]}", key=KEY, file=reference)
    return body


def _name(layer: Any, number: int, reference: str) -> str:
    """Return the path of a file within the artifact, which is below the artifact whatever it says."""
    said = layer.get("annotations") or {} if isinstance(layer, dict) else None
    if not isinstance(said, dict):
        raise ConfigError("the registry sent no manifest", key=KEY, file=reference)
    title = str(said.get(TITLE) or f"file-{number}")
    path = PurePosixPath(title)
    if path.is_absolute() or ".." in path.parts or "\\" in title or len(title) > 200 or not path.name.isprintable():
        raise ConfigError(f"holds a file outside of itself: {title[:80]!r}", key=KEY, file=reference)
    return str(path)
