# Two steps; the second waits for a file. Each leaves a line in a journal, so that a test can count how often it ran.
cwlVersion: v1.2
class: Workflow
id: slow
requirements: {}
inputs: {bbox: string, journal: string, go: string}
outputs: {out: {type: File, outputSource: second/out}}
steps:
  first:
    in: {journal: journal}
    out: [out]
    run:
      class: CommandLineTool
      inputs: {journal: {type: string, inputBinding: {position: 1}}}
      baseCommand: [sh, -c, "echo first >> \"$0\"; echo one"]
      stdout: first.txt
      outputs: {out: {type: stdout}}
  second:
    in: {before: first/out, journal: journal, go: go}
    out: [out]
    run:
      class: CommandLineTool
      inputs:
        before: {type: File, inputBinding: {position: 3}}
        journal: {type: string, inputBinding: {position: 1}}
        go: {type: string, inputBinding: {position: 2}}
      baseCommand: [sh, -c, "echo second $$ >> \"$0\"; while [ ! -e \"$1\" ]; do sleep 0.2; done; cat \"$2\"; echo two"]
      stdout: second.txt
      outputs: {out: {type: stdout}}
