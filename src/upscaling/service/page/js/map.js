// The map: land outline or the operator's base map, an area that can be drawn, tiles by state, a raster on top.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { t } from "./texts.js";

export const COLOURS = {
  created: "#9aa5b1",
  queued: "#e08a00",
  running: "#e3c500",
  finished: "#2e9e5b",
  canceled: "#5f6b76",
  failed: "#d03a3a",
};
const FILL = 0.55;
const NO_DATA = { type: "FeatureCollection", features: [] };

let land = null;

async function landOutline() {
  if (land === null) {
    const [{ feature }, topology] = await Promise.all([
      import("../vendor/topojson/index.js"),
      fetch("/page/vendor/land-110m.json").then((answer) => answer.json()),
    ]);
    land = feature(topology, topology.objects.land);
  }
  return land;
}

async function styleOf(basemap) {
  if (basemap) return basemap;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  return {
    version: 8,
    sources: { land: { type: "geojson", data: await landOutline() } },
    layers: [
      { id: "sea", type: "background", paint: { "background-color": dark ? "#14202b" : "#dfe9f1" } },
      { id: "land", type: "fill", source: "land", paint: { "fill-color": dark ? "#22303c" : "#f7f5ef" } },
      { id: "coast", type: "line", source: "land", paint: { "line-color": dark ? "#45586a" : "#aab7c2" } },
    ],
  };
}

// Failed tiles are hatched and running ones have a heavy outline: colours alone do not tell everybody.
function hatch() {
  const size = 8;
  const data = new Uint8Array(size * size * 4);
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++)
      if ((x + y) % size < 2) data.set([120, 0, 0, 255], (y * size + x) * 4);
  return { width: size, height: size, data };
}

// The state at the beginning lies in the feature itself, which is cheaper for many tiles; changes come as feature states.
const state = ["coalesce", ["feature-state", "state"], ["get", "state"]];
const colour = ["match", state];
for (const [name, value] of Object.entries(COLOURS)) colour.push(name, value);
colour.push(COLOURS.created);

function addTileLayers(map) {
  map.addImage("hatch", hatch());
  map.addSource("tiles", { type: "geojson", data: NO_DATA, tolerance: 0.2 });
  map.addLayer({ id: "tiles", type: "fill", source: "tiles", paint: { "fill-color": colour, "fill-opacity": FILL } });
  map.addLayer({
    id: "tiles-failed",
    type: "fill",
    source: "tiles",
    paint: {
      "fill-pattern": "hatch",
      "fill-opacity": ["case", ["==", state, "failed"], 0.9, 0],
    },
  });
  map.addLayer({
    id: "tiles-line",
    type: "line",
    source: "tiles",
    paint: {
      "line-color": ["case", ["boolean", ["feature-state", "chosen"], false], "#0b5cad", "#33414e"],
      "line-width": [
        "case",
        ["boolean", ["feature-state", "chosen"], false],
        3,
        ["==", state, "running"],
        2,
        0.5,
      ],
    },
  });
}

export function featuresOf(outlines, states = {}) {
  const features = [];
  outlines.forEach((rings, id) => {
    if (rings) features.push({ type: "Feature", id, properties: { state: states[id] ?? "created" }, geometry: { type: "MultiPolygon", coordinates: rings.map((ring) => [ring]) } });
  });
  return { type: "FeatureCollection", features };
}

export function boundsOf(collection) {
  let [west, south, east, north] = [180, 90, -180, -90];
  const visit = (value) => {
    if (typeof value[0] === "number") {
      west = Math.min(west, value[0]);
      east = Math.max(east, value[0]);
      south = Math.min(south, value[1]);
      north = Math.max(north, value[1]);
    } else value.forEach(visit);
  };
  const geometries = collection.type === "FeatureCollection" ? collection.features.map((one) => one.geometry) : [collection];
  geometries.forEach((geometry) => geometry && visit(geometry.coordinates));
  return west <= east ? [west, south, east, north] : null;
}

