"""A thin client of OGC API - Processes: requests in the spelling that every known dialect takes.

What the dialects do differently is told in ``docs/ogcapi.md``; sources: OGC 18-062r2 (1.0), the 2.0 draft and 20-044
(deploy, replace, undeploy) in ``opengeospatial/ogcapi-processes``, and what pygeoapi, ZOO-Project and Weaver answer.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote, urljoin, urlsplit

from upscaling.clients.ogcapi.auth import Credentials, Method
from upscaling.clients.ogcapi.http import (
    JSON,
    LARGEST_FILE,
    clock_offset,
    is_html,
    link_headers,
    loaded,
    save_reply,
    small_json,
    words_of,
)
from upscaling.errors import ErrorClass, PlatformError
from upscaling.http.address import origin
from upscaling.http.download import download
from upscaling.http.reply import Reply
from upscaling.http.transport import Transport
from upscaling.jobs.failures import classify_http

__all__ = ["STATUSES", "OgcApiClient", "id_in"]

STATUSES: dict[str, Literal["created", "queued", "running", "finished", "error", "canceled"]] = {
    "accepted": "queued",  # 1.0, and so below to dismissed
    "running": "running",
    "successful": "finished",
    "failed": "error",
    "dismissed": "canceled",
    "created": "created",  # 2.0 draft, part 4: waits to be started
    "pending": "queued",  # the rest is WPS 2.0, old drafts and Weaver
    "paused": "queued",
    "started": "running",
    "succeeded": "finished",
    "finished": "finished",
    "error": "error",
    "exception": "error",
    "canceled": "canceled",
    "cancelled": "canceled",
}
"""What servers say of a job -> what openEO says."""

_NO_SUCH = re.compile(r"no-?such-?job|job-?not-?found|job.{0,60}(not found|does not exist|unknown)", re.IGNORECASE)
_NOT_READY = re.compile(r"not-?ready|still running|not (yet )?(finished|available|running|complete)", re.IGNORECASE)
_NO_RESULT = re.compile(r"result", re.IGNORECASE)
_GONE = ("404 ", "410 ")  # how the code of an error begins whose JSON body is the server's own
_LONGEST_ID = 1000
_MOST_PAGES = 1000
_ANSWER_SECONDS = 120.0


class OgcApiClient:
    """One server.

    Parameters
    ----------
    base
        Its landing page: ``{base}/processes`` and ``{base}/jobs`` follow from it.
    auth
        How to log in; credentials go to the base's origin and to no other.
    """

    def __init__(self, base: str, auth: Method = "none") -> None:
        self.base = base.rstrip("/")
        self.clock_offset = dt.timedelta()  # how far the server's clock is ahead, by its last answer
        credentials = Credentials(auth, self.base)
        self.transport = Transport(credentials, classify=classify_http, words=words_of, at_once=32)

    @contextmanager
    def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, **options: Any
    ) -> Iterator[Reply]:
        """Send one request and yield its answer; anything but 2xx is raised in the server's own words.

        A refused token is renewed once; nothing else is repeated here.

        Raises
        ------
        PlatformError
            As ``upscaling.http.transport`` says.
        """
        with self.transport.open(method, url, headers={"Accept": JSON, **(headers or {})}, **options) as reply:
            if "Date" in reply.headers and origin(url) == origin(self.base):
                self.clock_offset = clock_offset(reply.headers["Date"])
            yield reply

    def send(self, method: str, url: str) -> None:
        """Send one request whose answer does not matter if it is 2xx; raises as ``request``."""
        with self.request(method, url):
            pass

    def download(
        self, href: str, target: Path, *, size: int | None = None, checksum: str = "", media_type: str = ""
    ) -> None:
        """Fetch one file of the results, see ``upscaling.http.download``."""
        download(
            self.transport,
            href,
            target,
            largest=LARGEST_FILE,
            size=size,
            checksum=checksum,
            media_type=media_type,
            buckets="OGCAPI_S3",
        )

    # --- discovery ---

    def landing(self) -> dict[str, Any]:
        """Return the landing page."""
        return self._object(self.base)

    def processes(self) -> Iterator[dict[str, Any]]:
        """Yield the summaries of all processes, page by page."""
        yield from self.pages(f"{self.base}/processes", "processes")

    def process_url(self, process_id: str) -> str:
        """Return the address of a process."""
        return f"{self.base}/processes/{quote(process_id, safe='')}"

    def process(self, process_id: str) -> dict[str, Any]:
        """Return the description of a process."""
        answer = self._object(self.process_url(process_id))
        inner = answer.get("process")  # drafts before 1.0 wrapped it
        return inner if isinstance(inner, dict) and "inputs" not in answer else answer

    # --- jobs ---

    def execute(self, process_id: str, body: Mapping[str, Any], reply: Path, *, patience: float = 0.0) -> str | None:
        """Ask for one execution, once, asynchronously if the server can.

        Parameters
        ----------
        reply
            Where to put the results, and beside them their headers, if the server runs the process while we wait.
        patience
            Seconds to wait for the answer, where that is longer than usual (processes that only run at once).

        Returns
        -------
        The job's id, or its whole URL where that is not ``jobs/{id}`` below the base; None if the server named no job
        and gave the results.
        """
        url = f"{self.process_url(process_id)}/execution"
        # Exactly so: pygeoapi compares the whole header, and runs at once for anything longer.
        headers = {"Prefer": "respond-async", "Accept": f"{JSON}, */*;q=0.5"}
        with self.request("POST", url, json=body, headers=headers, seconds=max(patience, _ANSWER_SECONDS)) as answer:
            known = self._job_of(answer)
            if answer.status_code in {201, 202}:
                job_id = known or id_in(loaded(answer))
                if job_id is None:
                    raise PlatformError(
                        f"{self.base} accepted the work and named no job",
                        error_class=ErrorClass.TRANSIENT,
                        outcome_unknown=True,
                    )
                return job_id
            # 200 and 204: done at once, or a status document from a server that does not know 201.
            save_reply(answer, reply)
        document = small_json(reply)
        named = id_in(document)
        if named is not None and str(document.get("status")).lower() in STATUSES:
            reply.unlink()
            return known or named
        return known

    def _job_of(self, answer: Reply) -> str | None:
        location = answer.headers.get("Location") or answer.headers.get("Content-Location")
        if not location:
            location = next((link["href"] for link in link_headers(answer) if link["rel"] == "monitor"), None)
        return self._named(urljoin(answer.url, location)) if location else None

    def _named(self, url: str) -> str | None:
        """Return the job id in a URL; the URL itself where the job lies elsewhere on this server."""
        path = urlsplit(url).path.rstrip("/").removesuffix("/results")
        head, _, last = path.rpartition("/")
        if not last or "jobs" not in head.split("/"):
            return None
        # A server behind a proxy names its inner host: its own path under our base counts then.
        if origin(url) == origin(self.base) and head != f"{urlsplit(self.base).path}/jobs":
            return urljoin(self.base, path)[:_LONGEST_ID]
        return unquote(last)[:_LONGEST_ID]

    def job_url(self, job_id: str) -> str:
        """Return the address of a job."""
        return job_id if job_id.startswith(("http://", "https://")) else f"{self.base}/jobs/{quote(job_id, safe='')}"

    def job(self, job_id: str) -> dict[str, Any] | None:
        """Return a job's status document, or None if the server says that it has no such job."""
        try:
            return self._object(self.job_url(job_id))
        except PlatformError as error:
            if not (error.code or "").startswith(_GONE):
                raise
            # Only in the server's own words: a gateway also says 404, and that says nothing of the job.
            words = str(error).removeprefix(self.job_url(job_id))
            if _NO_SUCH.search(f"{error.code} {words}") or job_id.rpartition("/")[2] in words:
                return None
            raise PlatformError(str(error), error_class=ErrorClass.TRANSIENT) from None

    def jobs(self, process_id: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the status documents of the jobs that the server lists, page by page.

        Raises
        ------
        PlatformError
            ``permanent`` where the server lists no jobs.
        """
        parameters = {"limit": 1000, **({"processID": process_id} if process_id else {})}
        yield from self.pages(f"{self.base}/jobs", "jobs", parameters)

    def results(self, job_id: str, into: Path) -> Path:
        """Store what the server has for a job's results, headers beside it, and return the file.

        Raises
        ------
        PlatformError
            ``transient`` as long as the results are not there; ``bad-output`` if they never will be.
        """
        url = f"{self.job_url(job_id)}/results"
        for question in (url, f"{url}?f=json"):
            with self._results(question) as answer:
                if answer.status_code == 202:  # its body is the job's status
                    raise PlatformError(f"{url} answered 202: not there yet", error_class=ErrorClass.TRANSIENT)
                if not is_html(answer):
                    save_reply(answer, into)
                    return into
        raise PlatformError(f"{url} is a web page, no result", error_class=ErrorClass.OUTPUT)

    @contextmanager
    def _results(self, url: str) -> Iterator[Reply]:
        try:
            with self.request("GET", url, headers={"Accept": f"{JSON}, */*;q=0.5"}) as answer:
                yield answer
        except PlatformError as error:
            words = f"{error.code or ''} {error}"
            if error.code and _NOT_READY.search(words):
                raise PlatformError(str(error), error_class=ErrorClass.TRANSIENT, retry_after=1.0) from None
            if error.code and (_NO_SUCH.search(words) or _NO_RESULT.search(words.replace(url, ""))):
                raise PlatformError(str(error), error_class=ErrorClass.OUTPUT) from None
            if (error.code or "").startswith(_GONE):
                raise PlatformError(str(error), error_class=ErrorClass.TRANSIENT) from None
            raise

    def dismiss(self, job_id: str) -> None:
        """Cancel a job, or remove it if it has ended; one that is gone already is no error."""
        try:
            self.send("DELETE", self.job_url(job_id))
        except PlatformError as error:
            if not (error.code or "").startswith(_GONE):
                raise

    def _object(self, url: str) -> dict[str, Any]:
        for question in (url, f"{url}{'&' if '?' in url else '?'}f=json"):
            with self.request("GET", question) as answer:
                if is_html(answer):
                    continue
                content = loaded(answer)
                if content:
                    return content
        raise PlatformError(f"{url} answered with something that is not JSON", error_class=ErrorClass.TRANSIENT)

    def pages(self, url: str, name: str, parameters: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Yield the entries of a list that may be paged; the end is where nothing new comes."""
        question = url
        if parameters:
            question += "?" + "&".join(f"{key}={quote(str(value))}" for key, value in parameters.items())
        seen: set[str] = set()
        known: set[int] = set()
        for _page in range(_MOST_PAGES):
            answer = self._object(question)
            found = answer.get(name)
            listed: list[Any] = found if isinstance(found, list) else []
            marks = {hash(repr(entry)) for entry in listed}
            if listed and marks <= known:
                return  # nothing new: the list leads back into itself
            known |= marks
            for entry in listed:
                # Weaver lists bare ids unless asked for details.
                yield entry if isinstance(entry, dict) else {"id": str(entry)}
            following = urljoin(question, _next(answer) or "")
            # A server behind a proxy writes its inner host into its links.
            if origin(following) != origin(self.base):
                following = f"{url}?{urlsplit(following).query}"
            seen.add(question)
            if following in seen:  # also what urljoin makes of no link at all
                return
            question = following


def _next(answer: Mapping[str, Any]) -> str | None:
    for link in answer.get("links") or []:
        if isinstance(link, dict) and link.get("rel") == "next" and link.get("href"):
            return str(link["href"])
    return None


def id_in(document: Mapping[str, Any]) -> str | None:
    """Return the id of a job in its status document, of any dialect."""
    for name in ("jobID", "id", "jobId"):
        if isinstance(document.get(name), str | int) and str(document[name]).strip():
            return str(document[name])[:_LONGEST_ID]
    return None
