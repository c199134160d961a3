"""Requirements: the form, what becomes of it, and the page for an operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tests.conftest import ROOT
from tests.planned import planned_run
from upscaling.cli.app import app
from upscaling.config import Config
from upscaling.errors import ConfigError
from upscaling.estimate.requirements import Requirements, config_values, form, load_requirements, to_config
from upscaling.estimate.requirements_page import write_page

WANTED: dict[str, Any] = {
    "title": "NDVI of <a> village | 2023",
    "contact": {"name": "A. Person", "email": "a@example.org"},
    "algorithm": {"source": str(ROOT / "config/demo/ndvi_composite.json")},
    "area": [11.0, 46.0, 11.05, 46.05],
    "grid": "utm-1km",
    "period": {"start": "2023-06-01", "end": "2023-09-01"},
    "platform": "http://127.0.0.1:9/openeo/1.2",
    "budget": 500,
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "wanted.yaml"
    path.write_text(yaml.safe_dump({**WANTED, **changes}))
    return path


def test_the_empty_form_is_a_form() -> None:
    wanted = Requirements.model_validate(yaml.load(form(), yaml.BaseLoader))
    assert (wanted.platform, wanted.deadline, wanted.output.format) == ("advise", "3 days", "GTiff")


def test_requirements_become_a_configuration(tmp_path: Path) -> None:
    output = {"format": "netCDF", "crs": "EPSG:3035", "place": "s3://bucket/here", "licence": "CC-BY-4.0"}
    period = {**WANTED["period"], "step": "month"}
    path = written(tmp_path, output=output, period=period, deadline="36 hours", slots=7)
    values = config_values(load_requirements(path))
    config = Config.parse(values)
    assert config.run == "ndvi-of-a-village-2023"
    assert (config.deadline, config.budget, config.backend.slots) == ("36 hours", 500, 7)
    assert config.time is not None
    assert config.time.step == "month"
    assert config.publish is not None
    assert (config.publish.s3, config.mosaic.crs, config.collection.license) == (
        "s3://bucket/here",
        "EPSG:3035",
        "CC-BY-4.0",
    )
    assert config.algorithm.output_format == "netCDF"


def test_the_catalogue_tells_the_kind_of_platform(shared_data: Path, tmp_path: Path) -> None:
    catalogue = str(shared_data / "apex_catalogue")
    openeo = {"source": "vito/max_ndvi_composite", "catalogue": catalogue}
    assert to_config(load_requirements(written(tmp_path, algorithm=openeo, platform="advise"))).backend.kind == "openeo"
    ogcapi = {"source": "terradue/gep_ost", "catalogue": catalogue}
    assert to_config(load_requirements(written(tmp_path, algorithm=ogcapi, platform="advise"))).backend.kind == "ogcapi"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"contact": {"name": "A."}}, "contact.email: is missing"),
        ({"contact": {"name": "A.", "email": "nobody"}}, "contact.email: string should match pattern"),
        ({"deadline": "soon"}, "deadline: must be a duration"),
        ({"output": {"place": "/tmp"}}, "output.place: must be download, platform or s3://bucket/prefix"),
        ({"colour": "red"}, "colour: unknown key; known keys: title, purpose, contact"),
        ({"platform": "advise"}, "platform: name a platform"),
        ({"output": {"place": "platform"}}, "output.workspace: is required"),
        ({"grid": "utm-x"}, None),  # told by the plan
    ],
)
def test_what_does_not_fit_is_one_line(changes: dict[str, Any], told: str | None, tmp_path: Path) -> None:
    path = written(tmp_path, **changes)
    if told is None:
        to_config(load_requirements(path), file=path)
        return
    with pytest.raises(ConfigError) as error:
        to_config(load_requirements(path), file=path)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_the_page_says_all_and_means_nothing_to_a_browser(tmp_path: Path) -> None:
    wanted = load_requirements(written(tmp_path, notes="<script>alert(1)</script>"))
    html, markdown = write_page(wanted, tmp_path / "page", ask=False)
    page, text = html.read_text(), markdown.read_text()
    assert "<script>" not in page
    assert "<script>" not in text
    assert "&lt;script&gt;" in page
    assert "http" not in page.split("</style>")[1].replace("http://127", "").replace("https://www", "")
    for part in ("Numbers", "Is it possible?", "Risks", "Open questions", "rough: no verdict without a pilot"):
        assert part in page
        assert part in text
    assert "village \\| 2023" in text
    assert (tmp_path / "page" / "tiles.png").stat().st_size > 1000


def test_a_run_has_the_same_page(tmp_path: Path) -> None:
    """What only a form says is asked in it."""
    run_folder = planned_run(tmp_path, "http://127.0.0.1:9/openeo/1.2", columns=2, rows=1)
    said = CliRunner().invoke(
        app, ["requirements", "report", str(run_folder), "--title=<b>", f"--out={tmp_path / 'page'}", "--offline"]
    )
    assert said.exit_code == 0, said.output
    page = (tmp_path / "page" / "requirements.html").read_text()
    assert "<h1>&lt;b&gt;</h1>" in page
    for part in ("utm-1km", "temporal_extent = ", "contact: who asks", "long-term storage: who", "data:image/png"):
        assert part in page


def test_the_commands(tmp_path: Path) -> None:
    run = CliRunner()
    new = tmp_path / "new.yaml"
    assert run.invoke(app, ["requirements", "new", str(new)]).exit_code == 0
    assert new.read_text() == form()
    assert run.invoke(app, ["requirements", "new", str(new)]).exit_code == 1
    said = run.invoke(app, ["requirements", "to-config", str(written(tmp_path))])
    assert Config.parse(yaml.safe_load(said.output)).run == "ndvi-of-a-village-2023"
    said = run.invoke(app, ["requirements", "check", str(written(tmp_path)), "--offline"])
    assert (said.exit_code, "no verdict without a pilot" in said.output) == (0, True)
    said = run.invoke(app, ["requirements", "check", str(written(tmp_path, deadline="2020-01-01")), "--offline"])
    assert (said.exit_code, "has passed" in said.output) == (1, True)


@pytest.mark.parametrize(("name", "options"), [("requirements", []), ("estimate", ["--estimate"])])
def test_the_published_schema_is_that_of_the_model(name: str, options: list[str]) -> None:
    said = CliRunner().invoke(app, ["requirements", "schema", *options])
    path = ROOT / "docs" / "schemas" / f"{name}.schema.json"
    assert said.output == path.read_text(), f"upscaling requirements schema {' '.join(options)} > {path}"
