# A small package that goes wrong on purpose: what a tile does stands in a file of its name in `orders`, which is read
# when the tile is run. Each run of the tool leaves a line in `orders/ran.log`.
cwlVersion: v1.2
$namespaces: {s: https://schema.org/}
s:softwareVersion: 0.1.0
$graph:
  - class: Workflow
    id: faults
    label: Faults
    doc: Does what it is told.
    inputs:
      tile: {type: string, label: Tile, doc: Its id.}
      bbox: {type: string, label: Bounding box, doc: In the units of epsg.}
      epsg: {type: string, label: CRS, doc: EPSG code.}
      orders: {type: string, label: Orders, doc: Folder with a file for each tile that is to go wrong.}
    outputs:
      result: {type: File, label: Raster, doc: Of ones., outputSource: tool/result}
    steps:
      tool:
        run: "#tool"
        in: {tile: tile, bbox: bbox, epsg: epsg, orders: orders}
        out: [result]
  - class: CommandLineTool
    id: tool
    requirements:
      InitialWorkDirRequirement:
        listing:
          - entryname: tool.py
            entry: |
              import os, sys, time
              from pathlib import Path

              tile, bbox, epsg, orders = sys.argv[1:]
              with Path(orders, "ran.log").open("a") as log:
                  log.write(tile + "\n")
              times = Path(orders, "ran.log").read_text().split().count(tile)
              path = Path(orders, tile)
              order, number = (path.read_text().split() if path.exists() else ["none", "0"])
              if order == "kill":  # what runs this tool
                  os.kill(os.getppid(), int(number))
              if order == "exit":
                  sys.exit("the sensor was asleep")
              if order == "memory" and times == 1:
                  held = b"x" * int(number) * 1_000_000
              while order == "wait" and path.exists():  # until the test takes the order back
                  time.sleep(0.2)
              import numpy
              import rasterio
              from rasterio.transform import from_bounds

              west, south, east, north = map(float, bbox.split(","))
              size = round((east - west) / 100)
              place = {"crs": epsg, "transform": from_bounds(west, south, east, north, size, size)}
              shape = {"width": size, "height": size, "count": 1, "dtype": "uint8"}
              with rasterio.open("ones.tif", "w", **place, **shape) as raster:
                  raster.write(numpy.ones((1, size, size), "uint8"))
    baseCommand: [python, tool.py]
    inputs:
      tile: {type: string, inputBinding: {position: 1}}
      # as one argument behind an option it could start with a minus; here the area is in the north-east
      bbox: {type: string, inputBinding: {position: 2}}
      epsg: {type: string, inputBinding: {position: 3}}
      orders: {type: string, inputBinding: {position: 4}}
    outputs:
      result: {type: File, outputBinding: {glob: ones.tif}}
