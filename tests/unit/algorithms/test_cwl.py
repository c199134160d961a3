"""Reading application packages and binding them to tiles; no runner is started."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from upscaling.algorithms.cwl import images, pin_package, uses_javascript
from upscaling.cli.describe.package import describe_package
from upscaling.errors import ConfigError
from upscaling.model import Bounds, Tile
from upscaling.util.files import read_json, sha256_file

UTM = Tile("utm32n_1", "EPSG:32632", Bounds(674000.0, 5150000.0, 676000.0, 5152000.0))
LONLAT = Tile("ll_1", "EPSG:4326", Bounds(-1.5, 46.0, -1.0, 46.5))
OGC_TYPES = """
- {type: enum, name: CRS, symbols: [CRS84, CRS84h]}
- type: record
  name: BBox
  fields:
  - {name: bbox, type: {type: array, items: double}}
  - {name: crs, type: CRS}
"""
# As in eoap/schemas geojson.yaml: one ring for a polygon's coordinates, and no field is optional.
GEOJSON_TYPES = """
- {type: enum, name: PolygonType, symbols: [Polygon]}
- type: record
  name: Polygon
  fields:
  - {name: type, type: PolygonType}
  - {name: coordinates, type: {type: array, items: {type: array, items: double}}}
  - {name: bbox, type: {type: array, items: double}}
- {type: enum, name: FeatureType, symbols: [Feature]}
- type: record
  name: Feature
  fields:
  - {name: type, type: FeatureType}
  - {name: id, type: string}
  - {name: geometry, type: [Polygon]}
  - {name: bbox, type: {type: array, items: double}}
"""
STRING_FORMAT = "- {type: record, name: Date, fields: [{name: value, type: string}]}"
TOOL = """
cwlVersion: VERSION
class: CommandLineTool
requirements:
  SchemaDefRequirement: {types: [{$import: ogc.yaml}]}
hints:
  DockerRequirement: {dockerPull: "localhost/tool:1"}
inputs:
  area: ogc.yaml#BBox
  table: {type: File, inputBinding: {}}
baseCommand: cat
stdout: out.txt
outputs: {out: {type: stdout}}
"""
PACKAGE = """
cwlVersion: VERSION
$namespaces: {s: "https://schema.org/"}
s:softwareVersion: 1.4.1
$schemas: ["https://schema.invalid/schemaorg.rdf"]
$graph:
- class: Workflow
  id: water
  label: Water bodies
  doc: Finds water.
  requirements:
    SchemaDefRequirement: {types: [{$import: ogc.yaml}, {$import: geojson.yaml}, {$import: string_format.yaml}]}
    InitialWorkDirRequirement: {listing: []}
  inputs:
    area: {type: "ogc.yaml#BBox", doc: Where.}
    mode: {type: {type: enum, symbols: [fast, slow]}, default: fast}
    table: {type: File, default: {class: File, location: table.csv}}
    limit: int?
    day: string_format.yaml#Date?
  outputs: {out: {type: File, outputSource: run/out}, note: {type: File, outputSource: inline/note}}
  steps:
    run: {run: tool.cwl, in: {area: area, table: table}, out: [out]}
    inline:
      in: {mode: mode}
      out: [note]
      run:
        class: CommandLineTool
        inputs: {mode: {type: {type: enum, symbols: [fast, slow]}, inputBinding: {}}}
        baseCommand: echo
        stdout: note.txt
        outputs: {note: {type: stdout}}
- class: Workflow
  id: other
  inputs: {bbox: string}
  outputs: []
  steps: []
