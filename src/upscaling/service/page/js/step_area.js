// Step 2: area, grid and time.
import { html, useEffect, useState } from "../vendor/preact.js";
import { call, get, post, tooLarge } from "./api.js";
import { outlines } from "./land.js";
import { Map } from "./map.js";
import { LateInput, Notice, number, useLoaded } from "./parts.js";
import { change, useTyped } from "./state.js";
import { counted, t } from "./texts.js";

async function loadCountries() {
  const found = await outlines("countries");
  return [...found].sort((a, b) => a.name.localeCompare(b.name));
}

// A box of four numbers: its geometry, or the sentence that says what is wrong with it.
function boxOf(text) {
  const edges = text.split(/[\s,;]+/).filter(Boolean).map(Number);
  if (edges.length !== 4 || edges.some((edge) => !Number.isFinite(edge))) return { problem: t("area.badBox") };
  const [west, south, east, north] = edges;
  if (Math.abs(south) > 90 || Math.abs(north) > 90 || Math.abs(west) > 360 || Math.abs(east) > 360) return { problem: t("area.noBox") };
  if (south >= north) return { problem: t("area.southNorth", { south, north }) };
  const past = west > east ? east + 360 : east; // over the antimeridian
  return { geometry: { type: "Polygon", coordinates: [[[west, south], [past, south], [past, north], [west, north], [west, south]]] } };
}

// A refusal belongs beside the field that it is about.
function placed({ key, reason, message }) {
  const at = ["grid", "time"].find((field) => key?.split(".").includes(field)) ?? "tiles";
  return { at, text: reason ?? message };
}

