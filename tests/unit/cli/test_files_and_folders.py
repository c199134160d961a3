"""Commands that take a file take the folder that holds it, and write what GDAL can write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from upscaling.cli.app import main
from upscaling.errors import ConfigError
from upscaling.local_backend.collections import load_data


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["upscaling", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(str(ended.value.code or 0))


@pytest.mark.parametrize("ending", [".gpkg", ".fgb", ".geojson", ".parquet"])
def test_tiles_are_written_whatever_the_name_of_their_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    import geopandas

    out = tmp_path / f"t.x-1{ending}"
    assert run(monkeypatch, "tiles", "11,46,11.2,46.2", "--grid", "utm-20km", "--out", str(out)) == 0
    read = geopandas.read_parquet if ending == ".parquet" else geopandas.read_file
    assert len(read(out)) >= 2


def test_the_folder_of_a_run_is_validated_by_its_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "validate", str(tmp_path)) == 1
    assert f"{tmp_path / 'collection.json'}: cannot be read: [Errno 2]" in capsys.readouterr().out


def test_a_folder_of_data_is_read_by_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"this folder holds none of collections\.yaml, .*; name the file"):
        load_data(tmp_path)
    catalogue = {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "x", "links": []}
    (tmp_path / "catalog.json").write_text(json.dumps(catalogue))
    with pytest.raises(ConfigError, match=r"catalog\.json: ") as empty:
        load_data(tmp_path)
    assert "holds none" not in str(empty.value)
