"""Start and stop the embedded openEO back-end."""

from __future__ import annotations

import logging
import logging.handlers
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from upscaling.errors import ConfigError
from upscaling.util.extras import require_local
from upscaling.util.locks import exclusive
from upscaling.util.upstream import Patch

__all__ = ["DRIVER", "driver_config", "serve"]

_AUTH = "openeo_driver.users.auth:HttpAuthHandler"
# Were one of these another thing, anybody could make up a token, or let the back-end ask other hosts.
DRIVER = Patch(
    "openeo_driver",
    ">=0.136.0a4,<0.137",
    (
        "openeo_driver.views:HttpAuthHandler",
        "openeo_driver.processgraph:get_process_definition_from_url(process_id, url)",
        "openeo_driver.views:_add_udp_canonical_link(udp, user_id)",
        f"{_AUTH}.build_basic_access_token(user_id)",
        f"{_AUTH}.resolve_basic_access_token(self, access_token)",
        f"{_AUTH}.parse_basic_auth_header(self, request)",
        f"{_AUTH}.get_auth_token(self, request, type)",
        "openeo_driver.urlsigning:UrlSigner._sign_with_secret(self)",
    ),
    "the embedded back-end needs it",
)
_MOST_CONNECTIONS, _SILENCE = 2000, 30  # s after which a connection without a whole request is closed

_config: dict[str, Any] = {}


def driver_config() -> Any:
    """Return the configuration of openeo_driver; ``serve`` fills it in before openeo_driver asks."""
    from openeo_driver.config import OpenEoBackendConfig

    return OpenEoBackendConfig(**_config)


def serve(
    *,
    data: Path,
    root: Path,
    host: str = "127.0.0.1",
    port: int = 0,
    slots: int = 2,
    users: Mapping[str, str],
    threads: int = 8,
    simulate: Sequence[float] | None = None,
    udf: bool = False,
    provider: tuple[str, str | None] | None = None,
) -> None:
    """Serve openEO until SIGTERM or SIGINT; print the URL on one line when ready.

    Parameters
    ----------
    data
        A YAML list of collections, or a local STAC ``catalog.json`` / ``collection.json``; read once, at start.
    root
        Folder of this back-end: jobs, results, ``backend.log``. A second start goes on where the first ended.
    port
        0 lets the system choose a free one.
    slots
        Job processes at the same time, and active jobs that a user may have.
    users
        Passwords by user name.
    simulate
        For load tests: jobs take this long, shortest and longest in seconds, and give rasters of ones
        (`upscaling.local_backend.simulate`).
    udf
        Run Python UDFs: users can then do what the user of this process can.
    provider
        Issuer of an OpenID provider whose tokens are taken too (all its users may then run jobs here), and the client
        that the back-end offers for log-ins by device code.

    Raises
    ------
    ConfigError
        The data cannot be read, the port is busy, ``root`` is in use by another back-end, or there is no user.
    UpscalingError
        The extra ``[local]`` is not installed.
    """
    require_local()
    if not users or not all(name and word and ":" not in name for name, word in users.items()):
        raise ConfigError("needs at least one user with a password; a user's name has no colon")
    if slots < 1:
        raise ConfigError(f"slots must be at least 1, not {slots}")
    if simulate is not None and not 0 <= simulate[0] <= simulate[1]:
        raise ConfigError(f"must be two durations, shortest and longest, in seconds, not {simulate}", key="simulate")
    data, root = data.resolve(), root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    listening = _listen(host, port)
    with listening, _locked(root):
        _log_to(root / "backend.log")
        DRIVER.insist()
        app, supervisor = _build(data, root, slots, users, simulate, udf=udf, provider=provider)
        _run(app, supervisor, listening, threads)


