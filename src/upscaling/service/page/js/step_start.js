// Step 5: what will be sent, to whom, what it may cost; asked once.
import { html, useState } from "../vendor/preact.js";
import { get, post } from "./api.js";
import { Failed, LateInput, Notice, Skeleton, number, useLoaded } from "./parts.js";
import { change, reset } from "./state.js";
import { counted, t } from "./texts.js";

export function StartStep({ draft }) {
  if (!draft.run) return html`<section><h1>${t("step.start")}</h1><${Notice} kind="note"><a href="#/new/feasibility">${t("start.needsPlan")}</a><//></section>`;
  return html`<${Ready} run=${draft.run} draft=${draft} />`;
}

function Ready({ run, draft }) {
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const facts = useLoaded((signal) => get(`/v1/runs/${run}`, { signal }), [run]);
  const estimate = useLoaded((signal) => get(`/v1/runs/${run}/estimate`, { signal }), [run]);

  async function start() {
    setBusy(true);
    setProblem(null);
    try {
      await post(`/v1/runs/${run}/ask`, { action: "start", title: draft.title || null });
      reset();
      location.hash = `#/runs/${run}`;
    } catch (error) {
      setProblem(error.message);
      setBusy(false);
    }
  }

  if (facts.error) return html`<${Failed} error=${facts.error} retry=${facts.retry} />`;
  if (!facts.value) return html`<${Skeleton} />`;
  const cost = estimate.value?.cost;
  const waiting = facts.value.counts.created;
  return html`<section>
    <h1>${t("step.start")}</h1>
    <p class="lead">${t("start.lead")}</p>
    <dl class="facts">
      <dt>${t("start.what")}</dt><dd>${number(waiting)} × ${draft.algorithm?.title}</dd>
      <dt>${t("start.to")}</dt><dd>${facts.value.service.endpoint}</dd>
      <dt>${t("start.expected")}</dt><dd>${cost ? `${number(cost.p50)} ${estimate.value.currency} (${number(cost.p10)} – ${number(cost.p90)})` : estimate.loading ? t("common.loading") : html`${t("start.unknown")} <a href="#/new/feasibility">${t("feasibility.pilot")}</a>`}</dd>
      ${cost && html`<dt>${t("start.most")}</dt><dd>${number(cost.p95)} ${estimate.value.currency}</dd>`}
      ${estimate.value?.budget && html`<dt>${t("start.budget")}</dt><dd>${number(estimate.value.budget.limit)} ${estimate.value.currency}</dd>`}
    </dl>
    <label>${t("start.title")} <${LateInput} value=${draft.title || facts.value.title} onValue=${(title) => change({ title })} /></label>
    ${waiting === 0 && html`<${Notice} kind="note">${t("start.nothing")} <a href=${`#/runs/${run}`}>${facts.value.title}</a><//>`}
    <button class="primary" disabled=${busy || waiting === 0 || (estimate.loading && !estimate.value)} onClick=${start}>${counted("start.confirm", waiting)}</button>
    ${problem && html`<${Notice}>${problem}<//>`}
  </section>`;
}
