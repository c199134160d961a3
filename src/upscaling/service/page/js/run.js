// Steps 6 and 7: one run, while it goes on and afterwards.
import { html, useEffect, useState } from "../vendor/preact.js";
import { get, post } from "./api.js";
import { Map } from "./map.js";
import { Confirm, Counts, Failed, LateInput, Notice, Outcome, Skeleton, duration, number, useLoaded } from "./parts.js";
import { Publish } from "./publish.js";
import { Result } from "./result.js";
import { EstimateView } from "./step_feasibility.js";
import { change } from "./state.js";
import { t } from "./texts.js";

// Outlines once, then only what changes, as server-sent events; the browser reconnects by itself.
function useRun(run) {
  const [state, set] = useState({ facts: null, outlines: null, tiles: [], changes: null, error: null });
  const [turn, again] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    let source = null;
    let later = null;
    (async () => {
      const [facts, all] = await Promise.all([
        get(`/v1/runs/${run}`, { signal: stop.signal }),
        get(`/v1/runs/${run}/tiles`, { signal: stop.signal }),
      ]);
      set({ facts, outlines: all.outlines, tiles: all.tiles, changes: all.states, error: null });
      source = new EventSource(`/v1/runs/${run}/events?since=${all.version}`);
      source.addEventListener("change", (event) => {
        const change = JSON.parse(event.data);
        set((before) => ({ ...before, facts: { ...before.facts, ...change.run }, changes: change.states }));
      });
      source.addEventListener("end", () => source.close());
      // the browser reconnects by itself, but not after a refusal: the log-in has ended, or the run is gone
      source.addEventListener("error", () => {
        if (source.readyState === EventSource.CLOSED) later = setTimeout(() => again((before) => before + 1), 2000);
      });
    })().catch((error) => error.name !== "AbortError" && set((before) => ({ ...before, error })));
    return () => {
      stop.abort();
      source?.close();
      clearTimeout(later);
    };
  }, [run, turn]);
  return { ...state, reload: () => again(turn + 1) };
}

