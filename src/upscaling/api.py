"""The Python interface: what command line, service and notebooks use.

Examples
--------
>>> from upscaling.api import Run, load_config, open_mosaic, plan, run
>>> finished = run("my-area.yaml")          # doctest: +SKIP
>>> finished.tiles().plot("state")          # doctest: +SKIP
>>> open_mosaic(finished, "data")           # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from upscaling.config import Config, load_config
from upscaling.errors import UpscalingError

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

    from upscaling.estimate.model import Estimate
    from upscaling.monitor.status import Summary

__all__ = ["Config", "Run", "Source", "estimate", "load_config", "open_mosaic", "plan", "run"]

Source = Config | str | Path | Sequence[str | Path]
"""A configuration: the object, one file, or several of which the later ones count."""


class Run:
    """A run, as its folder shows it. Nothing is cached: each call reads the folder as it is now.

    Parameters
    ----------
    folder
        Folder of the run, e.g. ``results/demo``.

    Raises
    ------
    UpscalingError
        The folder holds no plan.
    """

    def __init__(self, folder: str | Path) -> None:
        from upscaling.planning.plan import load_plan

        self.folder = Path(folder)
        load_plan(self.folder)

    def __repr__(self) -> str:
        """Return how the object was made."""
        return f"Run({str(self.folder)!r})"

    @property
    def config(self) -> Config:
        """The configuration that the run was last started with."""
        from upscaling.planning.plan import kept_config

        return kept_config(self.folder)

    def status(self) -> Summary:
        """Return counts by state, rate (tiles per hour), time left, costs, and failures by reason."""
        from upscaling.monitor.status import summarize

        return summarize(self.folder)

    def tiles(self) -> gpd.GeoDataFrame:
        """Return one row per target: its tile's outline (EPSG:4326), state, attempt, costs, seconds and error."""
        import geopandas as gpd
        import orjson
        import pandas as pd

        from upscaling.monitor.progress import read_states
        from upscaling.planning.plan import load_plan, tile_table

        outlines = gpd.GeoDataFrame({"tile_id": []}, geometry=[], crs=4326)
        with tile_table(self.folder / "plan") as path:
            if path.is_file():  # a run without an area has none
                outlines = gpd.read_parquet(path, columns=["tile_id", "geometry"])
        outlines = outlines.set_index("tile_id")
        rows = pd.DataFrame(read_states(self.folder)).rename(columns={"tile": "target"})
        with load_plan(self.folder).jobs.open("rb") as lines:  # in the order of the plan
            rows.insert(1, "tile", [orjson.loads(line)["tile"]["id"] for line in lines])
        rows = rows[["target", "tile", "state", "attempt", "costs", "seconds", "error_class", "error"]]
        return gpd.GeoDataFrame(rows.join(outlines, on="tile"), geometry="geometry", crs=outlines.crs)

    def items(self) -> gpd.GeoDataFrame:
        """Return the STAC items of the finished tiles as STAC GeoParquet has them, one row per item.

        Raises
        ------
        UpscalingError
            There is no collection yet.
        """
        import geopandas as gpd
        import pandas as pd

        whole = self.folder / "items.parquet"
        tables = [whole] if whole.is_file() else sorted(self.folder.glob("parts/*/items.parquet"))
        if not tables:
            raise UpscalingError(f"{self.folder} has no collection yet")
        return gpd.GeoDataFrame(pd.concat([gpd.read_parquet(table) for table in tables], ignore_index=True))

    def logs(self, target: str) -> list[str]:
        """Return what is known of a target, line by line: state, reason, and the end of each of its logs."""
        from upscaling.monitor.status import logs_of

        return list(logs_of(self.folder, target))

    def retry(self, *, only: str | None = None, resubmit: bool = False) -> int:
        """Run the tiles again that failed, and no others; return Snakemake's exit status.

        Parameters
        ----------
        only
            Only tiles of this error class, e.g. ``out-of-memory``.
        resubmit
            Make, and pay, new jobs where results of finished ones were refused.
        """
        from upscaling.workflow.retry import retry_failed

        return retry_failed(self.folder, only=only, resubmit=resubmit, snakefile=None, profile=None)


