"""Files written whole or not at all, and the hashes that tell them apart."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = [
    "SHA256_MULTIHASH",
    "canonical_json",
    "digest",
    "end_of",
    "is_as_declared",
    "keep_private",
    "link_out",
    "matches_checksum",
    "move",
    "read_json",
    "rewrite",
    "sha256_bytes",
    "sha256_file",
    "size_of",
    "write_json",
    "write_whole",
    "written_whole",
]

SHA256_MULTIHASH = "1220"  # what a file:checksum of SHA-256 begins with: 0x12 = sha2-256, 0x20 = 32 bytes

# What a multihash begins with (unsigned varint of the function) -> the function, as hashlib names it.
_MULTIHASH = {
    "11": "sha1",
    "12": "sha256",
    "13": "sha512",
    "14": "sha3_512",
    "15": "sha3_384",
    "16": "sha3_256",
    "17": "sha3_224",
    "20": "sha384",
    "d501": "md5",
    "c0e402": "blake2b",
    "e0e402": "blake2s",
}

# It can only be read by setting it, which would be a race between threads.
_UMASK = os.umask(0)
os.umask(_UMASK)


@contextmanager
def written_whole(path: Path, *, lasting: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; rename it to ``path`` if the block succeeds.

    For what a library writes; ``write_whole`` is for what is in memory.

    Parameters
    ----------
    lasting
        False for what can be made again and shows by itself whether it is whole: to be sure of it also after a power
        cut takes a second where others write much.
    """
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
    # Not made here: where files are dear to make, one that is only replaced by another would be the second.
    with _renamed(path) as temporary:
        yield temporary
        temporary.chmod(0o666 & ~_UMASK)  # what was moved here may be 0600: colleagues could not read a shared run
        if lasting:
            handle = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def write_whole(path: Path, content: bytes | str, *, lasting: bool = True) -> None:
    """Write ``content`` (text as UTF-8) by rename, so that no reader ever sees half a file; see ``written_whole``."""
    content = content.encode() if isinstance(content, str) else content
    with _renamed(path) as temporary:
        try:
            stream = temporary.open("xb")
        except (FileNotFoundError, NotADirectoryError):
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = temporary.open("xb")
        with stream:
            stream.write(content)
            if lasting:
                stream.flush()
                os.fsync(stream.fileno())


@contextmanager
def _renamed(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, which is renamed to it if the block succeeds, and removed if not."""
    temporary = path.with_name(f".{path.name}.{random.getrandbits(48):012x}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:  # a write says no name
            error.filename = str(path)
        raise


def move(source: Path, target: Path) -> None:
    """Move a file or a folder by rename, also from another file system: ``target`` is never half there."""
    if source.is_dir():
        beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        shutil.move(source, beside / "whole")
        shutil.rmtree(target, ignore_errors=True)  # of an earlier try
        (beside / "whole").rename(target)
        beside.rmdir()
        return
    with written_whole(target) as temporary:
        try:
            source.replace(temporary)
        except OSError:  # another file system
            shutil.copyfile(source, temporary)
            source.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON by rename, so that no reader ever sees half a file.

    Raises
    ------
    ValueError
        It has a number that JSON has not: NaN or an infinity.
    """
    write_whole(path, _indented(value))


def _indented(value: Any) -> bytes:
    """Return JSON as people read it; ten times as fast as by the indent of ``json``, which is Python's."""
    import orjson

    json.dumps(value, ensure_ascii=False, allow_nan=False)  # is strict, where orjson writes null for NaN
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # keys that are no text, integers of more than 64 bits
        return f"{json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)}\n".encode()


def rewrite(path: Path, content: bytes) -> None:
    """Give a file another content, by rename, and the times it had: to Snakemake nothing was made anew."""
    before = path.stat()
    with written_whole(path) as temporary:
        temporary.write_bytes(content)
        os.utime(temporary, ns=(before.st_atime_ns, before.st_mtime_ns))


def read_json(path: Path) -> Any:
    """Read JSON; the caller handles ``OSError`` and ``ValueError``."""
    text = path.read_text(encoding="utf-8")
    try:
        value = json.loads(text)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None
    except UnicodeEncodeError:  # it could be neither shown nor written
        raise ValueError(f"{path.name} has half of a surrogate pair") from None
    return value


def link_out(path: Path, folder: Path) -> Path | None:
    """Return where a path of a folder leads by symbolic links, if that is outside of the folder.

    Nothing from there is published, served or put into a report.
    """
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError):  # links in a circle, a name with a NUL: there is nothing to be read
        return None
    named_inside = Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))  # noqa: PTH100 -- links stay
    return real if named_inside and not real.is_relative_to(folder.resolve()) else None


