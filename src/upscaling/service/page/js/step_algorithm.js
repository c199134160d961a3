// Step 1: the algorithm.
import { html, useState } from "../vendor/preact.js";
import { call, get, post, tooLarge } from "./api.js";
import { Failed, LateInput, Notice, Skeleton, useLoaded } from "./parts.js";
import { change, useTyped } from "./state.js";
import { t } from "./texts.js";

export function AlgorithmStep({ me, draft }) {
  const [words, setWords] = useTyped("words", "");
  const [address, setAddress] = useTyped("address", "");
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const found = useLoaded((signal) => get(`/v1/catalogue?q=${encodeURIComponent(words)}`, { signal }), [words]);

  // `at`: what it was chosen by, where a refusal is shown
  async function choose(card, at = "card") {
    setBusy(true);
    setProblem(null);
    try {
      const described = await post("/v1/describe", { source: card.source, kind: card.kind });
      const platforms = me.platforms.filter((one) => one.kind === (card.kind === "ogcapi" ? "ogcapi" : "openeo"));
      const platform = card.kind === "cwl" ? "" : card.platform || described.service || platforms[0]?.endpoint || "";
      change({ algorithm: { ...card, ...described, kind: card.kind, source: card.source, platform }, parameters: {} });
    } catch (error) {
      setProblem({ at, text: error.message });
    }
    setBusy(false);
  }

  async function upload(event) {
    const file = event.target.files[0];
    if (!file) return;
    const refusal = tooLarge(file, me.request_mb);
    setProblem(refusal && { at: "file", text: refusal });
    if (refusal) return;
    try {
      const kept = await call("POST", `/v1/algorithms?name=${encodeURIComponent(file.name)}`, file, { raw: true });
      await choose({ ...kept, title: file.name, platform: "" }, "file");
    } catch (error) {
      setProblem({ at: "file", text: error.message });
    }
    event.target.value = "";
  }

  const told = (at) => problem?.at === at && html`<${Notice}>${problem.text}<//>`;
  return html`<section>
    <h1>${t("step.algorithm")}</h1>
    <p class="lead">${t("algorithm.lead")}</p>
    ${draft.algorithm &&
    html`<article class="card chosen">
      <h2>${t("algorithm.chosen")}: ${draft.algorithm.title}</h2>
      <p>${draft.algorithm.description}</p>
      ${draft.algorithm.kind === "cwl" ? html`<p>${t("algorithm.platform")}: ${t("algorithm.here")}</p>` : html`<label>${t("algorithm.platform")}
        <${LateInput} list="platforms" value=${draft.algorithm.platform}
          onValue=${(platform) => change({ algorithm: { ...draft.algorithm, platform } })} />
      </label>
      ${!draft.algorithm.platform && html`<${Notice}>${t("algorithm.noPlatform")}<//>`}`}
      <datalist id="platforms">${me.platforms.map((one) => html`<option value=${one.endpoint} />`)}</datalist>
    </article>`}
    ${told("card")}
    <label>${t("algorithm.search")}
      <input type="search" value=${words} onInput=${(event) => setWords(event.target.value)} />
    </label>
    ${found.error && html`<${Failed} error=${found.error} retry=${found.retry} />`}
    ${found.loading && !found.value && html`<${Skeleton} lines=${6} />`}
    ${found.value?.length === 0 && html`<p class="empty">${t("algorithm.none")}</p>`}
    <ul class="cards">
      ${found.value?.map(
        (card) => html`<li key=${card.source}>
          <button class="card" disabled=${busy} aria-pressed=${draft.algorithm?.source === card.source} onClick=${() => choose(card)}>
            ${card.picture && html`<img class="preview" alt="" src=${card.picture} loading="lazy" />`}
            <b>${card.title}</b>
            <span class="clipped">${card.description}</span>
            <small>${card.provider} · ${card.kind} · ${t("algorithm.cost")}: ${card.cost || t("algorithm.unknownCost")}</small>
          </button>
        </li>`,
      )}
    </ul>
    <form class="row" onSubmit=${(event) => { event.preventDefault(); choose({ source: address, kind: /\/processes\//.test(address) ? "ogcapi" : "openeo", title: address, platform: "" }, "address"); }}>
      <label class="wide">${t("algorithm.source")}
        <input value=${address} onInput=${(event) => setAddress(event.target.value)} required />
      </label>
      <button disabled=${busy}>${t("algorithm.use")}</button>
    </form>
    ${told("address")}
    ${me.uploads && html`<label>${t("algorithm.upload")} <input type="file" accept=".json,.cwl,.yaml,.yml" onChange=${upload} /></label>`}
    ${told("file")}
  </section>`;
}