"""


def write_package(folder: Path, version: str = "v1.2") -> Path:
    folder.mkdir(parents=True)
    (folder / "ogc.yaml").write_text(OGC_TYPES)
    (folder / "geojson.yaml").write_text(GEOJSON_TYPES)
    (folder / "string_format.yaml").write_text(STRING_FORMAT)
    (folder / "table.csv").write_text("a,b\n1,2\n")
    (folder / "tool.cwl").write_text(TOOL.replace("VERSION", version))
    text = PACKAGE.replace("VERSION", version).replace("    InitialWorkDirRequirement: {listing: []}\n", "")
    (folder / "app.cwl").write_text(text)
    return folder / "app.cwl"


@pytest.mark.parametrize("version", ["v1.0", "v1.2"])
def test_pinned_file_needs_nothing_else_and_does_not_depend_on_where_it_was(tmp_path: Path, version: str) -> None:
    pinned = []
    for name in ("here", "somewhere/else"):
        source = write_package(tmp_path / name, version)
        pinned.append(pin_package(f"{source}#water", tmp_path / name / "plan"))
    shutil.rmtree(tmp_path / "here")
    (tmp_path / "somewhere/else/tool.cwl").unlink()
    first, second = pinned
    assert first.sha256 == second.sha256 == sha256_file(second.path)
    assert str(tmp_path) not in second.path.read_text()
    assert "schema.invalid" not in second.path.read_text()
    again = pin_package(second.path, tmp_path / "again")  # loads with nothing beside it but the default file
    assert {p.name for p in again.parameters} == {p.name for p in second.parameters}
    default = next(p.default for p in second.parameters if p.name == "table")
    assert (second.path.parent / default["location"]).read_text() == "a,b\n1,2\n"
    assert images(read_json(second.path)) == ["localhost/tool:1"]


def test_what_a_package_says_of_itself(tmp_path: Path) -> None:
    algorithm = pin_package(f"{write_package(tmp_path / 'p')}#water", tmp_path / "plan")
    assert (algorithm.kind, algorithm.id, algorithm.title) == ("cwl", "water", "Water bodies")
    assert (algorithm.version, algorithm.description) == ("1.4.1", "Finds water.")
    assert algorithm.source.endswith("app.cwl#water")
    by_name = {p.name: p for p in algorithm.parameters}
    assert {name for name, p in by_name.items() if p.required} == {"area"}
    assert by_name["area"].schema == {
        "type": "record",
        "name": "BBox",
        "fields": {
            "bbox": {"type": "array", "items": "double"},
            "crs": {"type": "enum", "name": "CRS", "symbols": ["CRS84", "CRS84h"]},
        },
    }
    assert by_name["mode"].schema["symbols"] == ["fast", "slow"]
    assert by_name["mode"].default == "fast"
    assert by_name["limit"].schema == ["null", "int"]
    assert by_name["area"].description == "Where."


def test_default_files_and_folders_come_along_or_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = """
cwlVersion: v1.2
class: CommandLineTool
inputs:
  folder: {type: Directory, default: {class: Directory, location: tables}}
  gone: {type: File, default: {class: File, location: "file:///home/author/x.csv"}}
  remote: {type: File, default: {class: File, location: "s3://bucket/y.csv"}}
  text: {type: File, default: {class: File, basename: a.txt, contents: a}}
