# An OGC application package (20-089r1): NDVI of one tile of a Sentinel-2 like scene, as a STAC catalogue.
#
#   cwltool --no-container ndvi.cwl#ndvi ndvi/example.yml     (or toil-cwl-runner)
#
# The program travels inside the package (InitialWorkDirRequirement), so the checksum of the pinned package covers it,
# and the image, or the Python on PATH where no container runs, needs rasterio, numpy and pystac only.
cwlVersion: v1.2
$namespaces:
  s: https://schema.org/
s:softwareVersion: 0.1.0
s:license: Apache-2.0
s:keywords: [NDVI, vegetation, Sentinel-2]

$graph:
  - class: Workflow
    id: ndvi
    label: NDVI of a tile
    doc: >-
      Normalised difference vegetation index, (NIR - red) / (NIR + red), of a Sentinel-2 like scene inside one
      rectangle: a float32 COG with exactly the rectangle's bounds, NaN where there is no data, in a STAC catalogue.
    requirements: {}
    inputs:
      scene:
        label: Scene
        doc: A STAC catalogue of items with one asset per band, or one GeoTIFF with all bands.
        type: [Directory, File]
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
      red:
        label: Red band
        doc: Name of the red band, B04 in Sentinel-2.
        type: string
        default: B04
      nir:
        label: Near infrared band
        doc: Name of the near infrared band, B08 in Sentinel-2.
        type: string
        default: B08
      bands:
        label: Bands of a GeoTIFF
        doc: Names of the bands of a GeoTIFF scene, in file order. A STAC catalogue names its bands itself.
        type: string[]
        default: [B04, B03, B02, B08, SCL]
      mask:
        label: Masked classes
        doc: Classes of the scene classification band (SCL) that become NaN, for example 3, 8, 9 and 10 for clouds.
        type: int[]?
      datetime:
        label: Time of a GeoTIFF
        doc: When a GeoTIFF scene was taken, RFC 3339. A STAC catalogue says it itself.
        type: string?
    outputs:
      result:
        label: NDVI
        doc: A STAC catalogue with one item, whose asset `ndvi` is a COG; without an item where the tile has no data.
        type: Directory
        outputSource: index/catalogue
    steps:
      index:
        run: "#index"
        in:
          scene: scene
          bbox: bbox
          epsg: epsg
          resolution: resolution
          red: red
          nir: nir
          bands: bands
          mask: mask
          datetime: datetime
        out: [catalogue]

  - class: CommandLineTool
    id: index
    label: Normalised difference index
    doc: Runs ndvi.py on one tile.
    hints:
      DockerRequirement:
        dockerPull: localhost/eo-upscaling-ndvi:0.1.0 # built from ndvi/Containerfile
    requirements:
      ResourceRequirement:
        coresMin: 1
        coresMax: 1
        ramMin: 512
        ramMax: 1024
      NetworkAccess:
        networkAccess: true # assets of a STAC catalogue may be remote
      InitialWorkDirRequirement:
        listing:
          - entryname: ndvi.py
            entry: {$include: ndvi/ndvi.py}
    baseCommand: [python, ndvi.py]
    arguments:
      - prefix: --out
        valueFrom: ndvi
    inputs:
      scene: {type: [Directory, File], inputBinding: {prefix: --scene}}
      # glued to its prefix: a western longitude starts with a minus and would be read as an option
      bbox: {type: string, inputBinding: {prefix: --bbox=, separate: false}}
      epsg: {type: string, inputBinding: {prefix: --epsg}}
      resolution: {type: double, inputBinding: {prefix: --resolution}}
      red: {type: string, inputBinding: {prefix: --red}}
      nir: {type: string, inputBinding: {prefix: --nir}}
      bands: {type: "string[]", inputBinding: {prefix: --bands, itemSeparator: ","}}
      mask: {type: "int[]?", inputBinding: {prefix: --mask, itemSeparator: ","}}
      datetime: {type: "string?", inputBinding: {prefix: --datetime}}
    outputs:
      catalogue:
        type: Directory
        outputBinding: {glob: ndvi}
