"""The Python interface: its signatures are a promise, and it says what the run's folder says."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import rasterio

import upscaling
from tests.planned import planned_run, tiles_of
from upscaling import api
from upscaling.errors import ConfigError, UpscalingError

STORED = Path(__file__).with_name("api_signatures.txt")


def _signatures() -> list[str]:
    lines = [
        f"{name}{inspect.signature(getattr(api, name))}" for name in api.__all__ if name not in {"Config", "Source"}
    ]
    methods = [name for name in vars(api.Run) if not name.startswith("_")]
    for name in methods:
        member = vars(api.Run)[name]
        lines.append(f"Run.{name}" + (str(inspect.signature(member)) if callable(member) else ": property"))
    return lines


def test_signatures_are_those_that_were_promised() -> None:
    assert _signatures() == STORED.read_text().splitlines(), "a change of the public interface: say so in CHANGELOG.md"


def test_everything_public_is_documented_and_can_be_imported_from_the_package() -> None:
    for name in upscaling.__all__:
        assert getattr(upscaling, name) is not None
    for name in api.__all__:
        assert inspect.getdoc(getattr(api, name)) or name == "Source"
    for name, member in vars(api.Run).items():
        assert name.startswith("_") or inspect.getdoc(member), name
    with pytest.raises(AttributeError):
        upscaling.nonsense  # noqa: B018


def test_a_planned_run_says_what_is_to_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = planned_run(tmp_path, "http://127.0.0.1:9/", columns=2, rows=1)
    monkeypatch.chdir(tmp_path)
    run = api.plan(api.Run(folder).config)
    assert run.folder.resolve() == folder
    assert run.config.run == "r"
    assert run.status().counts["not started"] == 2
    tiles = run.tiles()
    assert list(tiles["target"]) == tiles_of(folder)
    assert set(tiles["state"]) == {"not started"}
    assert tiles.crs == 4326
    assert 8.9 < tiles.total_bounds[0] < 9.1
    assert run.logs(tiles["target"][0])[0].startswith(f"{tiles['target'][0]}: not started")
    with pytest.raises(UpscalingError, match="has no collection yet"):
        run.items()
    with pytest.raises(UpscalingError, match="no plan in"):
        api.Run(tmp_path)


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("run: r\nalgorithm: {source: gone.json}\narea: {aoi: [1, 2, 3, 4]}\nbackend: {kind: cwl}\n")
    with pytest.raises(ConfigError, match=r"my\.yaml: algorithm\.source"):
        api.plan(file, results=tmp_path)
    with pytest.raises(ConfigError, match=r"my\.yaml: algorithm\.source"):
        api.plan([file], results=tmp_path)


def test_a_mosaic_is_read_where_it_is_used(tmp_path: Path) -> None:
    values = np.arange(2 * 40 * 30, dtype="int16").reshape(2, 40, 30)
    (tmp_path / "mosaic").mkdir()
    with rasterio.open(
        tmp_path / "mosaic" / "data.tif", "w", driver="GTiff", count=2, height=40, width=30, dtype="int16",
        crs="EPSG:32632", nodata=-1, transform=rasterio.Affine(10, 0, 500_000, 0, -20, 5_000_000),
    ) as target:  # fmt: skip
        target.write(values)
        target.descriptions = ("red", "nir")
    # An index is opened in the same way; that it equals its tiles is shown where it is made.
    (tmp_path / "mosaic" / "data.tif").rename(tmp_path / "mosaic" / "data.gti.gpkg")
    mosaic = api.open_mosaic(tmp_path)
    assert mosaic.dims == ("band", "y", "x")
    assert list(mosaic["band"].values) == ["red", "nir"]
    assert mosaic.attrs["_FillValue"] == -1
    assert float(mosaic["x"][0]) == 500_005
    assert float(mosaic["y"][0]) == 4_999_990
    assert "32632" in mosaic["spatial_ref"].attrs["crs_wkt"]
    np.testing.assert_array_equal(mosaic.values, values)
    np.testing.assert_array_equal(
        mosaic.isel(band=1, y=slice(3, 9, 2), x=[4, 2, 20]).values, values[1, 3:9:2][:, [4, 2, 20]]
    )
    np.testing.assert_array_equal(mosaic.sel(band="red").isel(x=-1).values, values[0, :, -1])
    assert mosaic.isel(x=slice(5, 5)).shape == (2, 40, 0)
    assert int(mosaic.isel(band=0, y=1, x=2)) == values[0, 1, 2]
    with pytest.raises(UpscalingError, match="has no mosaic 'ndvi'; it has: data"):
        api.open_mosaic(tmp_path, "ndvi")
