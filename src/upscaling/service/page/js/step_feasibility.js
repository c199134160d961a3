// Step 4: checks, cost and time with intervals, pilot, advice.
import { html, useEffect, useState } from "../vendor/preact.js";
import { get, post } from "./api.js";
import { Confirm, Counts, Failed, Needs, Notice, Skeleton, duration, number, useLoaded } from "./parts.js";
import { change, configOf, useTyped } from "./state.js";
import { counted, t } from "./texts.js";

// An interval as a picture: the line is 90 of 100 runs, the box 80, the mark the middle.
export function Interval({ name, value, show, limit }) {
  if (!value) return html`<div class="interval"><b>${name}</b> <span>${t("feasibility.unknown")}</span></div>`;
  const top = Math.max(value.p95, limit ?? 0) * 1.05 || 1;
  const at = (x) => (100 * x) / top;
  return html`<div class="interval">
    <b>${name}</b> <span>${show(value.p50)} <small>(${show(value.p10)} – ${show(value.p90)}${limit ? `; ${t("feasibility.limit")} ${show(limit)}` : ""})</small></span>
    <svg viewBox="0 0 100 12" preserveAspectRatio="none" role="img" aria-label=${`${name}: ${show(value.p10)} – ${show(value.p90)}`}>
      <line x1=${at(value.p05)} x2=${at(value.p95)} y1="6" y2="6" class="whisker" />
      <rect x=${at(value.p10)} width=${Math.max(at(value.p90) - at(value.p10), 0.6)} y="2" height="8" class="box" />
      <line x1=${at(value.p50)} x2=${at(value.p50)} y1="1" y2="11" class="middle" />
      ${limit ? html`<line x1=${at(limit)} x2=${at(limit)} y1="0" y2="12" class="limit" />` : null}
    </svg>
  </div>`;
}

// What lies between backticks is code.
const marked = (text) => text.split("`").map((part, at) => (at % 2 ? html`<code>${part}</code>` : part));

export function EstimateView({ estimate }) {
  return html`<div class="estimate">
    <p><b>${estimate.basis === "rough" ? t("feasibility.rough") : counted("feasibility.measured", estimate.finished)}</b></p>
    ${estimate.verdict && html`<p class=${`verdict ${estimate.verdict.replace(/ /g, "-")}`}>${t("feasibility.verdict")}: <b>${estimate.verdict}</b></p>`}
    ${estimate.verdict_reasons.length > 0 && html`<ul class="against">${estimate.verdict_reasons.map((line) => html`<li>${marked(line)}</li>`)}</ul>`}
    ${!estimate.verdict && html`<p class="hint">${t("feasibility.noVerdict")}</p>`}
    <${Interval} name=${`${t("feasibility.cost")} (${estimate.currency})`} value=${estimate.cost} show=${(x) => number(x)} limit=${estimate.budget?.limit} />
    <${Interval} name=${t("feasibility.time")} value=${estimate.seconds} show=${duration} limit=${estimate.deadline?.limit} />
    ${estimate.warnings.map((line) => html`<${Notice} kind="note">${line}<//>`)}
    ${(estimate.cost || estimate.seconds) && html`<p class="hint">${t("feasibility.range")}</p>`}
    <h2>${t("feasibility.checks")}</h2>
    <ul class="checks">${estimate.checks.map((one) => html`<li class=${one.answer}><b>${t(`answer.${one.answer}`)}</b> <span>${one.name}</span> <p>${marked(one.text)}</p></li>`)}</ul>
    ${estimate.advice.length > 0 && html`<h2>${t("feasibility.advice")}</h2><ul>${estimate.advice.map((one) => html`<li>${marked(one.text)}${one.see ? `: ${t(`advice.${one.see}`)}` : ""}</li>`)}</ul>`}
    <details><summary>${t("feasibility.restsOn")}</summary><ul>${estimate.rests_on.map((line) => html`<li>${line}</li>`)}</ul></details>
  </div>`;
}

// Made when it is asked for, which takes seconds: a link would show nothing meanwhile, and a refusal as a page of its own.
function Requirements({ run, title }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);

  async function download() {
    setBusy(true);
    setProblem(null);
    try {
      const page = await get(`/v1/runs/${run}/requirements`);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([page], { type: "text/html" }));
      link.download = `${title.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60) || "run"}-requirements.html`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    } catch (error) {
      setProblem(error.message);
    }
    setBusy(false);
  }

  return html`<h2>${t("requirements.title")}</h2>
    <p>${t("requirements.lead")}</p>
    <button disabled=${busy} aria-busy=${busy ? "true" : "false"} onClick=${download}>${t(busy ? "requirements.busy" : "requirements.get")}</button>
    ${problem && html`<${Notice}>${problem}<//>`}`;
}

function Platforms({ rows }) {
  const range = (value, show) => (value ? `${show(value.p50)} (${show(value.p10)} – ${show(value.p90)})` : t("feasibility.unknown"));
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${t("compare.title")}><table>
    <thead><tr>
      ${["compare.platform", "compare.possible", "feasibility.cost", "feasibility.time", "compare.slots", "compare.against"].map((name) => html`<th scope="col">${t(name)}</th>`)}
    </tr></thead>
    <tbody>${rows.map(
      (row) => html`<tr>
        <th scope="row">${row.platform}</th>
        <td data-name=${t("compare.possible")} class=${row.possible}><b>${t(`answer.${row.possible}`)}</b></td>
        <td data-name=${t("feasibility.cost")}>${range(row.cost, number)} ${row.cost ? row.currency : ""}</td>
        <td data-name=${t("feasibility.time")}>${range(row.seconds, duration)}</td>
        <td data-name=${t("compare.slots")}>${row.slots}</td>
        <td data-name=${t("compare.against")}>${row.refusals.join("; ") || t("compare.nothing")}</td>
      </tr>`,
    )}</tbody>
  </table></div>`;
}

