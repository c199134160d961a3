"""Write ``report.html`` from a run's folder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from upscaling.errors import UpscalingError
from upscaling.monitor.progress import STATES, TileState, item_property, read_states
from upscaling.planning.plan import load_plan
from upscaling.util.files import write_whole
from upscaling.util.text import duration

__all__ = ["write_report"]

_NOT_STATED = "\N{EN DASH}"
_PICTURES = 12  # of more mosaics (time steps) only the first are on the map: each is up to two megabytes


def write_report(run_folder: Path, outlook: Sequence[str] = ()) -> Path:
    """Write ``<run>/report.html`` as it stands now, by rename; one file that loads nothing from anywhere.

    Parameters
    ----------
    outlook
        What the run is expected to cost and to take, line by line.

    Raises
    ------
    UpscalingError
        If the run has no plan yet.
    """
    from bokeh.embed import components
    from bokeh.resources import Resources

    from upscaling.monitor.report.facts import LOOK, WITHOUT_DATA, page_facts
    from upscaling.monitor.report.map import draw_map, read_area, read_outlines, tile_indices, worst_states
    from upscaling.results.quicklook import RAMP
    from upscaling.results.shapes import read_mosaics

    plan = load_plan(run_folder)
    states = read_states(run_folder, plan)
    # of a damaged item quality and gathering say what is wrong with it
    finished = [state.tile for state in states if state.state == "finished"]
    empty = {tile for tile in finished if item_property(run_folder, tile, "upscaling:nodata")}
    damaged: list[str] = []
    outlines, mosaics = read_outlines(run_folder), read_mosaics(run_folder, damaged.append)
    tiles = tile_indices(states, outlines.ids)
    script = place = library = ""
    picture, area = False, []
    if outlines.ids:
        shown = worst_states(states, tiles, len(outlines.ids), empty)
        picture = bool(mosaics) and set(shown) <= {"finished", WITHOUT_DATA}
        area = read_area(run_folder)
        figure = draw_map(outlines, shown, run_folder, mosaics[:_PICTURES], picture=picture, area=area)
        script, place = components(figure)
        library = Resources(mode="inline", components=["bokeh"]).render_js()
    facts = {
        **page_facts(run_folder, plan, states, len(empty)),
        "look": LOOK,
        "outlook": outlook,
        "mosaics": mosaics,
        "damaged": damaged,
        "pictures": mosaics[:_PICTURES] if outlines.ids else [],
        "ramp": ", ".join(f"rgb{colour}" for colour in RAMP),
        "picture": picture,
        "has_area": bool(area),
        "library": library,
        "script": script,
        "place": place,
        "data": _island({"states": STATES, "tiles": outlines.ids, "targets": _columns(states, tiles, empty)}),
    }
    target = run_folder / "report.html"
    write_whole(target, _page(run_folder, facts))
    return target


def _page(run_folder: Path, facts: dict[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError

    loader = PackageLoader("upscaling.monitor.report", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"number": _number, "duration": _duration}
    try:
        return environment.get_template("page.html").render(facts)
    except (UndefinedError, TypeError) as error:
        raise UpscalingError(f"{run_folder}: plan.json, collection.json or quality.json is damaged ({error})") from None


def _columns(states: Sequence[TileState], tiles: Sequence[int], empty: Collection[str]) -> dict[str, list[Any]]:
    """Return the targets column by column: a third of the size of one object each."""
    number = {name: position for position, name in enumerate(STATES)}
    return {
        "id": [state.tile for state in states],
        "tile": list(tiles),
        "state": [number[state.state] for state in states],
        "job": [state.job_id for state in states],
        "class": [state.error_class for state in states],
        "error": [state.error for state in states],
        "costs": [state.spent for state in states],
        "seconds": [state.seconds for state in states],
        "attempt": [state.attempt for state in states],
        "updated": [state.updated for state in states],
        "item": [int(state.item) for state in states],
        "empty": [int(state.tile in empty) for state in states],
    }


def _island(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in, whatever a platform's message says."""
    import orjson

    text = orjson.dumps(value).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _number(value: float | None) -> str:
    if value is None:
        return _NOT_STATED
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.4g}"


def _duration(seconds: float | None) -> str:
    return _NOT_STATED if seconds is None else duration(seconds)
