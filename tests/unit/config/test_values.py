"""What YAML would silently read as something else is an error with file, line and key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import snakemake.common.configfile as snakemake_files
from pydantic import BaseModel

from upscaling.config import Config, load_config
from upscaling.config.values import parse_values, plain, read_values
from upscaling.errors import ConfigError

CASES = {
    "key twice": ("slots: 2\nb: 1\nslots: 50\n", "x.yaml, line 3: slots: stands twice in this block, here and in"),
    "key twice, deep": ("backend:\n  slots: 2\n  slots: 3\n", "x.yaml, line 3: backend.slots: stands twice"),
    "key twice, in a list": ("a:\n- {b: 1, b: 1}\n", "x.yaml, line 2: a.0.b: stands twice"),
    "key twice, in JSON": ('{"a": {"b": 1,\n "b": 2}}', "x.yaml, line 2: a.b: stands twice"),
    "key twice, in JSON with tabs": ('{\n\t"a": 1,\n\t"a": 2}', "x.yaml, line 3: a: stands twice"),
    "impossible date": ("time: {start: 2023-06-31}", "x.yaml, line 1: time.start: 2023-06-31 is no date"),
    "impossible month": ("t: 2023-13-01", "t: 2023-13-01 is no date"),
    "impossible time": ("t: 2023-06-01T25:00:00Z", "is no date (hour must be"),
    "impossible date, as key": ("t: {2023-02-30: 1}", "2023-02-30 is no date"),
    "yes": ("cog: yes", "x.yaml, line 1: cog: YAML reads yes as true; write that, or put it in quotes"),
    "on": ("a: [x, On]", "a.1: YAML reads On as true"),
    "on, as key": ("on: 1", "on: YAML reads on as true"),
    "octal": ("code: 0123", "code: YAML reads 0123 as the number 83"),
    "sexagesimal": ("at: 12:30:00", "at: YAML reads 12:30:00 as the number 45000"),
    "sexagesimal with a dot": ("at: 1:30.5", "at: YAML reads 1:30.5 as the number 90.5"),
    "number as text": ("parameters: {n: 1e5}", "parameters.n: YAML reads 1e5 as text; write 100000.0"),
    "not a number": ("a: .nan", "a: .nan is not a finite number"),
    "infinite": ("a: -.INF", "is not a finite number"),
    "too large": ("a: 1.0e+400", "is not a finite number"),
    "too long": (f"a: {'9' * 5000}", "is no value"),
    "key that is a number": ("a: {1_0: x}", "YAML reads this key as 10; put it in quotes"),
    "key that is nothing": ("a: {null: x}", "YAML reads this key as null; put it in quotes"),
    "half a character": ('a: "x\\ud800"', "holds half a character"),
    "key that is a list": ("? [a]\n: b", "a key must be a word"),
    "tab": ("a:\n\tb: 1", "x.yaml, line 2: is not YAML: found character '\\t' that cannot start any token; indent"),
    "broken": ("run: [", "is not YAML"),
    "unknown alias": ("a: *b", "x.yaml, line 1: is not YAML: found undefined alias"),
    "itself": ("a: &x [*x]", "a.0: contains itself"),
    "bomb": ("\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 1}]" for n in range(9)), "too many"),
    "deep": ("a: " + "[" * 20_000, "nested too deeply"),  # libraries raise Python's limit of 1,000
    "deep JSON": ("[" * 100_000, "nested too deeply"),
    "tag": ("a: !!python/name:os.system x", "the tag 'python/name:os.system' is not supported"),
    "binary": ("a: !!binary aGk=", "the tag 'binary' is not supported"),
    "set": ("a: !!set {x}", "the tag 'set' is not supported"),
    "equals sign": ("a: =", "an = sign alone is not supported"),
    "two documents": ("a: 1\n---\nb: 1", "is not YAML: but found another document"),
    "control character": ("a: 1\nb: \x01", "x.yaml, line 2: is not YAML"),
    "template": ("__use_yte__: true\na: 1", "templates (__use_yte__) are not supported"),
    "empty": ("", "x.yaml: is empty"),
    "only comments": ("# nothing\n", "x.yaml: is empty"),
    "list at the top": ("- a", "x.yaml: has no keys at its top"),
    "text at the top": ("hello", "x.yaml: has no keys at its top"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_surprise_is_one_line(case: str) -> None:
    text, words = CASES[case]
    with pytest.raises(ConfigError) as caught:
        parse_values(text, "x.yaml")
    assert words in str(caught.value)
    assert str(caught.value).startswith("x.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"a: [1, 1.5, true, null, text, '0123', \"yes\", 0x1F, 1_000, 2023-06-01, 2023-06-01T10:00:00Z]",
        b"a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\ne: [*x, *x]",
        b"\xef\xbb\xbfa: 1",
        b"a: |\n  two\n  lines\nb: >-\n  folded\n  text\n",
        b'{"a": 1e5, "b": [1.0, "0123"]}',
        b'{\n\t"a": 1e5\n}',
        b"title: 1e5\n",
        "a: Überwachung\r\nb: 2\r\n".encode(),
        b"%YAML 1.1\n---\na: 1\n...\n",
    ],
)
def test_what_is_clear_is_what_snakemake_reads(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(content)
    assert read_values(file) == plain(snakemake_files.load_configfile(str(file)))


@pytest.mark.parametrize(
    ("content", "words"), [(b"\xff\xfea\x00", "is not UTF-8"), (b"a: caf\xe9", "is not UTF-8 text (byte 6)")]
)
def test_other_encodings_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"c\.yaml: ") as caught:
        read_values(file)
    assert words in str(caught.value)


def test_another_workflows_part_of_a_file_is_not_ours_to_check() -> None:
    text = "samples: {on: 1, on: 2}\nupscale:\n  run: a\n  backend: {slots: 2, slots: 3}\n"
    assert parse_values(text, "x.yaml", prefix=("samples2",)) == {}
    with pytest.raises(ConfigError, match=r"x\.yaml, line 4: upscale\.backend\.slots: stands twice"):
        parse_values(text, "x.yaml", prefix=("upscale",))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x", "\ud800"])
def test_values_that_no_file_can_hold_are_one_line(value: Any) -> None:
    good = {"run": "r", "backend": {"kind": "openeo"}, "area": {"aoi": [1, 2, 3, 4]}}
    with pytest.raises(ConfigError, match=r"x\.yaml: algorithm\.parameters\.p: "):
        Config.parse(good | {"algorithm": {"source": "a", "parameters": {"p": value}}}, file="x.yaml")


def _fields(block: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in block.model_fields.items():
        yield (*path, name)
        for inner in _blocks(field.annotation):
            yield from _fields(inner, (*path, name))


def _blocks(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _blocks(part)


_NUMBERS = {
    "openeo": (
        "timeout_hours",
        "outage_hours",
        "lag_seconds",
        "request_seconds",
        "tile_gb",
        "poll_seconds",
        "job_budget",
    ),
    "cwl": ("cores", "growth", "site.runtime_min", "site.core_hour_price"),
    "ogcapi": ("timeout_hours", "poll_seconds"),
}


@pytest.mark.parametrize("kind", _NUMBERS)
def test_no_key_takes_a_number_that_is_not_finite_or_that_no_clock_can_wait_for(kind: str) -> None:
    """As text too: YAML 1.1 reads ``1e400`` as text, which is a number to the model."""
    base = {"run": "r", "algorithm": {"source": "a"}, "area": {"aoi": [1, 2, 3, 4]}}
    refused = set()
    for path in _fields(Config):
        for value in ("inf", "1e400", "-Infinity", "1e300", 10**400):
            config: dict[str, Any] = {**base, "backend": {"kind": kind, "url": "http://127.0.0.1:1/x"}}
            if kind == "cwl":
                del config["backend"]["url"]
            block = config
            for key in path[:-1]:
                block = block.setdefault(key, {}) if isinstance(block, dict) else {}
            block[path[-1]] = value
            try:
                json.dumps(Config.parse(config).model_dump(mode="json"), allow_nan=False)
            except ConfigError:
                refused.add(".".join(path))
    assert {f"backend.{key}" for key in _NUMBERS[kind]} | {"area.buffer", "stage_in.largest_gb"} <= refused


def test_errors_of_several_files_name_the_one_that_holds_the_key(tmp_path: Path) -> None:
    site, mine = tmp_path / "site.yaml", tmp_path / "my.yaml"
    site.write_text("backend: {kind: openeo, slots: 0}\n")
    mine.write_text("run: r\nalgorithm: {source: a}\narea: {aoi: [1, 2, 3, 4]}\nbackend: {auth: none}\n")
    with pytest.raises(ConfigError, match=rf"{site}: backend\.slots"):
        load_config(site, mine)
    mine.write_text(mine.read_text().replace("auth: none", "slots: -1"))
    with pytest.raises(ConfigError, match=rf"^{mine}: backend\.slots"):
        load_config(site, mine)
    mine.write_text("backend: {slots: 3}\n")
    with pytest.raises(ConfigError, match=rf"^{site}, {mine}: run: is missing"):
        load_config(site, mine)