export function FeasibilityStep({ draft }) {
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);

  async function plan() {
    setBusy(true);
    setProblem(null);
    try {
      const title = draft.title || draft.algorithm?.title || "run";
      const made = await post("/v1/runs", { title, config: configOf(draft), start: false });
      change({ run: made.id });
    } catch (error) {
      setProblem(error.message);
    }
    setBusy(false);
  }

  return html`<section>
    <h1>${t("step.feasibility")}</h1>
    <p class="lead">${t("feasibility.lead")}</p>
    ${!draft.run && html`<${Needs} draft=${draft} area />`}
    ${!draft.run && html`<button class="primary" onClick=${plan} disabled=${busy || !draft.algorithm || !draft.area}>${t("feasibility.make")}</button>`}
    ${busy && html`<${Skeleton} lines=${3} />`}
    ${problem && html`<${Notice}>${problem}<//>`}
    ${draft.run && html`<${Planned} run=${draft.run} draft=${draft} />`}
  </section>`;
}

function Planned({ run, draft }) {
  const [asking, setAsking] = useState(false);
  const [pilot, setPilot] = useTyped("pilot", 12);
  const [rows, setRows] = useState(null);
  const [problem, setProblem] = useState(null);
  const facts = useLoaded((signal) => get(`/v1/runs/${run}`, { signal }), [run]);
  const working = facts.value && ["queued", "running"].includes(facts.value.phase);
  const estimate = useLoaded((signal) => get(`/v1/runs/${run}/estimate`, { signal }), [run, facts.value?.counts.finished]);
  useEffect(() => {
    if (!working) return;
    const timer = setInterval(facts.retry, 1500);
    return () => clearInterval(timer);
  }, [working, facts.value]);

  async function start() {
    setAsking(false);
    setProblem(null);
    try {
      await post(`/v1/runs/${run}/pilot`, { number: Number(pilot) });
      facts.retry();
    } catch (error) {
      setProblem({ at: "pilot", text: error.message });
    }
  }

  useEffect(() => setRows(null), [run]);

  async function compare() {
    setRows("asked");
    setProblem(null);
    try {
      setRows(await get(`/v1/runs/${run}/compare`));
    } catch (error) {
      setRows(null);
      setProblem({ at: "compare", text: error.message });
    }
  }

  const told = (at) => problem?.at === at && html`<${Notice}>${problem.text}<//>`;
  if (facts.error?.status === 404) return html`<${Notice}>${facts.error.message} <button class="link" onClick=${() => change({ run: null })}>${t("feasibility.make")}</button><//>`;
  if (facts.error) return html`<${Failed} error=${facts.error} retry=${facts.retry} />`;
  if (!facts.value) return html`<${Skeleton} lines=${5} />`;
  return html`<div>
    <${Counts} counts=${facts.value.counts} />
    ${estimate.error && html`<${Failed} error=${estimate.error} retry=${estimate.retry} />`}
    ${estimate.loading && !estimate.value && html`<${Skeleton} lines=${8} />`}
    ${estimate.value && html`<${EstimateView} estimate=${estimate.value} />`}
    <h2>${t("feasibility.pilot")}</h2>
    <p>${t("feasibility.pilotLead")}</p>
    <div class="row">
      <label>${t("feasibility.pilotNumber")} <input type="number" min="1" max="200" value=${pilot} onInput=${(event) => setPilot(event.target.value)} /></label>
      <button disabled=${working} onClick=${() => setAsking(true)}>${t("feasibility.pilot")}</button>
    </div>
    ${told("pilot")}
    ${asking && html`<${Confirm} text=${counted("feasibility.pilotAsk", Number(pilot), { platform: draft.algorithm?.platform ?? "" })} yes=${t("feasibility.pilotYes")} onYes=${start} onNo=${() => setAsking(false)} />`}
    <h2>${t("compare.title")}</h2>
    <p>${t("compare.lead")}</p>
    ${rows === null && html`<button onClick=${compare}>${t("compare.ask")}</button>`}
    ${told("compare")}
    ${rows === "asked" && html`<${Skeleton} lines=${3} />`}
    ${Array.isArray(rows) && html`<${Platforms} rows=${rows} />`}
    <${Requirements} run=${run} title=${facts.value.title} />
  </div>`;
}
