# One shell command, given by the test.
cwlVersion: v1.2
class: CommandLineTool
requirements: {ToolTimeLimit: {timelimit: 60}}
inputs: {bbox: string, command: {type: string, inputBinding: {}}}
baseCommand: [sh, -c]
outputs: {out: {type: Directory, outputBinding: {glob: out}}}
