// All runs of the user.
import { html, useEffect, useState } from "../vendor/preact.js";
import { get } from "./api.js";
import { Failed, Outcome, Skeleton, number, useLoaded } from "./parts.js";
import { t } from "./texts.js";

export function RunsView({ archived }) {
  const [words, setWords] = useState("");
  const runs = useLoaded((signal) => get(`/v1/runs?archived=${archived}`, { signal }), [archived]);
  const working = runs.value?.some((run) => ["queued", "running"].includes(run.phase));
  useEffect(() => {
    if (!working) return;
    const timer = setInterval(runs.retry, 3000);
    return () => clearInterval(timer);
  }, [working, runs.value]);
  const shown = runs.value?.filter((run) => `${run.title} ${run.service.application} ${run.status}`.toLowerCase().includes(words.toLowerCase()));
  return html`<section>
    <div class="row between">
      <h1>${archived ? t("runs.archived") : t("nav.runs")}</h1>
      <a class="button primary" href="#/new/algorithm">${t("nav.new")}</a>
    </div>
    ${runs.error && html`<${Failed} error=${runs.error} retry=${runs.retry} />`}
    ${!runs.value && runs.loading && html`<${Skeleton} lines=${6} />`}
    ${archived && runs.value?.length === 0 && html`<p class="empty">${t("runs.noneArchived")}</p>`}
    ${!archived && runs.value?.length === 0 && html`<div class="empty"><p>${t("runs.none")}</p><a class="button primary" href="#/new/algorithm">${t("runs.first")}</a></div>`}
    ${runs.value?.length > 0 && html`<label>${t("runs.search")} <input type="search" value=${words} onInput=${(event) => setWords(event.target.value)} /></label>`}
    ${runs.value?.length > 0 && shown.length === 0 && html`<p class="empty" role="status">${t("runs.noMatch")}</p>`}
    <ul class="runs">
      ${shown?.map(
        (run) => html`<li key=${run.id}><a class="card" href=${`#/runs/${run.id}`}>
          <b>${run.title}</b>
          <${Outcome} run=${run} />
          <progress max="1" value=${run.progress} aria-label=${t("watch.progress")}></progress>
          <small>${t("runs.tiles", { finished: number(run.counts.finished), all: number(run.tiles) })} · ${run.costs === null ? "" : `${t("runs.cost", { costs: number(run.costs) })} · `}<span class="whole">${run.created.slice(0, 16).replace("T", " ")} UTC</span></small>
        </a></li>`,
      )}
    </ul>
    <p><a href=${archived ? "#/runs" : "#/archived"}>${archived ? t("runs.back") : t("runs.archived")}</a></p>
  </section>`;
}
