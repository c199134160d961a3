# A package of one step that waits and writes a small raster: what a tile costs beside its own work can be told apart.
cwlVersion: v1.2
$namespaces: {s: https://schema.org/}
s:softwareVersion: 0.1.0
$graph:
  - class: Workflow
    id: wait
    label: Wait
    doc: Waits, then writes ones.
    inputs:
      seconds: {type: string, label: Seconds, doc: How long.}
      bbox: {type: string, label: Bounding box, doc: In the units of epsg.}
      epsg: {type: string, label: CRS, doc: EPSG code.}
    outputs:
      result: {type: File, label: Raster, doc: Of ones., outputSource: tool/result}
    steps:
      tool:
        run: "#tool"
        in: {seconds: seconds, bbox: bbox, epsg: epsg}
        out: [result]
  - class: CommandLineTool
    id: tool
    requirements:
      InitialWorkDirRequirement:
        listing:
          - entryname: wait.py
            entry: {$include: wait.py}
    baseCommand: [python, wait.py]
    inputs:
      seconds: {type: string, inputBinding: {position: 1}}
      bbox: {type: string, inputBinding: {position: 2, prefix: --bbox=, separate: false}}
      epsg: {type: string, inputBinding: {position: 3}}
    outputs:
      result: {type: File, outputBinding: {glob: ones.tif}}