requirements: {DockerRequirement: {dockerPull: "localhost/needed:1"}}
baseCommand: echo
outputs: {o: stdout}
"""
    (tmp_path / "tables" / "deep").mkdir(parents=True)
    (tmp_path / "tables" / "deep" / "t.csv").write_text("1")
    (tmp_path / "tool.cwl").write_text(tool)
    monkeypatch.chdir(tmp_path)
    algorithm = pin_package("tool.cwl", Path("plan"))  # as `upscaling plan` calls it: relative to where it runs
    by_name = {p.name: p for p in algorithm.parameters}
    assert (tmp_path / "plan" / by_name["folder"].default["location"] / "deep" / "t.csv").read_text() == "1"
    assert by_name["gone"].required
    assert by_name["remote"].default["location"] == "s3://bucket/y.csv"
    assert by_name["text"].default["contents"] == "a"
    assert images(read_json(algorithm.path), required=True) == ["localhost/needed:1"]


def test_the_workflow_is_chosen_or_asked_for(tmp_path: Path) -> None:
    source = write_package(tmp_path / "p")
    with pytest.raises(ConfigError, match=r"app\.cwl: algorithm\.source: holds 2 workflows: other, water; choose one"):
        pin_package(source, tmp_path)
    with pytest.raises(ConfigError, match="holds no workflow fire; it holds other, water"):
        pin_package(f"{source}#fire", tmp_path)
    only = tmp_path / "only.cwl"
    only.write_text(TOOL.replace("VERSION", "v1.2").replace("requirements:\n  SchemaDef", "hints:\n  SchemaDef"))
    main = tmp_path / "main.cwl"
    main.write_text(source.read_text().replace("VERSION", "v1.2").replace("id: other", "id: main"))
    for name in ("ogc.yaml", "geojson.yaml", "string_format.yaml", "tool.cwl", "table.csv"):
        shutil.copy(source.parent / name, tmp_path)
    assert [p.name for p in pin_package(main, tmp_path / "m").parameters] == ["bbox"]
    assert pin_package(tmp_path / "tool.cwl", tmp_path / "t").id == "tool"  # a tool alone is run as it is


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("outputs: {out", "outputs: {{out"), "line 20, column 3: expected ',' or '}'"),
        (("outputSource: run/out", "outputSorce: run/out"), "invalid field 'outputSorce'"),
        (("limit: int?", "limit: integer?"), "references unknown identifier 'integer'"),
        (("{area: area, table", "{area: nowhere, table"), "references unknown identifier 'nowhere'"),
        (("run: tool.cwl", "run: missing.cwl"), "undefined reference to"),
        (("$import: geojson.yaml", "$import: http://127.0.0.1:9/geojson.yaml"), "127.0.0.1"),
        (("cwlVersion: v1.2", "cwlVersion: v9"), "no longer supports"),
        (("cwlVersion: v1.2\n", ""), "No cwlVersion found."),
        (
            ("  inputs:\n    area", "    DaskGatewayRequirement: {}\n  inputs:\n    area"),
            "DaskGatewayRequirement is no class of CWL; a vendor's own requirement cannot be run here",
        ),
        (
            ("  inputs:\n    area", "    InplaceUpdateRequirement: {inplaceUpdate: true}\n  inputs:\n    area"),
            "asks for InplaceUpdateRequirement, which Toil refuses",
        ),
    ],
)
def test_a_broken_package_is_refused_in_one_line(tmp_path: Path, change: tuple[str, str], expected: str) -> None:
    source = write_package(tmp_path / "p")
    broken = source.read_text().replace(*change)
    assert broken != source.read_text()
    source.write_text(broken)
    with pytest.raises(ConfigError) as caught:
        pin_package(f"{source}#water", tmp_path / "plan")
    assert str(caught.value).startswith(f"{source}: algorithm.source: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(source))
    assert not list(tmp_path.glob("plan/*.cwl"))


def test_an_error_in_another_file_names_that_file(tmp_path: Path) -> None:
    source = write_package(tmp_path / "p")
    tool = source.parent / "tool.cwl"
    tool.write_text(tool.read_text().replace("stdout: out.txt", "stdot: out.txt"))
    with pytest.raises(ConfigError, match=r"app\.cwl: algorithm\.source: tool\.cwl, line 12, column 1: invalid "):
        pin_package(f"{source}#water", tmp_path / "plan")


def test_yaml_merge_keys_are_understood_and_names_must_differ(tmp_path: Path) -> None:
    text = """
cwlVersion: v1.2
s:dateCreated: 2025-01-01
$namespaces: {s: "https://schema.org/"}
$graph:
  - &echo {class: CommandLineTool, id: one, baseCommand: [echo, one], inputs: {bbox: string}, outputs: {o: stdout}}
  - {<<: *echo, id: two, baseCommand: [echo, two]}
  - class: Workflow
    id: both
    inputs: {bbox: string}
    outputs: {first: {type: File, outputSource: a/o}, second: {type: File, outputSource: b/o}}
    steps: {a: {run: "#one", in: {bbox: bbox}, out: [o]}, b: {run: "#two", in: {bbox: bbox}, out: [o]}}