def _listen(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # now: two that are only bound to a port do not see each other
    except OSError as error:
        listening.close()
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}", key="port") from error
    return listening


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold the folder for this process alone; the system lets go of it however the process ends."""
    with ExitStack() as held:
        try:
            held.enter_context(exclusive(root / "lock", wait=False))
        except BlockingIOError as error:
            raise ConfigError("another back-end is running in this folder", key="root", file=root) from error
        yield


def _log_to(path: Path) -> None:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=10_000_000, backupCount=2, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("upscaling").setLevel(logging.INFO)


def _build(
    data: Path,
    root: Path,
    slots: int,
    users: Mapping[str, str],
    simulate: Sequence[float] | None,
    *,
    udf: bool,
    provider: tuple[str, str | None] | None,
) -> tuple[Any, Any]:
    os.environ["OPENEO_BACKEND_CONFIG"] = str(Path(__file__).with_name("driver_config.py"))
    passwords = _configure(root, users, provider)
    from openeo_driver import processgraph, views
    from openeo_driver.backend import CollectionCatalog, SecondaryServices

    from upscaling.local_backend.auth import auth_handler_class
    from upscaling.local_backend.front import BatchJobs, Implementation, Processes, Processing
    from upscaling.local_backend.guard import guard_requests
    from upscaling.local_backend.jobs import JobStore
    from upscaling.local_backend.supervisor import Supervisor
    from upscaling.local_backend.views import add_views, add_workspaces

    # openeo_driver has no setting for these: tokens that cannot be forged, and no request to other hosts.
    views.HttpAuthHandler = auth_handler_class(passwords)
    processgraph.get_process_definition_from_url = _definition_of_this_host
    store = JobStore(root / "jobs.sqlite")
    supervisor = Supervisor(store, data, root, slots, simulate, udf=udf)
    jobs, processes = BatchJobs(store, supervisor, slots), Processes(store)
    implementation = Implementation(
        catalog=CollectionCatalog(supervisor.collections),
        batch_jobs=jobs,
        user_defined_processes=processes,
        processing=Processing(supervisor, jobs, store),
        udf_runtimes=_runtimes(udf=udf),
        secondary_services=SecondaryServices(),  # none, which is an answer
    )
    app = views.build_app(implementation)
    guard_requests(app)
    add_views(app, jobs, processes)
    add_workspaces(app, supervisor.workspaces)
    supervisor.recover()
    return app, supervisor


def _configure(root: Path, users: Mapping[str, str], provider: tuple[str, str | None] | None) -> Any:
    """Fill in what openeo_driver asks for; return who may log in with a password."""
    from upscaling.local_backend.auth import OIDC_USER, Passwords, Signer, oidc_provider, read_secret
    from upscaling.local_backend.guard import MOST_BYTES

    if any(user.startswith(OIDC_USER) for user in users):
        raise ConfigError(f"a user's name does not begin with {OIDC_USER!r}")
    secret = read_secret(root / "secret")
    passwords = Passwords(users, secret)
    _config.update(
        id="local-backend",
        capabilities_service_id="eo-upscaling-local-backend",
        capabilities_title="Embedded openEO back-end of eo-upscaling",
        capabilities_description="Runs process graphs on local files, to try and to test. Costs are play money.",
        processing_facility="local",
        processing_software="openeo-processes-dask",
        enable_basic_auth=True,
        valid_basic_auth=passwords.valid,
        enable_oidc_auth=provider is not None,
        oidc_providers=[oidc_provider(*provider)] if provider else [],
        flask_settings={"MAX_CONTENT_LENGTH": MOST_BYTES},
        url_signer=Signer(secret),
    )
    return passwords


def _runtimes(*, udf: bool) -> Any:
    from openeo_driver.backend import UdfRuntimes

    from upscaling.local_backend.udf import RUNTIMES

    class Runtimes(UdfRuntimes):  # type: ignore[misc]
        def get_udf_runtimes(self) -> dict[str, Any]:
            return RUNTIMES if udf else {}

    return Runtimes()


def _definition_of_this_host(process_id: str, url: str) -> Any:
    from openeo_driver.processgraph import ProcessDefinition

    from upscaling.local_backend.definitions import fetch_definition
    from upscaling.local_backend.errors import ProcessError
    from upscaling.local_backend.front import api_error

    try:
        found = fetch_definition(process_id, url)
    except ProcessError as error:
        raise api_error(400, error.code, str(error)) from error
    known = ("process_graph", "returns", "default_job_options", "default_synchronous_options")
    fields = {name: found.get(name) for name in known}
    return ProcessDefinition(id=process_id, parameters=found.get("parameters") or [], **fields)


def _connections() -> int:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST_CONNECTIONS if files == resource.RLIM_INFINITY else min(_MOST_CONNECTIONS, files // 2)


def _run(app: Any, supervisor: Any, listening: socket.socket, threads: int) -> None:
    import waitress

    server = waitress.create_server(
        app,
        sockets=[listening],
        threads=threads,
        ident="eo-upscaling",
        # Whoever opens connections and sends nothing must not keep others out.
        connection_limit=_connections(),
        asyncore_use_poll=True,
        channel_timeout=_SILENCE,
        cleanup_interval=_SILENCE // 2,
    )
    host, port = listening.getsockname()[:2]

    def stop(*_: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"http://{host}:{port}/openeo/1.2", flush=True)  # clients find it from http://host:port too
    try:
        server.run()
    finally:
        supervisor.close()
        server.close()
        sys.stdout.flush()