// `outlines`: rings per tile, or null. `states`: [[number, state], …]; only these are changed.
export function Map({ basemap, outlines, states, area, chosen, raster, drawing, caption, onDrawn, onTile, onPointer }) {
  const box = useRef(null);
  const map = useRef(null);
  const draw = useRef(null);
  const known = useRef({});
  const shown = useRef(null);
  const [ready, setReady] = useState(false);
  const [failed, setFailed] = useState(null);
  const handlers = useRef({});
  handlers.current = { onTile, onPointer, onDrawn };

  useEffect(() => {
    let stopped = false;
    (async () => {
      const maplibre = await import("../vendor/maplibre-gl.mjs");
      const style = await styleOf(basemap);
      if (stopped) return;
      let made;
      try {
        made = new maplibre.Map({ container: box.current, style, center: [10, 46], zoom: 3, attributionControl: false });
      } catch {
        setFailed(t("error.webgl"));
        return;
      }
      map.current = made;
      made.addControl(new maplibre.NavigationControl({ showCompass: false }), "top-right");
      made.addControl(new maplibre.ScaleControl(), "bottom-left");
      made.on("load", () => {
        if (stopped) return;
        addTileLayers(made);
        made.addSource("area", { type: "geojson", data: NO_DATA });
        made.addLayer({ id: "area", type: "line", source: "area", paint: { "line-color": "#0b5cad", "line-width": 2.5 } });
        made.on("click", "tiles", (event) => handlers.current.onTile?.(event.features[0].id));
        made.on("mousemove", (event) => handlers.current.onPointer?.(event.lngLat));
        box.current.map = made; // for tests, which ask the map what it shows
        setReady(true);
      });
    })().catch((error) => setFailed(error.message));
    return () => {
      stopped = true;
      map.current?.remove();
      map.current = null;
    };
  }, []);

  // Changes may come before the map is ready: all that is known is kept, and lies in the tiles when they are shown.
  useEffect(() => {
    for (const [id, name] of states ?? []) {
      known.current[id] = name;
      if (ready && shown.current === outlines) map.current.setFeatureState({ source: "tiles", id }, { state: name });
    }
  }, [states]);

  useEffect(() => {
    if (!ready) return;
    const data = outlines ? featuresOf(outlines, known.current) : NO_DATA;
    shown.current = outlines;
    map.current.removeFeatureState({ source: "tiles" });
    map.current.getSource("tiles").setData(data);
    const bounds = boundsOf(data);
    if (bounds && !area) map.current.fitBounds(bounds, { padding: 40, duration: 0, maxZoom: 13 });
  }, [ready, outlines]);

  useEffect(() => {
    if (!ready) return;
    const data = area ? { type: "Feature", properties: {}, geometry: area } : NO_DATA;
    map.current.getSource("area").setData(data);
    const bounds = area && boundsOf(area);
    if (bounds) map.current.fitBounds(bounds, { padding: 60, duration: 0, maxZoom: 13 });
  }, [ready, area]);

  useEffect(() => {
    if (!ready || chosen === null || chosen === undefined) return;
    map.current.setFeatureState({ source: "tiles", id: chosen }, { chosen: true });
    return () => map.current?.setFeatureState({ source: "tiles", id: chosen }, { chosen: false });
  }, [ready, chosen]);

  useEffect(() => {
    if (!ready) return;
    if (!raster) return;
    const canvas = map.current;
    canvas.addSource("raster", { type: "raster", tiles: [raster.url], tileSize: 256, bounds: raster.bounds });
    canvas.addLayer({ id: "raster", type: "raster", source: "raster", paint: { "raster-opacity": raster.opacity } }, "tiles-line");
    canvas.setPaintProperty("tiles", "fill-opacity", 0); // the colours of states would be taken for values
    return () => {
      if (map.current === null) return; // removed with all that is on it
      canvas.setPaintProperty("tiles", "fill-opacity", FILL);
      if (canvas.getLayer("raster")) canvas.removeLayer("raster");
      if (canvas.getSource("raster")) canvas.removeSource("raster");
    };
  }, [ready, raster?.url]);

  useEffect(() => {
    if (ready && raster && map.current.getLayer("raster"))
      map.current.setPaintProperty("raster", "raster-opacity", raster.opacity);
  }, [ready, raster?.opacity]);

  useEffect(() => {
    if (!ready || !drawing) return;
    let ended = false;
    (async () => {
      const [terra, adapter] = await Promise.all([
        import("../vendor/terra-draw.js"),
        import("../vendor/terra-draw-maplibre.js"),
      ]);
      if (ended) return;
      const tool = new terra.TerraDraw({
        adapter: new adapter.TerraDrawMapLibreGLAdapter({ map: map.current }),
        modes: [new terra.TerraDrawPolygonMode()],
      });
      draw.current = tool;
      tool.start();
      tool.setMode("polygon");
      tool.on("finish", (id) => {
        const made = tool.getSnapshot().find((one) => one.id === id);
        tool.clear();
        if (made) handlers.current.onDrawn?.(made.geometry);
      });
    })();
    return () => {
      ended = true;
      if (map.current !== null && draw.current?.enabled) draw.current.stop();
      draw.current = null;
    };
  }, [ready, drawing]);

  return html`<div class="map-frame">
    <div class="map" ref=${box} role="application" aria-label="Map" data-ready=${ready ? "yes" : "no"}></div>
    ${caption && html`<p class="caption">${caption}</p>`}
    ${failed && html`<p class="notice error" role="alert">${failed}</p>`}
  </div>`;
}
