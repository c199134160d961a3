"""Read CWL documents with cwltool's own loader: validated, quiet, with time-outs, and failing in one line."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urldefrag

from upscaling.algorithms.cwl.reach import Reach, local_path
from upscaling.errors import ConfigError
from upscaling.http.address import is_web, shown
from upscaling.http.reply import cause_of
from upscaling.http.session import new_session

__all__ = ["KEY", "load", "loader_errors", "preprocessed", "processes_in"]

KEY = "algorithm.source"
FETCH_TIMEOUT_S = 60.0
_WEB_PAGE = re.compile(r"\s*<(?:!doctype html|html)\b", re.IGNORECASE)
LARGEST = 20_000_000  # bytes of a document: a package is text


@contextmanager
def loader_errors(location: str) -> Iterator[None]:
    """Turn whatever the CWL loader raises into its own most useful line; keep its loggers quiet."""
    from schema_salad.exceptions import SchemaSaladException

    loggers = [logging.getLogger(name) for name in ("cwltool", "salad", "rdflib.term")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    except ConfigError:
        raise
    except StopIteration:
        raise ConfigError("is empty; expected a CWL document", key=KEY, file=location) from None
    except SchemaSaladException as error:
        raise ConfigError(_leaf(error, location), key=KEY, file=location) from None
    except Exception as error:  # cwltool raises what it meets: UnicodeDecodeError, KeyError, WorkflowException ...
        if isinstance(error.__cause__, SchemaSaladException):
            raise ConfigError(_leaf(error.__cause__, location), key=KEY, file=location) from None
        words = f"{type(error).__name__}: {error}"
        raise ConfigError(f"is not a CWL document that can be run ({words})", key=KEY, file=location) from None
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _leaf(error: Any, location: str) -> str:
    """Return the first reason of a loader's error tree, with its line and column, without its guesses."""
    leaf = next(iter(error.leaves()), error)
    text = " ".join(str(leaf.message or leaf).split()).partition(", tried ")[0].partition(" Use the following")[0]
    if "undefined reference" in text and "Field 'class'" in text:
        wanted = text.rpartition("/")[2].strip("'")
        text = f"{wanted} is no class of CWL; a vendor's own requirement cannot be run here"
    if not leaf.start:
        return text
    name = str(leaf.file or "").rpartition("/")[2]
    elsewhere = f"{name}, " if name and name != location.rpartition("/")[2] else ""
    return f"{elsewhere}line {leaf.start[0]}, column {leaf.start[1]}: {text}"


def _context(
    reach: Reach,
    *,
    merge_keys: bool = True,
    read: set[str] | None = None,
    refused: dict[str, ConfigError] | None = None,
) -> Any:
    """Return a loading context; without merge keys, ``<<: *anchor`` is resolved before the loader sees it.

    Parameters
    ----------
    reach
        What the document may name.
    read
        Gets the address of whatever is read.
    refused
        Gets the reason why an address of the web cannot be had. Not all are needed: default files, ontologies.
    """
    from cwltool.context import LoadingContext
    from cwltool.workflow import default_make_tool
    from requests import RequestException
    from schema_salad.exceptions import ValidationException
    from schema_salad.fetcher import DefaultFetcher

    class Fetcher(DefaultFetcher):
        def fetch_text(self, url: str, content_types: list[str] | None = None) -> str:
            _see_small(url, reach)
            try:
                text = str(super().fetch_text(url, content_types))
            except ValidationException as error:
                if isinstance(error.__cause__, RequestException):
                    raise _not_fetched(url, error.__cause__, reach) from None
                raise
            if is_web(url) and _WEB_PAGE.match(text):  # a log-in, as a rule
                raise _no_document(url, "the server answered with a web page", reach)
            if read is not None:
                read.add(url)
            return text if merge_keys or "<<:" not in text else _merged(text)

        def check_exists(self, url: str) -> bool:
            # One of the web does not learn what is on this machine.
            if url.startswith("file:") and (not reach.folders or not os.path.lexists(local_path(url))):
                return False
            reach.address(url)
            if super().check_exists(url):
                return True
            try:
                return bool(is_web(url) and self.fetch_text(url) is not None)  # some answer no HEAD
            except ConfigError as error:
                if refused is not None:
                    refused[url] = error
                return False

    context = LoadingContext()
    context.skip_schemas = True
    context.construct_tool_object = default_make_tool
    context.fetcher_constructor = lambda cache, _session: Fetcher(cache, new_session(FETCH_TIMEOUT_S, largest=LARGEST))
    return context


def _not_fetched(url: str, cause: Any, reach: Reach) -> ConfigError:
    """Return the error of an address that cannot be had; it is not always that of the package itself."""
    words = f"the server cannot be reached ({cause_of(cause)})"
    if cause.response is not None:
        words = f"the server answered {cause.response.status_code} {cause.response.reason}"
    return _no_document(url, words, reach)


def _no_document(url: str, words: str, reach: Reach) -> ConfigError:
    which = "" if url == reach.location else f"names {shown(url)}, which "
    return ConfigError(f"{which}cannot be fetched: {words}", key=KEY, file=reach.location)


def _see_small(url: str, reach: Reach) -> None:
    """See that an address may be named, and that a file there is no larger than a document can be."""
    reach.address(url)
    if url.startswith("file:"):
        path = reach.file(local_path(url))
        if path.is_file() and path.stat().st_size > LARGEST:
            raise ConfigError(f"names {path.name}, larger than {LARGEST // 10**6} MB", key=KEY, file=reach.location)


def _merged(text: str) -> str:
    """Return a YAML document with its merge keys resolved, on which cwltool's ``pack`` stumbles."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        document = YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        return text  # an included program, not a document
    return json.dumps(document, default=str) if isinstance(document, dict) else text


def load(uri: str, reach: Reach) -> tuple[Any, Any]:
    """Validate a document as a runner would: schema, links between steps, types, requirements."""
    from cwltool.load_tool import fetch_document, make_tool, resolve_and_validate_document
    from schema_salad.exceptions import SchemaSaladException

    refused: dict[str, ConfigError] = {}
    context, document, uri = fetch_document(uri, _context(reach, refused=refused))
    metadata = dict(document) if isinstance(document, dict) else {}
    try:
        context, uri = resolve_and_validate_document(context, document, uri)
    except SchemaSaladException as error:
        raise next((why for url, why in refused.items() if url in str(error)), error) from None
    for process in processes_in(context, uri):
        make_tool(process["id"], context)
    return context, metadata


def preprocessed(uri: str, reach: Reach) -> tuple[Any, set[str]]:
    """Load a document for ``pack``, which asks that nothing was brought up to the newest CWL version.

    Returns
    -------
    The context, and the set that the addresses of all parts are put into: some are read by ``pack`` only.
    """
    from cwltool.load_tool import fetch_document, resolve_and_validate_document

    read: set[str] = set()
    context = _context(reach, merge_keys=False, read=read)
    context.do_update = False
    context, document, uri = fetch_document(uri, context)
    context, _ = resolve_and_validate_document(context, document, uri, preprocess_only=True)
    return context, read


def processes_in(context: Any, uri: str) -> list[dict[str, Any]]:
    """Return the processes of a loaded document."""
    resolved, _ = context.loader.resolve_ref(urldefrag(uri)[0])
    return list(resolved) if isinstance(resolved, list) else [resolved]
