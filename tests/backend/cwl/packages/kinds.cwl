# One step with every kind of input and output that packages in the wild have; plain shell, no container.
cwlVersion: v1.0
$graph:
  - class: Workflow
    id: main
    label: Kinds
    doc: Kinds of inputs and outputs.
    inputs:
      aoi: {type: File, doc: The tile as GeoJSON.}
      epsg: int
      names: string[]
      limit: int?
      folder: Directory
      extra: File[]?
    outputs:
      catalogue: {type: Directory, outputSource: step/catalogue}
      everything: {type: Directory, outputSource: step/everything}
      report: {type: File, outputSource: step/report}
      parts: {type: "File[]", outputSource: step/parts}
      left_out: {type: File?, outputSource: step/left_out}
    steps:
      step:
        in: {aoi: aoi, epsg: epsg, names: names, limit: limit, folder: folder, extra: extra}
        out: [catalogue, everything, report, parts, left_out]
        run:
          class: CommandLineTool
          requirements: {ShellCommandRequirement: {}, InlineJavascriptRequirement: {}}
          hints: {DockerRequirement: {dockerPull: "localhost/none:1"}}
          inputs:
            aoi: {type: File, inputBinding: {position: 1}}
            epsg: {type: int, inputBinding: {position: 2}}
            folder: {type: Directory, inputBinding: {position: 3}}
            limit: {type: int?, inputBinding: {position: 5, prefix: --limit}}
            extra: {type: "File[]?", inputBinding: {position: 6}}
            names: {type: "string[]", inputBinding: {position: 7}}
          baseCommand: [sh, -c]
          arguments:
            - position: 0
              valueFrom: |
                mkdir output parts && cp "$1" output/tile.txt && echo "$2" > report.txt && cp -r "$3"/. output
                shift 3; echo "$*" >> report.txt; echo "$OF_A_MODULE" > output/env
                for n in a b; do echo $n > parts/$n.txt; done
            - {position: 0, valueFrom: sh}
            - {position: 8, valueFrom: "${ return inputs.names.length * 21; }"}
          outputs:
            catalogue: {type: Directory, outputBinding: {glob: output}}
            everything: {type: Directory, outputBinding: {glob: .}}
            report: {type: File, outputBinding: {glob: report.txt}}
            parts: {type: "File[]", outputBinding: {glob: "parts/*.txt"}}
            left_out: {type: File?, outputBinding: {glob: nothing}}
