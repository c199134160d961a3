// The map: land outline or the operator's base map, an area that can be drawn, tiles by state, a raster on top.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { outlines as outlinesOf } from "./land.js";
import { t } from "./texts.js";
import { FILL, Tiles, written } from "./tiles.js";

const NO_DATA = { type: "FeatureCollection", features: [] };

// The map is drawn without land rather than not at all.
async function landOutline() {
  const [{ geometry }] = await outlinesOf("land").catch(() => [{ geometry: NO_DATA }]);
  return geometry;
}

const scheme = matchMedia("(prefers-color-scheme: dark)");

// Of each layer the property and its colour, in the light and in the dark.
const COLOURS = {
  sea: ["background-color", "#dfe9f1", "#14202b"],
  land: ["fill-color", "#f7f5ef", "#22303c"],
  coast: ["line-color", "#aab7c2", "#45586a"],
};

function colourOf(layer) {
  const [property, light, dark] = COLOURS[layer] ?? ["line-color", written("area"), written("area-dark")];
  return { [property]: scheme.matches ? dark : light };
}

async function styleOf(basemap) {
  if (basemap) return basemap;
  return {
    version: 8,
    transition: { duration: 0, delay: 0 },
    sources: { land: { type: "geojson", data: await landOutline() } },
    layers: [
      { id: "sea", type: "background", paint: colourOf("sea") },
      { id: "land", type: "fill", source: "land", paint: colourOf("land") },
      { id: "coast", type: "line", source: "land", paint: colourOf("coast") },
    ],
  };
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

function around(one, other) {
  if (!one || !other) return one ?? other;
  if (one[2] - one[0] > 180 || other[2] - other[0] > 180) return one; // around the antimeridian
  return [Math.min(one[0], other[0]), Math.min(one[1], other[1]), Math.max(one[2], other[2]), Math.max(one[3], other[3])];
}

// `outlines`: rings per tile, or null. `states`: [[number, state], …]; only these are changed.
export function Map({ basemap, outlines, states, area, chosen, rasters, drawing, caption, onDrawn, onTile, onPointer }) {
  const box = useRef(null);
  const map = useRef(null);
  const draw = useRef(null);
  const known = useRef({});
  const tiles = useRef(null);
  const shown = useRef(null);
  const [ready, setReady] = useState(false);
  const [failed, setFailed] = useState(null);
  const [turn, setTurn] = useState(0);
  const fitted = useRef(null); // what the map was put around, until somebody moves it
  const handlers = useRef({});
  handlers.current = { onTile, onPointer, onDrawn };

  // the system turns dark in the evening, while the page is open
  useEffect(() => {
    if (!ready) return;
    const changed = () => {
      for (const layer of [...(basemap ? [] : Object.keys(COLOURS)), "area"]) {
        for (const [property, colour] of Object.entries(colourOf(layer))) map.current.setPaintProperty(layer, property, colour);
      }
    };
    changed(); // it may have turned while the map was loaded
    scheme.addEventListener("change", changed);
    return () => scheme.removeEventListener("change", changed);
  }, [ready]);

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
        tiles.current = new Tiles();
        made.addLayer(tiles.current);
        made.addSource("area", { type: "geojson", data: NO_DATA });
        made.addLayer({ id: "area", type: "line", source: "area", paint: { ...colourOf("area"), "line-width": 2.5 } });
        made.on("click", (event) => {
          const tile = handlers.current.onTile ? tiles.current.at(event.lngLat) : null;
          if (tile !== null) handlers.current.onTile(tile);
          handlers.current.onPointer?.(event.lngLat); // a finger moves no pointer
        });
        made.on("webglcontextrestored", () => made.getLayer("tiles") || made.addLayer(tiles.current, "area"));
        made.on("movestart", (event) => event.originalEvent && (fitted.current = null));
        made.on("resize", () => fitted.current && made.fitBounds(...fitted.current)); // a phone that is turned
        made.on("mousemove", (event) => handlers.current.onPointer?.(event.lngLat));
        Object.assign(box.current, { map: made, tiles: tiles.current }); // for tests, which ask what is shown
        setReady(true);
      });
    })().catch(() => stopped || setFailed(t("error.map")));
    return () => {
      stopped = true;
      map.current?.remove();
      map.current = null;
    };
  }, [turn]);

  function fit(bounds, padding) {
    fitted.current = [bounds, { padding, duration: 0, maxZoom: 13 }];
    map.current.fitBounds(...fitted.current);
  }

  // Changes may come before the map is ready: all that is known is kept, and goes with the tiles when they are shown.
  useEffect(() => {
    for (const [id, name] of states ?? []) known.current[id] = name;
    if (ready && states && shown.current === outlines) tiles.current.change(states);
  }, [states]);

  useEffect(() => {
    if (!ready) return;
    const data = area ? { type: "Feature", properties: {}, geometry: area } : NO_DATA;
    map.current.getSource("area").setData(data);
    const bounds = area && boundsOf(area);
    if (bounds) fit(bounds, 60);
  }, [ready, area]);

  // after the area, so that the map shows both
  useEffect(() => {
    if (!ready) return;
    shown.current = outlines;
    tiles.current.show(outlines ?? [], known.current);
    const seen = around(tiles.current.bounds, area && boundsOf(area));
    if (tiles.current.bounds && seen) fit(seen, 40);
  }, [ready, outlines]);

  useEffect(() => {
    if (ready) tiles.current.choose(chosen ?? null);
  }, [ready, chosen]);

  // The first one lies below: `rasters` are [{ url, bounds, opacity }, …], or null.
  const addresses = rasters?.map((one) => one.url).join(" ") ?? "";
  useEffect(() => {
    if (!ready || addresses === "") return;
    const canvas = map.current;
    rasters.forEach(({ url, bounds, opacity }, place) => {
      canvas.addSource(`raster-${place}`, { type: "raster", tiles: [url], tileSize: 256, bounds });
      canvas.addLayer({ id: `raster-${place}`, type: "raster", source: `raster-${place}`, paint: { "raster-opacity": opacity } }, "tiles");
    });
    tiles.current.setFill(0); // the colours of states would be taken for values
    return () => {
      if (map.current === null) return; // removed with all that is on it
      tiles.current.setFill(FILL);
      rasters.forEach((_, place) => {
        if (canvas.getLayer(`raster-${place}`)) canvas.removeLayer(`raster-${place}`);
        if (canvas.getSource(`raster-${place}`)) canvas.removeSource(`raster-${place}`);
      });
    };
  }, [ready, addresses]);

  useEffect(() => {
    if (!ready) return;
    rasters?.forEach(({ opacity }, place) => {
      if (map.current.getLayer(`raster-${place}`)) map.current.setPaintProperty(`raster-${place}`, "raster-opacity", opacity);
    });
  }, [ready, addresses, rasters?.map((one) => one.opacity).join(" ")]);

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
    ${failed && html`<p class="notice error over" role="alert">${failed} ${failed === t("error.map") && html`<button class="link" onClick=${() => { setFailed(null); setTurn(turn + 1); }}>${t("common.retry")}</button>`}</p>`}
  </div>`;
}