def end_of(path: Path, most: int) -> str:
    """Return the last bytes, ``most`` of them, of a text file.

    Raises
    ------
    OSError
        It cannot be read.
    """
    with path.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - most))
        return stream.read().decode(errors="replace")


def canonical_json(value: Any) -> str:
    """One spelling per value (RFC 8785 in spirit: sorted keys, no spaces), for hashing."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Return the sha256, in hexadecimal, of a JSON value in canonical form."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def size_of(path: Path) -> int:
    """Return the size in bytes of a file, or of all files of a folder.

    Raises
    ------
    OSError
        It is not there.
    """
    if path.is_dir():
        return sum(part.stat().st_size for part in path.rglob("*") if part.is_file())
    return path.stat().st_size


def sha256_bytes(content: bytes) -> str:
    """Return the sha256, in hexadecimal, of some bytes."""
    return hashlib.sha256(content).hexdigest()


def keep_private(paths: Iterable[Path], sources: Iterable[str | Path]) -> None:
    """Take from copies what others may not do with what they were made of: read or write it.

    Parameters
    ----------
    sources
        Files that the copies tell of; what is not there does not count.
    """
    rights = 0o777
    for source in sources:
        with suppress(OSError, ValueError):
            mode = Path(source).stat().st_mode
            rights &= 0o700 | (0o070 if mode & 0o040 else 0) | (0o007 if mode & 0o004 else 0)
    if rights != 0o777:
        for path in paths:
            path.chmod(stat.S_IMODE(path.stat().st_mode) & rights)


def sha256_file(path: Path) -> str:
    """Return the sha256, in hexadecimal, of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_as_declared(path: Path, size: int | None, checksum: str) -> bool:
    """Return whether a file has a size (None for any) and a checksum (empty for any), see ``matches_checksum``."""
    return (size is None or path.stat().st_size == size) and matches_checksum(path, checksum)


def matches_checksum(path: Path, checksum: str) -> bool:
    """Return whether a file has a checksum; True if that is written or made in a way that is not known here.

    Parameters
    ----------
    checksum
        A multihash in hexadecimal (``file:checksum`` of STAC), ``sha256:…`` as OCI registries, or ``sha1$…`` as CWL
        writes it.
    """
    name, expected = _checksum_of(checksum.strip().lower())
    if not name:
        return True
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.new(name, usedforsecurity=False)).hexdigest()
    return found[: len(expected)] == expected


def _checksum_of(text: str) -> tuple[str, str]:
    """Return the function (as hashlib names it) and the digest of a checksum; nothing where it is not known."""
    named = re.fullmatch(r"(md5|sha1|sha256|sha384|sha512)[:$]([0-9a-f]+)", text)
    if named:
        name, expected = named[1], named[2]
        whole = 2 * hashlib.new(name, usedforsecurity=False).digest_size
        return name, expected if len(expected) == whole else "not a digest"
    for prefix, name in _MULTIHASH.items():
        # A digest may be cut, but not to nothing; one of more than 127 bytes would say its length in two.
        found = re.fullmatch(rf"{prefix}([0-9a-f]{{2}})([0-9a-f]{{16,}})", text)
        if found:
            length, expected = found.groups()
            whole = 2 * hashlib.new(name, usedforsecurity=False).digest_size
            if 2 * int(length, 16) == len(expected) <= whole:
                return name, expected
    return "", ""