"""
    (tmp_path / "app.cwl").write_text(text)
    document = read_json(pin_package(tmp_path / "app.cwl", tmp_path / "plan").path)
    commands = {process["id"]: process.get("baseCommand") for process in document["$graph"]}
    assert commands == {"#main": None, "#one": ["echo", "one"], "#two": ["echo", "two"]}
    (tmp_path / "app.cwl").write_text(text.replace("second: {type", "b: {type").replace("id: both", "id: zz"))
    with pytest.raises(ConfigError, match=r"app\.cwl: algorithm\.source: uses the name b twice"):
        pin_package(tmp_path / "app.cwl", tmp_path / "plan")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"[1,", "line 1, column 4: expected the node content"),
        (b"a: 1", "No cwlVersion"),
        (b"\xff\xfe\x00", "is not a CWL document"),
        (b"just words", "is not a CWL document"),
    ],
)
def test_what_is_not_cwl_is_refused_in_one_line(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "x.cwl").write_bytes(content)
    with pytest.raises(ConfigError, match=expected) as caught:
        pin_package(tmp_path / "x.cwl", tmp_path / "plan")
    assert caught.value.key == "algorithm.source"
    with pytest.raises(ConfigError, match=r"algorithm\.source: no such file: .*nothing\.cwl \(looked in /"):
        pin_package(tmp_path / "nothing.cwl", tmp_path)


def test_javascript_is_told_from_plain_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = """
cwlVersion: v1.2
class: CommandLineTool
requirements: {InlineJavascriptRequirement: {}}
doc: "costs $(1 + 1) and ${ nothing }"
inputs: {scene: File, n: int}
baseCommand: [echo, PLACE]
stdout: $(inputs.scene.nameroot).$(inputs["n"]).txt
outputs: {o: {type: stdout}}
"""
    monkeypatch.setattr("upscaling.algorithms.cwl.pin.tool_path", lambda: str(tmp_path))
    plain = tmp_path / "plain.cwl"
    plain.write_text(tool.replace("PLACE", "$(inputs.scene.path)"))
    assert not uses_javascript(read_json(pin_package(plain, tmp_path / "plan").path))
    for text in ("$(inputs.n + 1)", "${return 1;}", "a$(inputs.scene.path)b$(inputs.n * 2)"):
        plain.write_text(tool.replace("PLACE", json.dumps(text)))
        with pytest.raises(ConfigError, match="uses JavaScript expressions, but there is no `node` on PATH"):
            pin_package(plain, tmp_path / "plan")


def test_a_package_is_described_before_it_is_run(tmp_path: Path) -> None:
    algorithm = pin_package(f"{write_package(tmp_path / 'p')}#water", tmp_path / "plan")
    facts = describe_package(algorithm, {"limit": 3})
    assert json.loads(json.dumps(facts)) == facts
    sources = {name: entry["from"] for name, entry in facts["inputs"].items()}
    assert sources == {
        "area": "tile (eoap-bbox)",
        "mode": "default",
        "table": "default",
        "limit": "parameters",
        "day": "left out",
    }
    types = {name: entry["type"] for name, entry in facts["inputs"].items()}
    assert types == {"area": "BBox", "mode": "one of fast, slow", "table": "File", "limit": "int", "day": "Date"}
    assert facts["outputs"] == {"note": "File", "out": "File"}
    assert [tool["command"] for tool in facts["tools"].values()] == [["cat"], ["echo"]]
    assert (facts["images"], facts["images_required"], facts["javascript"]) == (["localhost/tool:1"], [], False)
    assert facts["problem"] is None
    assert "must be BBox, not null" in describe_package(algorithm, {"area": None})["problem"]
