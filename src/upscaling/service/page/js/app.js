// The page: routes by the address's hash, so that every step can be linked and the back button works.
import { html, render, useEffect, useState } from "../vendor/preact.js";
import { get } from "./api.js";
import { comeBack, logOut } from "./login.js";
import { Failed, LogIn, Notice, Skeleton, useLoaded } from "./parts.js";
import { AlgorithmStep } from "./step_algorithm.js";
import { AreaStep } from "./step_area.js";
import { FeasibilityStep } from "./step_feasibility.js";
import { ParametersStep, lacking } from "./step_parameters.js";
import { StartStep } from "./step_start.js";
import { RunView } from "./run.js";
import { RunsView } from "./runs.js";
import { useDraft } from "./state.js";
import { t } from "./texts.js";

const STEPS = [
  ["algorithm", AlgorithmStep],
  ["area", AreaStep],
  ["parameters", ParametersStep],
  ["feasibility", FeasibilityStep],
  ["start", StartStep],
];

function useRoute() {
  const read = () => location.hash.replace(/^#\/?/, "").split("/");
  const [route, set] = useState(read);
  useEffect(() => {
    const changed = () => {
      set(read());
      document.querySelector("main")?.focus();
    };
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

function Wizard({ name, me }) {
  const draft = useDraft();
  const place = Math.max(0, STEPS.findIndex(([step]) => step === name));
  const [, Step] = STEPS[place];
  const done = { algorithm: draft.algorithm, area: draft.area, parameters: draft.algorithm && !lacking(draft), feasibility: draft.run };
  return html`<nav class="steps" aria-label="Steps"><ol>
      ${STEPS.map(
        ([step], number) => html`<li class=${done[step] ? "done" : ""}>
          <a href=${`#/new/${step}`} aria-current=${number === place ? "step" : null}>
            <span class="number">${number + 1}</span> ${t(`step.${step}`)}
          </a>
        </li>`,
      )}
    </ol></nav>
    <${Step} me=${me} draft=${draft} />
    <div class="row pager">
      ${place > 0 && html`<a class="button" href=${`#/new/${STEPS[place - 1][0]}`}>${t("common.back")}</a>`}
      ${place < STEPS.length - 1 &&
      html`<a class="button primary" href=${`#/new/${STEPS[place + 1][0]}`}>${t("common.next")}: ${t(`step.${STEPS[place + 1][0]}`)}</a>`}
    </div>`;
}

function LogInView({ problem }) {
  return html`<section>
    <h1>${t("login.title")}</h1>
    <p class="lead">${t("login.lead")}</p>
    ${problem && html`<${Notice}>${problem}<//>`}
    <${LogIn} />
  </section>`;
}

function App({ problem }) {
  const [place, name] = useRoute();
  const me = useLoaded((signal) => get("/v1/me", { signal }), []);
  let view;
  if (me.error?.status === 401) view = html`<${LogInView} problem=${problem} />`;
  else if (me.error) view = html`<${Failed} error=${me.error} retry=${me.retry} />`;
  else if (!me.value) view = html`<${Skeleton} lines=${6} />`;
  else if (place === "new") view = html`<${Wizard} name=${name ?? "algorithm"} me=${me.value} />`;
  else if (place === "runs" && name) view = html`<${RunView} key=${name} run=${Number(name)} me=${me.value} />`;
  else view = html`<${RunsView} archived=${place === "archived"} />`;
  return html`<a class="skip" href="#content" onClick=${(event) => { event.preventDefault(); document.querySelector("main").focus(); }}>${t("nav.skip")}</a>
    <header>
      <a class="brand" href="#/runs">${t("app.title")}</a>
      <nav aria-label="Main">
        <a href="#/runs" aria-current=${place === "new" ? null : "page"}>${t("nav.runs")}</a>
        <a href="#/new/algorithm" aria-current=${place === "new" ? "page" : null}>${t("nav.new")}</a>
        <a href="/docs">${t("nav.api")}</a>
      </nav>
      ${me.value?.auth === "oidc" && html`<p class="user"><span>${me.value.user}</span> <button class="link" onClick=${logOut}>${t("login.out")}</button></p>`}
    </header>
    <main id="content" tabindex="-1">${view}</main>`;
}

comeBack().then(
  () => null,
  (error) => error.message,
).then((problem) => render(html`<${App} problem=${problem} />`, document.getElementById("app")));
