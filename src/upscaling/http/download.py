"""The download of a file, from the web or a bucket: continued, checked, and then put in place by rename.

A file grows as ``<name>.part``, in the bytes that the server sends. Where it breaks off the next call continues it, if
the server says that it is still the same file (ETag). What does not fit together is fetched anew, three times in all.
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from upscaling.errors import ErrorClass, PlatformError
from upscaling.http.address import shown
from upscaling.http.s3 import open_object
from upscaling.http.transport import Transport
from upscaling.util.files import is_as_declared, matches_checksum

__all__ = ["LOCAL_DISK", "TOO_LARGE", "download"]

LOCAL_DISK = "LocalDisk"  # code of the error of a disk that is full or cannot be written to
TOO_LARGE = "TooLarge"  # code of the error of a file that is larger than it may be
_ROUNDS = 3
_BLOCK = 1 << 20
_WEB_PAGE = (b"<!doctype html", b"<html")
_PACKED = (".gz", ".tgz", ".gzip", ".z")  # names of files that are meant to be kept as they are sent
_WINDOW = {"gzip": 47, "x-gzip": 47, "deflate": 15}  # bits, as zlib takes them


class _BeginAnewError(Exception):
    """What was received so far is of no use; ``error`` says why, if it happens again."""

    def __init__(self, words: str, error_class: ErrorClass = ErrorClass.TRANSIENT) -> None:
        self.error = PlatformError(words, error_class=error_class)
        super().__init__(words)


@dataclass(frozen=True, slots=True)
class _Body:
    """What a server sends of a file."""

    start: int
    total: int | None
    encoding: str
    validator: str
    blocks: Iterator[bytes]


def download(
    transport: Transport,
    href: str,
    target: Path,
    *,
    largest: int,
    size: int | None = None,
    checksum: str = "",
    media_type: str = "",
    buckets: str = "UPSCALING_S3",
) -> None:
    """Bring a file to ``target``, of which nothing is seen before it is whole.

    A file that is there with the declared size or checksum is kept; ``<target>.part`` is continued.

    Parameters
    ----------
    href
        ``http(s)://…`` or ``s3://…``.
    largest
        Bytes; more are not written.
    size, checksum, media_type
        What is declared of the file: bytes, a multihash (``file:checksum`` of STAC), ``sha256:…`` or ``sha1$…``, and
        its type: a web page is refused where another type is declared or none is.
    buckets
        Prefix of the environment variables with the credentials of buckets.

    Raises
    ------
    PlatformError
        If it does not arrive: ``transient`` if a later call may continue it. ``bad-output`` if it is larger than
        allowed (code ``TOO_LARGE``), or three times not what is declared of it. With the code ``LOCAL_DISK`` if it
        cannot be written.
    """
    size = size or None  # of what is still being written some say that it has nothing
    if size is not None and size > largest:
        raise _too_large(href, largest)
    if target.is_file() and (size is not None or checksum) and is_as_declared(target, size, checksum):
        return
    part = target.with_name(f"{target.name}.part")
    one = _Download(transport, href, target, part, size, checksum, media_type, largest, buckets)
    try:
        for number in range(_ROUNDS):
            try:
                one.round()
            except _BeginAnewError as reason:
                part.unlink(missing_ok=True)
                if number + 1 == _ROUNDS:
                    raise reason.error from None
            else:
                return
    except OSError as error:
        raise PlatformError(
            f"{target.name} cannot be written to {target.parent}: {error.strerror}",
            error_class=ErrorClass.TRANSIENT,
            code=LOCAL_DISK,
        ) from None


@dataclass(frozen=True, slots=True)
class _Download:
    transport: Transport
    href: str
    target: Path
    part: Path
    size: int | None
    checksum: str
    media_type: str
    largest: int
    buckets: str

    @property
    def _note(self) -> Path:
        """What tells the file of which ``part`` is the beginning from another, as the server names it."""
        return self.part.with_name(f"{self.part.name}.etag")

    def round(self) -> None:
        """Receive what is missing; put the file in place if it is whole."""
        part, known = self.part, ""
        have = part.stat().st_size if part.is_file() else 0
        if have and self.size == have and self.checksum and is_as_declared(part, have, self.checksum):
            self._place(part)
            return
        if have and self._note.is_file():
            known = self._note.read_text()
        else:
            have = 0  # it broke off in its first block, and nobody knows of which file that is
        with self._opened(have, known) as body:
            if body.start not in {0, have} or (body.start and known and body.validator not in {"", known}):
                raise _BeginAnewError(f"{shown(self.href)} is not continued where it broke off")
            written = self._received(body)
        if body.total is not None and written < body.total:
            raise PlatformError(
                f"the download of {shown(self.href)} broke off ({written} of {body.total} bytes)",
                error_class=ErrorClass.TRANSIENT,
            )
        self._finished(body.encoding, whole=body.total is not None)

    @contextmanager
    def _opened(self, have: int, known: str) -> Iterator[_Body]:
        if self.href.startswith("s3://"):
            try:
                with open_object(self.href, self.buckets, have) as (size, etag, content):
                    yield _Body(have, size, "", etag, content)
            except PlatformError as error:
                self._unless_too_short(error)
                raise
            return
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-"} | ({"If-Range": known} if known else {})
        try:
            with self.transport.open(
                "GET", self.href, headers=headers, expected={200, 203, 206}, download=True
            ) as reply:
                start, total = _range_of(reply.status_code, reply.headers, self.href)
                encoding = reply.headers.get("Content-Encoding", "").strip().lower()
                validator = _validator(reply.headers)
                yield _Body(start, total, encoding, validator, reply.blocks(decode=False))
        except PlatformError as error:
            self._unless_too_short(error)
            raise

    def _unless_too_short(self, error: PlatformError) -> None:
        if error.status == 416:  # nothing follows what is there: not a part of the file
            raise _BeginAnewError(f"{shown(self.href)} is not what it was when its download began") from None

    def _received(self, body: _Body) -> int:
        """Write a body to the part; return the size of the part."""
        plain = _is_plain(body.encoding)
        declared = self.size if plain else None
        most = self.largest if declared is None else declared
        self._refuse_size(body.total, declared)
        free = shutil.disk_usage(self.part.parent).free
        if body.total is not None and body.total - body.start > free:
            raise PlatformError(
                f"{shown(self.href)} needs {body.total / 1e9:.1f} GB, and {self.part.parent} has less",
                error_class=ErrorClass.TRANSIENT,
                code=LOCAL_DISK,
            )
        written = body.start
        page = written > 0 or not plain or "html" in self.media_type or self.target.suffix in {".html", ".htm"}
        noted = written > 0
        with self.part.open("ab" if body.start else "wb") as stream:
            for block in body.blocks:
                if not page and block.lstrip().lower().startswith(_WEB_PAGE):
                    words = f"{shown(self.href)} is a web page, not the file"
                    raise PlatformError(words, error_class=ErrorClass.TRANSIENT)
                page = True
                written += len(block)
                if written > most or (body.total is not None and written > body.total):
                    stream.close()
                    self.part.unlink()
                    self._refuse_size(written, declared)
                    raise _BeginAnewError(f"{shown(self.href)} sent more than it declared", ErrorClass.OUTPUT)
                stream.write(block)
                if not noted and written != body.total:  # a file that comes in one piece needs none
                    self._note.write_text(body.validator)
                    noted = True
            stream.flush()
            os.fsync(stream.fileno())
        return written

    def _refuse_size(self, found: int | None, declared: int | None) -> None:
        if found is not None and found > self.largest:
            self.part.unlink(missing_ok=True)
            raise _too_large(self.href, self.largest)
        if found is not None and declared is not None and found > declared:
            raise _BeginAnewError(
                f"{shown(self.href)} is larger than the {declared} bytes that are declared", ErrorClass.OUTPUT
            )

    def _finished(self, encoding: str, *, whole: bool) -> None:
        """Check the part and put it in place, decoded if the server sent it packed."""
        found = self.part
        if not _is_plain(encoding):
            keep = self.target.name.lower().endswith(_PACKED) or self.href.partition("?")[0].lower().endswith(_PACKED)
            if not keep:
                found = self.target.with_name(f"{self.target.name}.unpacked")
                _unpack(self.part, found, encoding, self.largest, self.href)
        have = found.stat().st_size
        if self.size is not None and have != self.size:
            if not whole and have < self.size:  # nobody said how much would come
                words = f"the download of {shown(self.href)} broke off ({have} of {self.size} bytes)"
                raise PlatformError(words, error_class=ErrorClass.TRANSIENT)
            raise self._other(found, f"has {have} bytes, and {self.size} are declared")
        if not matches_checksum(found, self.checksum):
            raise self._other(found, "does not have the checksum that is declared")
        self._place(found)

    def _other(self, found: Path, words: str) -> _BeginAnewError:
        found.unlink()
        return _BeginAnewError(f"{shown(self.href)} {words}", ErrorClass.OUTPUT)

    def _place(self, found: Path) -> None:
        found.replace(self.target)
        for rest in (self.part, self._note):
            rest.unlink(missing_ok=True)


def _too_large(href: str, largest: int) -> PlatformError:
    words = f"{shown(href)} is larger than {largest / 1e9:g} GB, and is not fetched"
    return PlatformError(words, error_class=ErrorClass.OUTPUT, code=TOO_LARGE)


def _is_plain(encoding: str) -> bool:
    return encoding in {"", "identity", "aws-chunked"}


def _range_of(status: int, headers: Mapping[str, str], href: str) -> tuple[int, int | None]:
    """Return where a body starts in the file, and the size of the whole file (as sent) if it is known."""
    length = headers.get("Content-Length", "")
    if status != 206:
        return 0, int(length) if length.isdigit() else None
    unit, _, span = headers.get("Content-Range", "").strip().partition(" ")
    bounds, _, total = span.partition("/")
    start, _, end = bounds.partition("-")
    if unit.lower() != "bytes" or not start.isdigit() or not end.isdigit():
        raise _BeginAnewError(f"{shown(href)} answered with a part of a file and did not say which")
    return int(start), int(total) if total.isdigit() else int(end) + 1 if length.isdigit() else None


def _validator(headers: Mapping[str, str]) -> str:
    """Return what tells this version of a file from another: a strong ETag, else the time of its last change."""
    etag = headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")


def _unpack(source: Path, target: Path, encoding: str, largest: int, href: str) -> None:
    """Write the decoded content of ``source`` to ``target``."""
    if encoding not in _WINDOW:
        words = f"{shown(href)} is sent encoded as {encoding[:20]!r}, which was not asked for"
        raise _BeginAnewError(words, ErrorClass.OUTPUT)
    size, decoder = 0, zlib.decompressobj(_WINDOW[encoding])
    try:
        with source.open("rb") as packed, target.open("wb") as stream:
            while block := packed.read(_BLOCK):
                while block:
                    content = decoder.decompress(block, _BLOCK)
                    size += len(content)
                    if size > largest:
                        raise _too_large(href, largest)
                    stream.write(content)
                    block = decoder.unconsumed_tail
                    if decoder.eof and decoder.unused_data:  # files may be packed in several parts
                        block, decoder = decoder.unused_data, zlib.decompressobj(_WINDOW[encoding])
            stream.flush()
            os.fsync(stream.fileno())
        complete = decoder.eof
    except zlib.error:
        complete = False
    if not complete:
        target.unlink()
        raise _BeginAnewError(f"{shown(href)} is not packed as its server says", ErrorClass.OUTPUT) from None
