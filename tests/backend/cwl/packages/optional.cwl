# Every input but the tile's may be left out, also of the workflow inside; so may an output. One has a secondary file.
cwlVersion: v1.2
$graph:
  - class: Workflow
    id: main
    requirements: {SubworkflowFeatureRequirement: {}}
    inputs:
      bbox: string
      file: File?
      folder: Directory?
      files: File[]?
      numbers: {type: ["null", {type: array, items: [int, "null"]}]}
      level: {type: ["null", {type: enum, symbols: [low, high]}]}
      pair: {type: ["null", {type: record, fields: {a: int, b: "string?"}}]}
    outputs:
      text: {type: File, secondaryFiles: [.aux], outputSource: inner/text}
      copy: {type: Directory?, outputSource: inner/copy}
    steps:
      inner:
        run: "#inner"
        in: {bbox: bbox, file: file, folder: folder, files: files, numbers: numbers, level: level, pair: pair}
        out: [text, copy]
  - class: Workflow
    id: inner
    inputs:
      bbox: string
      file: File?
      folder: Directory?
      files: File[]?
      numbers: {type: ["null", {type: array, items: [int, "null"]}]}
      level: {type: ["null", {type: enum, symbols: [low, high]}]}
      pair: {type: ["null", {type: record, fields: {a: int, b: "string?"}}]}
    outputs:
      text: {type: File, secondaryFiles: [.aux], outputSource: tool/text}
      copy: {type: Directory?, outputSource: tool/copy}
    steps:
      tool:
        run: "#tool"
        in: {file: file, folder: folder, files: files, numbers: numbers, level: level, pair: pair}
        out: [text, copy]
  - class: CommandLineTool
    id: tool
    baseCommand: [sh, -c, 'echo "$@" > text.txt; echo $# > text.txt.aux; [ -z "$FOLDER" ] || cp -rL "$FOLDER" copy', sh]
    requirements:
      InlineJavascriptRequirement: {}
      EnvVarRequirement: {envDef: {FOLDER: '$(inputs.folder ? inputs.folder.path : "")'}}
    inputs:
      file: {type: File?, inputBinding: {position: 1, valueFrom: $(self.basename)}}
      folder: Directory?
      files: {type: "File[]?", inputBinding: {position: 2, valueFrom: "$(self.map(function (f) { return f.basename; }))"}}
      numbers: {type: ["null", {type: array, items: [int, "null"]}], inputBinding: {position: 3, itemSeparator: "+"}}
      level: {type: ["null", {type: enum, symbols: [low, high]}], inputBinding: {position: 4}}
      pair: {type: ["null", {type: record, fields: {a: int, b: "string?"}}], inputBinding: {position: 5, valueFrom: $(self.a)}}
    outputs:
      text: {type: File, secondaryFiles: [.aux], outputBinding: {glob: text.txt}}
      copy: {type: Directory?, outputBinding: {glob: copy}}
