"""A configuration holds no secrets: its copies lie in the run's folder."""

from __future__ import annotations

import copy
import stat
from pathlib import Path
from typing import Any

import pytest

from upscaling.binding.secret_values import check_secrets, revealed
from upscaling.config import Config
from upscaling.errors import ConfigError, TileFailedError
from upscaling.model import Parameter
from upscaling.util.files import keep_private

CONFIG: dict[str, Any] = {
    "run": "r",
    "algorithm": {"source": "a.json", "parameters": {}},
    "area": {"aoi": [11, 46, 12, 47]},
    "backend": {"kind": "openeo", "url": "https://h.example"},
}


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ("algorithm.source", "https://me:s3cret@h.example/a.json"),
        ("algorithm.source", "https://h.example/a.json?sig=s3cret"),
        ("algorithm.catalogue", "https://me:s3cret@h.example/"),
        ("algorithm.parameters.address", "https://h.example/a.tif?X-Amz-Signature=s3cret"),
        ("area.aoi", "https://h.example/a.geojson?token=s3cret"),
        ("backend.url", "https://h.example/openeo?token=s3cret"),
        ("backend.url", "https://h.example/openeo?k=s3cret"),
        ("backend.url", "https://me:s3cret@h.example"),
        ("stage_in.catalogue", "https://me:s3cret@h.example/stac"),
        ("publish.stac_api", "https://me:s3cret@h.example/stac"),
        ("publish.endpoint", "https://h.example?secret_key=s3cret"),
    ],
)
def test_addresses_with_secrets_are_refused(keys: str, value: str) -> None:
    values = copy.deepcopy(CONFIG)
    *blocks, last = keys.split(".")
    block = values
    for name in blocks:
        block = block.setdefault(name, {})
    block[last] = value
    with pytest.raises(ConfigError, match="credentials") as caught:
        Config.parse(values, file="my.yaml")
    assert str(caught.value).startswith(f"my.yaml: {keys}: ")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", ["password", "userPassword", "db_password", "api_key", "token", "SECRET", "plain"])
def test_a_secret_input_names_a_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"plain": Parameter("plain", {"type": "string", "format": "password"}, required=False)}
    with pytest.raises(ConfigError, match=r"would stand in clear .*\$\{env:NAME\}") as caught:
        check_secrets({name: "hunter2"}, known)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match="would stand in clear"):
        check_secrets({}, known, [name])
    with pytest.raises(ConfigError, match="MY_SECRET is not set"):
        check_secrets({name: "${env:MY_SECRET}"}, known)
    monkeypatch.setenv("MY_SECRET", "hunter2")
    check_secrets({name: "${env:MY_SECRET}"}, known)
    assert revealed({name: ["${env:MY_SECRET}", 1], "b": {"c": "x"}}) == {name: ["hunter2", 1], "b": {"c": "x"}}


def test_other_inputs_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    check_secrets({"token_size": "3", "key": "a", "passwords_file": "x", "password": "", "bands": ["B02"]}, {})
    monkeypatch.delenv("GONE", raising=False)
    with pytest.raises(TileFailedError, match="GONE is not set"):
        revealed("${env:GONE}")


def test_copies_of_private_files_are_private(tmp_path: Path) -> None:
    source, copied = tmp_path / "source", tmp_path / "copy"
    for mode, expected in ((0o644, 0o664), (0o640, 0o660), (0o600, 0o600)):
        for path in (source, copied):
            path.write_text("x")
        source.chmod(mode)
        copied.chmod(0o664)
        keep_private([copied], [source, tmp_path / "gone", "x\0y"])
        assert stat.S_IMODE(copied.stat().st_mode) == expected
