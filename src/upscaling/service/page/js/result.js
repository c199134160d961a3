// The mosaic of a run as a layer of the map, with colours, legend, and the value under the pointer.
import { html, useEffect, useState } from "../vendor/preact.js";
import { get } from "./api.js";
import { number, useLoaded } from "./parts.js";
import { t } from "./texts.js";

const RAMPS = ["viridis", "magma", "ylgn", "rdylgn", "blues", "greys"];

const shortened = (value) => (Number.isFinite(value) ? Number(value.toPrecision(5)) : value);

export function Result({ run, facts, pointer, onRaster }) {
  const mosaics = useLoaded((signal) => get(`/v1/runs/${run}/mosaics`, { signal }), [run, facts.phase, facts.counts.finished === facts.tiles]);
  const [layer, setLayer] = useState(0);
  const [colours, setColours] = useState("viridis");
  const [opacity, setOpacity] = useState(0.85);
  const [limits, setLimits] = useState(null);
  const [value, setValue] = useState(null);
  const chosen = mosaics.value?.[layer];
  const name = chosen?.index.replace(/\.gti\.gpkg$/, "");
  const low = limits?.[0] ?? chosen?.low;
  const high = limits?.[1] ?? chosen?.high;

  useEffect(() => {
    if (!chosen) {
      onRaster(null);
      return;
    }
    const query = new URLSearchParams({ asset: name, low, high, colours });
    onRaster({ url: `${location.origin}/v1/runs/${run}/map/{z}/{x}/{y}.png?${query}`, bounds: chosen.bbox, opacity });
  }, [chosen, colours, opacity, low, high]);

  useEffect(() => {
    if (!chosen || !pointer) return;
    const stop = new AbortController();
    const wait = setTimeout(() => {
      const query = new URLSearchParams({ lon: pointer.lng, lat: pointer.lat, asset: name });
      get(`/v1/runs/${run}/value?${query}`, { signal: stop.signal }).then(setValue, () => setValue(null));
    }, 120);
    return () => {
      clearTimeout(wait);
      stop.abort();
    };
  }, [pointer?.lng, pointer?.lat, name]);

  const set = (place) => (event) => {
    const next = [low, high];
    next[place] = Number(event.target.value);
    setLimits(next);
  };
  if (!chosen) return html`<h2>${t("results.title")}</h2><p class="empty">${t("results.none")}</p>`;
  const files = `/v1/runs/${run}/files/mosaic`;
  return html`<h2>${t("results.title")}</h2>
    <label>${t("results.layer")}
      <select value=${layer} onChange=${(event) => { setLayer(Number(event.target.value)); setLimits(null); }}>
        ${mosaics.value.map((one, place) => html`<option value=${place}>${one.asset} ${one.step}</option>`)}
      </select>
    </label>
    ${mosaics.value.length > 1 && html`<input type="range" aria-label=${t("results.layer")} min="0" max=${mosaics.value.length - 1} value=${layer} onInput=${(event) => setLayer(Number(event.target.value))} />`}
    <label>${t("results.colours")} <select onChange=${(event) => setColours(event.target.value)}>${RAMPS.map((one) => html`<option value=${one} selected=${one === colours}>${one}</option>`)}</select></label>
    <div class=${`ramp ${colours}`} role="img" aria-label=${`${number(low)} – ${number(high)}`}></div>
    <div class="row pair">
      <label>${t("results.low")} <input type="number" step="any" value=${shortened(low)} onChange=${set(0)} /></label>
      <label>${t("results.high")} <input type="number" step="any" value=${shortened(high)} onChange=${set(1)} /></label>
    </div>
    <label>${t("results.opacity")} <input type="range" min="0" max="1" step="0.05" value=${opacity} onInput=${(event) => setOpacity(Number(event.target.value))} /></label>
    <p>${t("results.value")}: <output>${value?.values ? Object.values(value.values).map((one) => number(one, 4)).join(", ") : "–"}</output></p>
    <ul>
      ${chosen.cog && html`<li><a href=${`${files}/${chosen.cog}`} download>${t("results.cog")}</a></li>`}
      <li><a href=${`${files}/${chosen.index}`} download>${t("results.index")}</a></li>
      <li><a href=${`/v1/runs/${run}/config`} download>${t("results.config")}</a></li>
      <li><a href=${`/v1/runs/${run}/collection`}>${t("results.collection")}</a></li>
      <li><a href=${`/v1/runs/${run}/files/items.parquet`} download>${t("results.items")}</a></li>
    </ul>`;
}
