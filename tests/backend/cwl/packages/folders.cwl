# Folders of one name from a scatter, inside a workflow inside a scatter: each holds what the others do not.
cwlVersion: v1.2
$graph:
  - class: Workflow
    id: main
    requirements: {ScatterFeatureRequirement: {}, SubworkflowFeatureRequirement: {}, MultipleInputFeatureRequirement: {}}
    inputs:
      bbox: string
      words: string[]
      others: {type: "string[]?"}
      note: File?
      notes: {type: "File[]", default: []}
    outputs:
      each: {type: "Directory[]", outputSource: made/folder}
      texts: {type: "File[]", outputSource: made/text}
      all: {type: Directory, outputSource: gathered/folder}
    steps:
      made:
        run: "#inner"
        scatter: word
        in: {word: words, note: note}
        out: [folder, text]
      gathered:
        run: "#gather"
        in: {folders: made/folder, others: others, notes: notes}
        out: [folder]
  - class: Workflow
    id: inner
    inputs: {word: string, note: File?}
    outputs:
      folder: {type: Directory, outputSource: make/folder}
      text: {type: File, outputSource: make/text}
    steps:
      make: {run: "#make", in: {word: word, note: note}, out: [folder, text]}
  - class: CommandLineTool
    id: make
    baseCommand: [sh, -c, "mkdir output; echo $0 > output/$0.txt; echo $0 > result.txt; cat ${1:-/dev/null} >> result.txt"]
    inputs:
      word: {type: string, inputBinding: {position: 1}}
      note: {type: File?, inputBinding: {position: 2}}
    outputs:
      folder: {type: Directory, outputBinding: {glob: output}}
      text: {type: File, outputBinding: {glob: result.txt}}
  - class: CommandLineTool
    id: gather
    requirements: {ShellCommandRequirement: {}}
    baseCommand: [sh, -c, 'mkdir output; n=0; for d in "$@"; do n=$((n+1)); cp -rL "$d" output/$n; done; true', sh]
    inputs:
      folders: {type: "Directory[]", inputBinding: {position: 1}}
      others: {type: "string[]?"}
      notes: {type: "File[]", inputBinding: {position: 2}}
    outputs:
      folder: {type: Directory, outputBinding: {glob: .}}
