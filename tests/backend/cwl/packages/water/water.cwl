# Four tools in the shape that such packages have: a scatter over items around a scatter over bands, then a fan-in.
# crop (per item and band) -> index (per item) -> threshold (per item) -> STAC catalogue. All outputs have fixed names.
cwlVersion: v1.0
$namespaces: {s: "https://schema.org/"}
s:softwareVersion: 2.0.1
$graph:
  - class: Workflow
    id: water
    label: Water bodies
    doc: Where the index of two bands exceeds a threshold, for each item.
    requirements: {ScatterFeatureRequirement: {}, SubworkflowFeatureRequirement: {}}
    inputs:
      aoi: {type: string, label: area of interest, doc: area of interest as a bounding box}
      epsg: {type: string, label: EPSG code, doc: EPSG code, default: "EPSG:4326"}
      items: {type: "Directory[]", label: items, doc: staged STAC items}
      bands: {type: "string[]", label: bands, doc: bands of the index, default: [B03, B08]}
    outputs:
      catalogue: {type: Directory, outputSource: stac/catalogue, label: STAC, doc: STAC}
    steps:
      detect:
        run: "#detect"
        in: {item: items, aoi: aoi, epsg: epsg, bands: bands}
        out: [mask]
        scatter: item
        scatterMethod: dotproduct
      stac: {run: "#stac", in: {items: items, masks: detect/mask}, out: [catalogue]}
  - class: Workflow
    id: detect
    requirements: {ScatterFeatureRequirement: {}}
    inputs: {item: Directory, aoi: string, epsg: string, bands: "string[]"}
    outputs: {mask: {type: File, outputSource: threshold/mask}}
    steps:
      crop:
        run: "#crop"
        in: {item: item, aoi: aoi, epsg: epsg, band: bands}
        out: [cropped]
        scatter: band
        scatterMethod: dotproduct
      index: {run: "#index", in: {rasters: crop/cropped}, out: [index]}
      threshold: {run: "#threshold", in: {raster: index/index}, out: [mask]}
  - class: CommandLineTool
    id: crop
    requirements:
      InlineJavascriptRequirement: {}
      InitialWorkDirRequirement: {listing: [{entryname: water.py, entry: {$include: water.py}}]}
      ResourceRequirement: {coresMax: 1, ramMax: 512}
    hints: {DockerRequirement: {dockerPull: "localhost/water:1"}}
    baseCommand: [python, water.py, crop]
    inputs:
      item: {type: Directory, inputBinding: {prefix: --item}}
      aoi: {type: string, inputBinding: {prefix: "--aoi=", separate: false}}
      epsg: {type: string, inputBinding: {prefix: --epsg}}
      band: {type: string, inputBinding: {prefix: --band}}
    outputs: {cropped: {type: File, outputBinding: {glob: out.tif}}}
  - class: CommandLineTool
    id: index
    requirements:
      InlineJavascriptRequirement: {}
      InitialWorkDirRequirement: {listing: [{entryname: water.py, entry: {$include: water.py}}]}
      ResourceRequirement: {coresMax: 1, ramMax: 512}
    hints: {DockerRequirement: {dockerPull: "localhost/water:1"}}
    baseCommand: [python, water.py, index]
    inputs: {rasters: {type: "File[]", inputBinding: {prefix: --rasters}}}
    outputs: {index: {type: File, outputBinding: {glob: "*.tif"}}}
  - class: CommandLineTool
    id: threshold
    requirements:
      InlineJavascriptRequirement: {}
      InitialWorkDirRequirement: {listing: [{entryname: water.py, entry: {$include: water.py}}]}
      ResourceRequirement: {coresMax: 1, ramMax: 512}
    hints: {DockerRequirement: {dockerPull: "localhost/water:1"}}
    baseCommand: [python, water.py, threshold]
    inputs: {raster: {type: File, inputBinding: {prefix: --rasters}}}
    outputs: {mask: {type: File, outputBinding: {glob: "*.tif"}}}
  - class: CommandLineTool
    id: stac
    requirements:
      InlineJavascriptRequirement: {}
      InitialWorkDirRequirement: {listing: [{entryname: water.py, entry: {$include: water.py}}]}
      ResourceRequirement: {coresMax: 1, ramMax: 512}
    hints: {DockerRequirement: {dockerPull: "localhost/water:1"}}
    baseCommand: [python, water.py, stac]
    inputs:
      items: {type: {type: array, items: Directory, inputBinding: {prefix: --item}}}
      masks: {type: {type: array, items: File, inputBinding: {prefix: --rasters}}}
    outputs: {catalogue: {type: Directory, outputBinding: {glob: .}}}
