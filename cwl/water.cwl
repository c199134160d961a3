# An OGC application package (20-089r1) of four tools: how often there was water in a tile, from staged STAC items.
#
# crop (per item and band) -> index (per item) -> threshold (per item) -> stac (all items): a scatter over the items,
# around a scatter over the bands, and a fan-in. Every tool is a step of its own, which Toil can submit as a job.
cwlVersion: v1.2
$namespaces:
  s: https://schema.org/
s:softwareVersion: 0.1.0
s:license: Apache-2.0
s:keywords: [NDWI, water, Sentinel-2]

$graph:
  - class: Workflow
    id: water
    label: Water of a tile
    doc: >-
      In how many of a hundred observations the normalised difference water index, (green - NIR) / (green + NIR), of a
      pixel exceeded a threshold; a uint8 COG with exactly the tile's bounds, 255 where nothing was observed.
    requirements: {ScatterFeatureRequirement: {}, SubworkflowFeatureRequirement: {}}
    inputs:
      items:
        label: Items
        doc: STAC items, each staged as a catalogue with one asset per band.
        type: Directory[]
      bbox:
        label: Bounding box
        doc: West, south, east and north edge, comma-separated, in the units of `epsg` and on its pixel lattice.
        type: string
      epsg:
        label: CRS of the tile
        doc: EPSG code of the bounding box and of the output, as EPSG:32632.
        type: string
      resolution:
        label: Pixel size
        doc: Side of an output pixel in the units of `epsg`.
        type: double
        default: 10.0
      bands:
        label: Bands
        doc: Asset keys of the green and the near infrared band.
        type: string[]
        default: [B03, B08]
      above:
        label: Threshold
        doc: The index above which a pixel is water.
        type: double
        default: 0.0
    outputs:
      result:
        label: Water
        doc: A STAC catalogue with one item, whose asset `water` is a COG; without an item where there is no data.
        type: Directory
        outputSource: stac/catalogue
    steps:
      detect:
        run: "#detect"
        in: {item: items, bbox: bbox, epsg: epsg, resolution: resolution, bands: bands, above: above}
        out: [mask]
        scatter: item
        scatterMethod: dotproduct
      stac:
        run: "#stac"
        in: {items: items, masks: detect/mask}
        out: [catalogue]

  - class: Workflow
    id: detect
    label: Water of one item
    doc: Crop the bands, make the index of them, and compare it with the threshold.
    requirements: {ScatterFeatureRequirement: {}}
    inputs:
      item: {type: Directory, label: Item, doc: One staged item.}
      bbox: {type: string, label: Bounding box, doc: As above.}
      epsg: {type: string, label: CRS, doc: As above.}
      resolution: {type: double, label: Pixel size, doc: As above.}
      bands: {type: "string[]", label: Bands, doc: As above.}
      above: {type: double, label: Threshold, doc: As above.}
    outputs:
      mask: {type: File, label: Mask, doc: 1 for water., outputSource: threshold/mask}
    steps:
      crop:
        run: "#crop"
        in: {item: item, bbox: bbox, epsg: epsg, resolution: resolution, band: bands}
        out: [cropped]
        scatter: band
        scatterMethod: dotproduct
      index:
        run: "#index"
        in: {rasters: crop/cropped}
        out: [index]
      threshold:
        run: "#threshold"
        in: {raster: index/index, above: above}
        out: [mask]

  - class: CommandLineTool
    id: crop
    label: Crop
    doc: One band of one item on the tile's own pixels.
    hints:
      DockerRequirement:
        dockerPull: localhost/eo-upscaling-ndvi:0.1.0 # built from ndvi/Containerfile; it has all that is needed
    requirements:
      ResourceRequirement: {coresMin: 1, coresMax: 1, ramMin: 512, ramMax: 1024}
      InitialWorkDirRequirement:
        listing:
          - entryname: water.py
            entry: {$include: water/water.py}
    baseCommand: [python, water.py, crop]
    inputs:
      item: {type: Directory, inputBinding: {prefix: --item}}
      # glued to its prefix: a western longitude starts with a minus and would be read as an option
      bbox: {type: string, inputBinding: {prefix: --bbox=, separate: false}}
      epsg: {type: string, inputBinding: {prefix: --epsg}}
      resolution: {type: double, inputBinding: {prefix: --resolution}}
      band: {type: string, inputBinding: {prefix: --band}}
    outputs:
      cropped: {type: File, outputBinding: {glob: crop.tif}}

  - class: CommandLineTool
    id: index
    label: Index
    doc: Normalised difference of two rasters.
    hints:
      DockerRequirement:
        dockerPull: localhost/eo-upscaling-ndvi:0.1.0 # built from ndvi/Containerfile; it has all that is needed
    requirements:
      ResourceRequirement: {coresMin: 1, coresMax: 1, ramMin: 512, ramMax: 1024}
      InitialWorkDirRequirement:
        listing:
          - entryname: water.py
            entry: {$include: water/water.py}
    baseCommand: [python, water.py, index]
    inputs:
      rasters: {type: "File[]", inputBinding: {position: 1}}
    outputs:
      index: {type: File, outputBinding: {glob: index.tif}}

  - class: CommandLineTool
    id: threshold
    label: Threshold
    doc: Where a raster is above a value.
    hints:
      DockerRequirement:
        dockerPull: localhost/eo-upscaling-ndvi:0.1.0 # built from ndvi/Containerfile; it has all that is needed
    requirements:
      ResourceRequirement: {coresMin: 1, coresMax: 1, ramMin: 512, ramMax: 1024}
      InitialWorkDirRequirement:
        listing:
          - entryname: water.py
            entry: {$include: water/water.py}
    baseCommand: [python, water.py, threshold]
    inputs:
      above: {type: double, inputBinding: {prefix: --above=, separate: false}}
      raster: {type: File, inputBinding: {position: 1}}
    outputs:
      mask: {type: File, outputBinding: {glob: mask.tif}}

  - class: CommandLineTool
    id: stac
    label: STAC
    doc: The masks of all items as one raster, in a STAC catalogue.
    hints:
      DockerRequirement:
        dockerPull: localhost/eo-upscaling-ndvi:0.1.0 # built from ndvi/Containerfile; it has all that is needed
    requirements:
      ResourceRequirement: {coresMin: 1, coresMax: 1, ramMin: 512, ramMax: 1024}
      InitialWorkDirRequirement:
        listing:
          - entryname: water.py
            entry: {$include: water/water.py}
    baseCommand: [python, water.py, stac]
    inputs:
      items: {type: {type: array, items: Directory, inputBinding: {prefix: --item}}}
      masks: {type: {type: array, items: File, inputBinding: {prefix: --mask}}}
    outputs:
      catalogue: {type: Directory, outputBinding: {glob: .}}