export function RunView({ run, me }) {
  const { facts, outlines, tiles, changes, error, reload } = useRun(run);
  const [chosen, setChosen] = useState(null);
  const [pointer, setPointer] = useState(null);
  const [rasters, setRasters] = useState(null);
  const [problem, setProblem] = useState(null);
  const [asking, setAsking] = useState(false);
  const [unit, setUnit] = useState(null); // of its costs, as the estimate tells it
  if (error) return html`<section><h1>${t("watch.run", { run })}</h1><${Failed} error=${error} retry=${reload} /><p><a href="#/runs">${t("runs.back")}</a></p></section>`;
  if (!facts) return html`<${Skeleton} lines=${8} />`;

  async function ask(action, more = {}) {
    setAsking(false);
    setProblem(null);
    try {
      await post(`/v1/runs/${run}/ask`, { action, ...more });
      reload();
    } catch (failure) {
      setProblem(failure.message);
    }
  }

  async function clone() {
    const made = await get(`/v1/runs/${run}`).then(() => post(`/v1/runs/${run}/clone`, {}));
    const area = made.config.area;
    const described = await post("/v1/describe", { source: facts.service.application, kind: facts.label === "ogc_api_process" ? "ogcapi" : "openeo" }).catch(() => null);
    change({
      title: made.title,
      algorithm: described && { ...described, source: facts.service.application, kind: described.kind === "ogcapi" ? "ogcapi" : "openeo", platform: facts.service.endpoint },
      area: typeof area?.aoi === "string" && area.aoi.startsWith("{") ? JSON.parse(area.aoi) : null,
      grid: area?.grid ?? "utm-20km",
      time: { start: "", end: "", step: "month", ...made.config.time },
      parameters: made.config.algorithm.parameters,
    });
    location.hash = "#/new/algorithm";
  }

  const phase = facts.phase;
  const failed = facts.counts.failed + facts.counts.canceled;
  return html`<section>
    <div class="row between">
      <h1>${facts.title}</h1>
      <${Outcome} run=${facts} />
    </div>
    <div class="row">
      ${phase === "running" || phase === "queued" ? html`<button onClick=${() => ask("pause")}>${t("watch.pause")}</button>` : null}
      ${phase === "paused" || phase === "draft" ? html`<button class="primary" onClick=${() => ask("start")}>${t(phase === "draft" ? "watch.start" : "watch.resume")}</button>` : null}
      ${["running", "queued", "paused"].includes(phase) && html`<button onClick=${() => setAsking(true)}>${t("watch.cancel")}</button>`}
      ${["ended", "stopped", "canceled"].includes(phase) && (failed > 0 || facts.counts.created > 0) && html`<button class="primary" onClick=${() => ask("retry")}>${failed > 0 ? t("watch.retry") : t("watch.goOn")}</button>`}
      <button onClick=${clone}>${t("watch.clone")}</button>
      ${!["running", "queued"].includes(phase) && html`<button onClick=${() => ask(facts.archived ? "restore" : "archive")}>${facts.archived ? t("watch.restore") : t("watch.archive")}</button>`}
      <a class="button" href=${`/v1/runs/${run}/report`} target="_blank" rel="noopener">${t("watch.report")}</a>
    </div>
    ${problem && html`<${Notice}>${problem}<//>`}
    ${facts.reason && html`<${Notice} kind="note">${facts.reason}<//>`}
    ${asking && html`<${Confirm} text=${t("watch.cancelAsk")} yes=${t("watch.cancelYes")} no=${t("watch.cancelNo")} onYes=${() => ask("cancel")} onNo=${() => setAsking(false)} />`}
    <div class="split">
      <div class="panel">
        <progress max="1" value=${facts.progress} aria-label=${t("watch.progress")}></progress>
        <${Counts} counts=${facts.counts} />
        <dl class="facts">
          ${facts.rate && html`<dt>${t("watch.rate")}</dt><dd>${t("watch.perHour", { rate: number(facts.rate, facts.rate < 10 ? 1 : 0) })}</dd>`}
          <dt>${t("watch.cost")}</dt><dd>${priced(facts.costs, unit)}</dd>
          <dt>${t("watch.updated")}</dt><dd>${facts.updated.slice(0, 19).replace("T", " ")} UTC</dd>
        </dl>
        <${Failures} reasons=${facts.reasons} onRetry=${["ended", "stopped", "canceled"].includes(phase) && ((reason) => ask("retry", { reason }))} />
        <${TileFacts} run=${run} tiles=${tiles} chosen=${chosen} onChosen=${setChosen} version=${facts.version} unit=${unit} />
        <${Result} run=${run} facts=${facts} pointer=${pointer} onRasters=${setRasters} />
        ${facts.counts.finished > 0 && ["ended", "stopped", "canceled"].includes(phase) && html`<${Publish} run=${run} me=${me} />`}
        ${facts.counts.finished > 0 && facts.kind === "run" && html`<${RunningEstimate} run=${run} finished=${facts.counts.finished} onUnit=${setUnit} />`}
      </div>
      <${Map} basemap=${me.basemap} outlines=${outlines} states=${changes} chosen=${chosen} rasters=${rasters}
        onTile=${setChosen} onPointer=${setPointer} />
    </div>
  </section>`;
}

function Failures({ reasons, onRetry }) {
  const entries = Object.entries(reasons ?? {}).sort((a, b) => b[1] - a[1]);
  if (entries.length === 0) return null;
  return html`<h2>${t("watch.failures")}</h2><ul class="reasons">${entries.map(([reason, count]) => html`<li><b>${count}</b> ${reason} ${onRetry && html`<button class="link" aria-label=${t("watch.retryThese", { count, reason })} onClick=${() => onRetry(reason)}>${t("watch.retryGroup")}</button>`}</li>`)}</ul>`;
}

function RunningEstimate({ run, finished, onUnit }) {
  // asked again when a tenth more is finished: every question costs a second of computing
  const stage = finished < 20 ? finished : Math.floor(Math.log(finished) / Math.log(1.1));
  const estimate = useLoaded((signal) => get(`/v1/runs/${run}/estimate`, { signal }), [run, stage]);
  useEffect(() => onUnit(estimate.value?.currency ?? null), [estimate.value]);
  return estimate.value ? html`<details><summary>${t("step.feasibility")}</summary><${EstimateView} estimate=${estimate.value} /></details>` : null;
}

const priced = (costs, unit) => (costs === null ? "–" : t(unit ? "watch.unit" : "watch.noUnit", { costs: number(costs), unit }));

function TileFacts({ run, tiles, chosen, onChosen, version, unit }) {
  const name = chosen === null ? null : tiles[chosen];
  const facts = useLoaded((signal) => (name ? get(`/v1/runs/${run}/tiles/${name}`, { signal }) : Promise.resolve(null)), [run, name, version]);
  const [log, setLog] = useState(null);
  const [unknown, setUnknown] = useState(null);
  useEffect(() => setLog(null), [name]);
  const find = (text) => {
    const at = tiles.indexOf(text);
    setUnknown(at < 0 && text ? text : null);
    onChosen(at < 0 ? null : at);
  };
  return html`<h2>${t("watch.tile")}</h2>
    <p class="hint">${t("watch.pickTile")}</p>
    <label class="hidden-label"><span>${t("watch.tile")}</span>
      <${LateInput} list="tile-names" value=${name ?? ""} placeholder=${tiles[0] ?? ""} onValue=${find} />
    </label>
    ${unknown && !name && html`<${Notice} kind="note">${t("watch.noTile", { name: unknown })}<//>`}
    <datalist id="tile-names">${tiles.slice(0, 500).map((one) => html`<option value=${one} />`)}</datalist>
    ${facts.error && html`<${Failed} error=${facts.error} retry=${facts.retry} />`}
    ${facts.value &&
    html`<dl class="facts">
        <dt>${t("watch.phase")}</dt><dd><span class=${`state ${facts.value.status}`}>${t(`state.${facts.value.status}`)}</span></dd>
        ${facts.value.reason && html`<dt>${t("watch.reason")}</dt><dd>${facts.value.reason}</dd>`}
        ${facts.value.platform_job && html`<dt>${t("watch.job")}</dt><dd><code>${facts.value.platform_job}</code></dd>`}
        <dt>${t("feasibility.cost")}</dt><dd>${priced(facts.value.costs, unit)}</dd>
        <dt>${t("feasibility.time")}</dt><dd>${duration(facts.value.seconds)}</dd>
      </dl>
      ${facts.value.status === "finished" && html`<img class="preview" alt=${name} src=${`/v1/runs/${run}/preview/${name}?size=256`} />`}
      <ul>${facts.value.files.map((file) => html`<li><a href=${`/v1/runs/${run}/files/${file.href.replace("/./", "/")}`} download>${file.name} <small>${file.href.split("/").at(-1)}</small></a></li>`)}</ul>
      <button onClick=${() => get(`/v1/runs/${run}/logs/${name}`).then(setLog, (error) => setLog(error.message))}>${t("watch.log")}</button>
      ${log !== null && html`<pre tabindex="0">${log}</pre>`}`}`;
}
