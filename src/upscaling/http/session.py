"""The HTTP session: what every request of this package, also a library's, goes through.

A password of ``~/.netrc`` is never sent. A redirect never leads from https to http, nor out of the web, and takes no
credentials to another origin. No answer is read without a limit of bytes and time.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from upscaling.errors import PlatformError
from upscaling.http.address import is_private, origin, shown
from upscaling.http.reply import LARGEST_ANSWER, MOST_REDIRECTS, Reply
from upscaling.util.upstream import Patch

if TYPE_CHECKING:
    import requests

__all__ = ["ANSWER_SECONDS", "CONNECT_SECONDS", "REQUESTS", "new_session"]

REQUESTS = Patch(
    "requests",
    ">=2.32,<3",
    (
        "requests:Response._content",
        "requests:Response._content_consumed",
        "requests:Session.send(self, request)",
        "requests:Session.get_redirect_target(self, resp)",
        "requests:Session.rebuild_auth(self, prepared_request, response)",
    ),
    "answers, redirects and passwords must be kept within bounds",
)

CONNECT_SECONDS, ANSWER_SECONDS = 30.0, 120.0


def new_session(
    seconds: float = ANSWER_SECONDS, *, pool: int = 32, largest: int = LARGEST_ANSWER, retries: Any = 0
) -> requests.Session:
    """Return a session under the rules of this module, also for libraries that want one of their own.

    Parameters
    ----------
    seconds
        Of silence that are borne, unless a request says otherwise.
    largest
        Bytes of an answer that is not streamed.
    retries
        urllib3's, for libraries whose requests change nothing.
    """
    import requests.adapters

    session: Any = _session_class()()
    session.silence, session.largest, session.settings = seconds, largest, {}
    session.auth = _no_netrc
    session.max_redirects = MOST_REDIRECTS
    for scheme in ("http://", "https://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=pool, max_retries=retries))
    return cast("requests.Session", session)


@cache
def _session_class() -> Any:
    """Return the class of every HTTP session of this package; requests is imported when it is needed."""
    import requests

    REQUESTS.insist()

    class Session(requests.Session):
        silence, largest = ANSWER_SECONDS, LARGEST_ANSWER
        settings: dict[Any, Any]

        def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
            """Return requests' own settings, once for an origin: it reads the whole environment for every request."""
            if proxies or verify is not None or cert is not None:
                return super().merge_environment_settings(url, proxies, stream, verify, cert)
            known = (origin(str(url)), stream, self.verify, self.cert)
            if known not in self.settings:
                self.settings[known] = super().merge_environment_settings(url, {}, stream, verify, cert)
            return dict(self.settings[known])

        def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
            """Send as requests does, but read a whole body only up to the limits of a Reply."""
            if kwargs.get("timeout") is None:
                kwargs["timeout"] = (min(CONNECT_SECONDS, self.silence), self.silence)
            whole = not kwargs.pop("stream", False)
            answer = super().send(request, stream=True, **kwargs)
            if whole:
                try:
                    answer._content = Reply(answer, shown(str(answer.url)), self.silence).content(self.largest)
                except PlatformError as error:
                    raise requests.ConnectionError(str(error)) from None
                answer._content_consumed = True  # type: ignore[attr-defined]
            return answer

        def get_redirect_target(self, resp: requests.Response) -> str | None:
            target = super().get_redirect_target(resp)
            if target is None:
                return None
            # Else requests would read the body of the redirect, however long it is.
            resp.raw.close()
            resp._content, resp._content_consumed = b"", True  # type: ignore[attr-defined]
            scheme = urlsplit(target).scheme.lower() or urlsplit(str(resp.url)).scheme
            if scheme not in {"http", "https"}:
                raise requests.exceptions.InvalidURL(f"redirects out of the web, to {shown(target)}")
            if str(resp.url).startswith("https:") and scheme != "https":
                raise requests.exceptions.InvalidURL(f"redirects out of https, to {shown(target)}")
            if urlsplit(target).netloc and is_private(target) and not is_private(str(resp.url)):
                raise requests.exceptions.InvalidURL(f"redirects into a private network, to {shown(target)}")
            return str(target)

        def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
            """Drop credentials after a redirect to another origin, and add none (requests asks ``~/.netrc``)."""
            if origin(str(response.request.url)) != origin(str(prepared_request.url)):
                prepared_request.headers.pop("Authorization", None)

    return Session


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Add nothing: without an ``auth`` requests would look for a password in ``~/.netrc``, for any host."""
    return request