def plan(config: Source, *, results: str | Path | None = None, say: Callable[[str], None] | None = None) -> Run:
    """Make the plan of a run if it is not there yet: pin the algorithm, choose the tiles, bind their parameters.

    Sends nothing to any platform.

    Parameters
    ----------
    config
        Configuration, or its files.
    results
        Folder that holds the runs; ``pathvars.results`` of the configuration, else ``results``, when left out.
    say
        Gets what the command line would show.

    Raises
    ------
    ConfigError
        The configuration or a file that it names is wrong; file and key are named.
    """
    from upscaling.planning.ensure import ensure_plan
    from upscaling.planning.plan import keep_config

    settings = _config(config)
    folder = settings.folder(None if results is None else Path(results))
    try:
        ensure_plan(settings, folder, say=say)
    except UpscalingError as error:
        raise _named(settings, error) from None
    keep_config(settings, folder)
    return Run(folder)


def estimate(
    run: Source | Run, *, results: str | Path | None = None, benchmarks: Sequence[Path] = (), ask: bool = True
) -> Estimate:
    """Return what a run will cost, how long it takes, and whether it is possible. Submits nothing.

    Parameters
    ----------
    run
        A run, or a configuration that was not planned yet.
    results
        As in `plan`.
    benchmarks
        Published benchmarks (Parquet).
    ask
        Also ask the platform; without, only what is on this disk counts.
    """
    from upscaling.estimate.run import estimate_run

    what: Config | Path = run.folder if isinstance(run, Run) else _config(run)
    return estimate_run(what, results=None if results is None else Path(results), benchmarks=benchmarks, ask=ask)


def run(config: Source, options: Sequence[str] = (), *, cluster: bool = False, check: bool = True) -> Run:
    """Run a configuration with Snakemake until all tiles are done or have failed; run it again to continue.

    Parameters
    ----------
    config
        Configuration, or its files.
    options
        Any options of Snakemake, e.g. ``["--cores", "8"]``.
    cluster
        Tiles of application packages as SLURM jobs.
    check
        Raise if not everything was done.

    Raises
    ------
    UpscalingError
        Snakemake did not end well; tiles that are done stay done, and ``Run.status`` says what failed.
    """
    from upscaling.util.process import run_in_front
    from upscaling.workflow.launch import snakemake_command

    settings = _config(config)
    files = _files(config) or [plan(config).folder / "plan" / "config.json"]
    status = run_in_front(snakemake_command(files, options, cluster=cluster))
    folder = settings.folder()
    if status and check:
        raise UpscalingError(f"the run ended with status {status}; see upscaling status {folder}")
    return Run(folder)


def open_mosaic(run: Run | str | Path, asset: str | None = None) -> xr.DataArray:
    """Return a run's mosaic as an array (band, y, x) that is read where it is used.

    Values are those of the files. ``attrs["_FillValue"]`` is the value of pixels without data, and the coordinate
    ``spatial_ref`` holds the CRS as CF conventions have it (rioxarray and odc-geo read it).

    Parameters
    ----------
    run
        A run, or its folder.
    asset
        Key of the asset, with its time step where the run has a time dimension; may be left out where there is one.

    Raises
    ------
    UpscalingError
        The run has no such mosaic; those that it has are named.
    """
    from upscaling.results.lazy import open_raster

    folder = (run.folder if isinstance(run, Run) else Path(run)) / "mosaic"
    found = {path.name.removesuffix(".gti.gpkg"): path for path in sorted(folder.glob("*.gti.gpkg"))}
    if asset is None and len(found) == 1:
        asset = next(iter(found))
    if asset not in found:
        raise UpscalingError(f"{folder} has no mosaic {asset!r}; it has: {', '.join(found) or 'none'}")
    return open_raster(found[asset], name=asset)


def _files(config: Source) -> list[Path]:
    if isinstance(config, Config):
        return []
    return [Path(config)] if isinstance(config, str | Path) else [Path(file) for file in config]


def _config(config: Source) -> Config:
    return config if isinstance(config, Config) else load_config(*_files(config))


def _named(config: Config, error: UpscalingError) -> UpscalingError:
    from upscaling.errors import ConfigError

    return config.sources.named(error) if isinstance(error, ConfigError) else error