export function AreaStep({ me, draft }) {
  const [drawing, setDrawing] = useState(false);
  const [box, setBox] = useTyped("box", "");
  const [problem, setProblem] = useState(null);
  const [tiles, setTiles] = useState(null);
  const [notices, setNotices] = useState([]);
  const [several, setSeveral] = useState(null); // a file with several layers, of which one is to be chosen
  const grids = useLoaded((signal) => get("/v1/grids", { signal }), []);
  const names = useLoaded(loadCountries, []);

  useEffect(() => {
    setProblem(null);
    if (!draft.area) {
      setTiles(null);
      return;
    }
    const { area, grid } = draft;
    const { start, end, step } = draft.time;
    const time = start && end ? { start, end, step } : null;
    if (time && end <= start) {
      setTiles(null);
      setProblem({ at: "time", text: t("area.endStart", { start }), asked: true });
      return;
    }
    const stop = new AbortController();
    const wait = setTimeout(() => {
      post("/v1/tiles", { aoi: area, grid, time }, { signal: stop.signal }).then((found) => setTiles({ ...found, area, grid, time: draft.time }), (error) => {
        if (error.name !== "AbortError") {
          setTiles(null);
          setProblem({ ...placed(error), asked: true });
        }
      });
    }, 250); // while somebody types or draws, only the last state is asked for
    return () => {
      clearTimeout(wait);
      stop.abort();
    };
  }, [draft.area, draft.grid, draft.time]);

  async function upload(event) {
    const file = event.target.files[0];
    if (!file) return;
    const refusal = tooLarge(file, me.request_mb);
    setNotices([]);
    setSeveral(null);
    setProblem(refusal && { at: "upload", text: refusal });
    if (refusal) return;
    await read(file);
    event.target.value = "";
  }

  async function read(file, part = "") {
    setProblem(null);
    try {
      const found = await call("POST", `/v1/area?${new URLSearchParams({ name: file.name, ...(part && { part }) })}`, file, { raw: true });
      if (found.choices) {
        setSeveral((before) => ({ file, choices: [...(before?.choices ?? []).filter((one) => one !== part), ...found.choices] }));
        return;
      }
      change({ area: found.geometry });
      setNotices(found.notices);
    } catch (error) {
      setProblem({ at: "upload", text: error.message });
    }
  }

  function applyBox(event) {
    event.preventDefault();
    const { geometry, problem: wrong } = boxOf(box);
    if (geometry) change({ area: geometry });
    setProblem(wrong ? { at: "box", text: wrong } : null);
  }

  const stale = draft.area && !problem?.asked && !(tiles?.area === draft.area && tiles.grid === draft.grid && tiles.time === draft.time);
  const told = (at) => problem?.at === at && html`<${Notice}>${problem.text}<//>`;
  const time = (name) => (event) => change({ time: { ...draft.time, [name]: event.target.value } });
  return html`<section>
    <h1>${t("step.area")}</h1>
    <p class="lead">${t("area.lead")}</p>
    <div class="split">
      <div class="panel">
        <div class="row">
          <button aria-pressed=${drawing} onClick=${() => setDrawing(!drawing)}>${t("area.draw")}</button>
          <button onClick=${() => change({ area: null })} disabled=${!draft.area}>${t("area.clear")}</button>
        </div>
        ${drawing && html`<p class="hint" role="status">${t("area.drawHint")}</p>`}
        <p class="count" role="status" aria-busy=${stale ? "true" : "false"}>
          ${tiles ? counted("area.count", tiles.tiles.length, { area: number(tiles.km2, 0) }) : !draft.area ? t("area.none") : problem?.asked ? t("area.refused") : t("common.loading")}
          ${tiles?.steps && html`<br />${counted("area.steps", tiles.steps, { steps: number(tiles.steps), jobs: number(tiles.steps * tiles.tiles.length) })}`}
        </p>
        ${told("tiles")}
        ${tiles?.notices.map((line) => html`<${Notice} kind="note">${line}<//>`)}
        <label>${t("area.upload")} <input type="file" onChange=${upload} /></label>
        ${several && html`<label key=${several.choices.join()}>${t("area.layer", { name: several.file.name })}
          <select onChange=${(event) => event.target.value && read(several.file, event.target.value)}>
            <option value="">${t("area.chooseLayer")}</option>
            ${several.choices.map((part) => html`<option value=${part}>${part.replace(/^!/, "").replace(/^\|layername=|\|layername=/, (mark, at) => (at ? ": " : ""))}</option>`)}
          </select>
        </label>`}
        ${told("upload")}
        ${notices.map((line) => html`<${Notice} kind="note">${line}<//>`)}
        <form onSubmit=${applyBox}>
          <label>${t("area.box")} <input value=${box} onInput=${(event) => setBox(event.target.value)} inputmode="text" /></label>
          ${told("box")}
          <button>${t("area.apply")}</button>
        </form>
        <label>${t("area.country")}
          <select onChange=${(event) => { const one = names.value.find((country) => country.name === event.target.value); if (one) change({ area: one.geometry, country: one.name }); }}>
            <option value="">–</option>
            ${names.value?.map((country) => html`<option value=${country.name} selected=${country.name === draft.country}>${country.name}</option>`)}
          </select>
        </label>
        <label>${t("area.grid")}
          <${LateInput} list="grids" value=${draft.grid} aria-describedby="grid-hint" onValue=${(grid) => change({ grid })} />
        </label>
        ${told("grid")}
        <p class="hint" id="grid-hint">${t("area.gridHint")}</p>
        <datalist id="grids">${grids.value?.map((one) => html`<option value=${one.example}>${one.pattern}</option>`)}</datalist>
        <fieldset><legend>${t("area.time")}</legend>
          <label>${t("area.start")} <input type="date" value=${draft.time.start} onChange=${time("start")} /></label>
          <label>${t("area.end")} <input type="date" value=${draft.time.end} onChange=${time("end")} /></label>
          <label>${t("area.step")}
            <select onChange=${time("step")}>
              ${["day", "week", "dekad", "month", "quarter", "season", "year"].map((step) => html`<option value=${step} selected=${step === draft.time.step}>${step}</option>`)}
            </select>
          </label>
          ${told("time")}
          <small>${!(draft.time.start && draft.time.end) && t("area.noTime")}</small>
        </fieldset>
      </div>
      <${Map} basemap=${me.basemap} outlines=${tiles?.outlines} area=${draft.area} drawing=${drawing}
        onDrawn=${(geometry) => { setDrawing(false); change({ area: geometry }); }} />
    </div>
  </section>`;
}
