"""Run the back-end: ``python -m upscaling.local_backend --data … --root …``; user and password from the environment."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from upscaling.errors import UpscalingError
from upscaling.local_backend.server import serve


def main() -> int:
    """Read the command line and serve; return the exit status."""
    parser = argparse.ArgumentParser(prog="upscaling local-backend", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="YAML list of collections, or a local STAC catalogue")
    parser.add_argument("--root", type=Path, required=True, help="folder for jobs and results")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--slots", type=int, default=2, help="jobs at the same time, and active jobs per user")
    parser.add_argument(
        "--simulate",
        type=float,
        nargs=2,
        metavar=("MIN", "MAX"),
        help="for load tests: jobs take MIN to MAX seconds, evaluate nothing, and give rasters of ones",
    )
    parser.add_argument("--udf", action="store_true", help="run Python UDFs, with the rights of this process")
    parser.add_argument("--oidc", metavar="ISSUER", help="take the tokens of this OpenID provider's users too")
    parser.add_argument("--oidc-client", metavar="ID", help="its client for log-ins by device code")
    given = vars(parser.parse_args())
    issuer, client = given.pop("oidc"), given.pop("oidc_client")
    user, password = os.environ.get("OPENEO_LOCAL_USER", ""), os.environ.pop("OPENEO_LOCAL_PASSWORD", "")
    if not user or not password:
        sys.stderr.write("local-backend: set OPENEO_LOCAL_USER and OPENEO_LOCAL_PASSWORD in the environment\n")
        return 2
    try:
        serve(users={user: password}, provider=(issuer, client) if issuer else None, **given)
    except UpscalingError as error:
        sys.stderr.write(f"local-backend: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
