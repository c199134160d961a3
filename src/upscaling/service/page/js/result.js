// The mosaic of a run as a layer of the map, with colours, legend, and the value under the pointer.
import { html, useEffect, useState } from "../vendor/preact.js";
import { get } from "./api.js";
import { Failed, LateInput, Notice, number, useLoaded } from "./parts.js";
import { t } from "./texts.js";

const RAMPS = ["viridis", "magma", "ylgn", "rdylgn", "blues", "greys"];

const shortened = (value) => (Number.isFinite(value) ? Number(value.toPrecision(5)) : value);

const nameOf = (mosaic) => mosaic.index.replace(/\.gti\.gpkg$/, "");

function rasterOf(run, mosaic, { low, high, colours }, opacity) {
  const query = new URLSearchParams({ asset: nameOf(mosaic), low, high, colours });
  return { url: `${location.origin}/v1/runs/${run}/map/{z}/{x}/{y}.png?${query}`, bounds: mosaic.bbox, opacity };
}

// The mosaic of another run that is to be compared: of the same asset and time step, or its first.
const likeIt = (mosaics, chosen) =>
  mosaics?.find((one) => one.asset === chosen.asset && one.step === chosen.step) ?? mosaics?.find((one) => one.asset === chosen.asset) ?? mosaics?.[0];

// Values under the pointer, a moment after it has come to rest.
function useValue(run, mosaic, pointer) {
  const [value, setValue] = useState(null);
  const asset = mosaic ? nameOf(mosaic) : null;
  useEffect(() => {
    if (!asset || !pointer) return;
    const stop = new AbortController();
    const wait = setTimeout(() => {
      const query = new URLSearchParams({ lon: pointer.lng, lat: pointer.lat, asset });
      get(`/v1/runs/${run}/value?${query}`, { signal: stop.signal }).then(setValue, () => setValue(null));
    }, 120);
    return () => {
      clearTimeout(wait);
      stop.abort();
    };
  }, [pointer?.lng, pointer?.lat, run, asset]);
  return mosaic && value?.values ? Object.values(value.values).map((one) => number(one, 4)).join(", ") : "–";
}

export function Result({ run, facts, pointer, onRasters }) {
  const mosaics = useLoaded((signal) => get(`/v1/runs/${run}/mosaics`, { signal }), [run, facts.phase, facts.counts.finished === facts.tiles]);
  const [layer, setLayer] = useState(0);
  const [colours, setColours] = useState("viridis");
  const [opacity, setOpacity] = useState(0.85);
  const [limits, setLimits] = useState(null);
  const [other, setOther] = useState(null);
  const [mix, setMix] = useState(0.5);
  const chosen = mosaics.value?.[layer];
  const others = useLoaded((signal) => (chosen ? get("/v1/runs", { signal }) : Promise.resolve([])), [run, Boolean(chosen)]);
  const theirs = useLoaded((signal) => (other === null ? Promise.resolve(null) : get(`/v1/runs/${other}/mosaics`, { signal })), [other]);
  const second = other === null || !chosen || theirs.loading ? null : likeIt(theirs.value, chosen) ?? null;
  const low = limits?.[0] ?? chosen?.low;
  const high = limits?.[1] ?? chosen?.high;
  const value = useValue(run, chosen, pointer);
  const otherValue = useValue(other, second, pointer);

  useEffect(() => {
    if (!chosen) {
      onRasters(null);
      return;
    }
    const scale = { low, high, colours }; // the same for both, or the eye would compare scales
    const first = rasterOf(run, chosen, scale, second ? opacity * (1 - mix) : opacity);
    onRasters(second ? [first, rasterOf(other, second, scale, opacity * mix)] : [first]);
  }, [chosen, second, mix, colours, opacity, low, high]);

  const set = (place) => (text) => {
    const next = [low, high];
    next[place] = Number(text.replace(",", "."));
    if (text && Number.isFinite(next[place])) setLimits(next);
  };
  if (!chosen) return html`<h2>${t("results.title")}</h2><p class="empty">${t(["ended", "stopped", "canceled"].includes(facts.phase) ? (facts.counts.finished > 0 ? "results.noMosaic" : "results.nothing") : "results.none")}</p>`;
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
      <label>${t("results.low")} <${LateInput} inputmode="decimal" value=${shortened(low)} onValue=${set(0)} /></label>
      <label>${t("results.high")} <${LateInput} inputmode="decimal" value=${shortened(high)} onValue=${set(1)} /></label>
    </div>
    <label>${t("results.opacity")} <input type="range" min="0" max="1" step="0.05" value=${opacity} onInput=${(event) => setOpacity(Number(event.target.value))} /></label>
    <label>${t("results.other")}
      <select onChange=${(event) => setOther(event.target.value === "" ? null : Number(event.target.value))}>
        <option value="" selected=${other === null}>${t("results.noOther")}</option>
        ${others.value?.filter((one) => one.id !== run && one.counts.finished > 0).map((one) => html`<option value=${one.id} selected=${one.id === other}>${one.title} (${one.id})</option>`)}
      </select>
    </label>
    ${other !== null && !theirs.loading && !second && html`<${Notice} kind="note">${t("results.otherNone")}<//>`}
    ${theirs.error && html`<${Failed} error=${theirs.error} retry=${theirs.retry} />`}
    ${second && html`<label>${t("results.mix")}
      <input type="range" min="0" max="1" step="0.05" value=${mix} onInput=${(event) => setMix(Number(event.target.value))} />
      <span class="row between ends"><small>${facts.title}</small><small>${others.value?.find((one) => one.id === other)?.title}</small></span>
    </label>`}
    <p>${t("results.value")}: <output>${value}</output>${second && html` · ${t("results.valueOther")}: <output>${otherValue}</output>`}</p>
    <ul>
      ${chosen.cog && html`<li><a href=${`${files}/${chosen.cog}`} download>${t("results.cog")}</a></li>`}
      <li><a href=${`${files}/${chosen.index}`} download>${t("results.index")}</a></li>
      <li><a href=${`/v1/runs/${run}/config`} download>${t("results.config")}</a></li>
      <li><a href=${`/v1/runs/${run}/collection`}>${t("results.collection")}</a></li>
      <li><a href=${`/v1/runs/${run}/files/items.parquet`} download>${t("results.items")}</a></li>
    </ul>`;
}
