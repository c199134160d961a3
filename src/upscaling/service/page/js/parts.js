// Small pieces that every view uses.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { logIn } from "./login.js";
import { t } from "./texts.js";

export function Notice({ kind = "error", children }) {
  return html`<p class=${`notice ${kind}`} role=${kind === "error" ? "alert" : "status"}>${children} ${children === t("error.login") && html`<${LogIn} link />`}</p>`;
}

// Goes to the provider and comes back to this very view.
export function LogIn({ link = false }) {
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const go = () => {
    setBusy(true);
    setProblem(null);
    logIn().catch((error) => {
      setBusy(false);
      setProblem(error.message);
    });
  };
  return html`<button class=${link ? "link" : "primary"} disabled=${busy} onClick=${go}>${t("login.button")}</button>
    ${problem && (link ? html` <span>${problem}</span>` : html`<${Notice}>${problem}<//>`)}`;
}

// Loads once per key; shows a skeleton of about the height of what comes.
export function useLoaded(load, keys) {
  const [state, set] = useState({ value: null, error: null, loading: true });
  const [turn, again] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    set((before) => ({ ...before, error: null, loading: true }));
    load(stop.signal).then(
      (value) => set({ value, error: null, loading: false }),
      (error) => error.name !== "AbortError" && set({ value: null, error, loading: false }),
    );
    return () => stop.abort();
  }, [...keys, turn]);
  return { ...state, retry: () => again(turn + 1) };
}

export function Skeleton({ lines = 4 }) {
  return html`<div class="skeleton" role="status" aria-label=${t("common.loading")}>
    ${Array.from({ length: lines }, () => html`<span></span>`)}
  </div>`;
}

export function Failed({ error, retry }) {
  if (error.status === 401) return html`<${Notice}>${error.message}<//>`;
  return html`<${Notice}>${error.message} <button class="link" onClick=${retry}>${t("common.retry")}</button><//>`;
}

// Asks before something that costs or cannot be undone.
export function Confirm({ text, yes, no, onYes, onNo }) {
  const box = useRef(null);
  useEffect(() => {
    box.current.showModal();
  }, []);
  return html`<dialog ref=${box} onCancel=${onNo} aria-label=${text}>
    <p>${text}</p>
    <div class="row">
      <button class="primary" onClick=${onYes}>${yes}</button>
      <button onClick=${onNo}>${no ?? t("common.notNow")}</button>
    </div>
  </dialog>`;
}

export const STATES = ["created", "queued", "running", "finished", "canceled", "failed"];

export function Counts({ counts }) {
  return html`<ul class="counts">
    ${STATES.map(
      (name) => html`<li class=${`state ${name}`}><b>${(counts[name] ?? 0).toLocaleString("en")}</b> ${t(`state.${name}`)}</li>`,
    )}
  </ul>`;
}

// A field whose text counts when it is left or confirmed; what is being typed outlives what else changes meanwhile.
export function LateInput({ value, onValue, ...rest }) {
  const [typed, setTyped] = useState(null);
  const done = (event) => {
    setTyped(null);
    onValue(event.target.value.trim());
  };
  return html`<input ...${rest} value=${typed ?? value} onInput=${(event) => setTyped(event.target.value)} onChange=${done} />`;
}

// How a run stands, in one word and its mark: one that ended with holes in it is never just called finished.
export function Outcome({ run }) {
  const { phase, counts, status } = run;
  const missing = run.tiles - counts.finished;
  let [mark, text] = [status, t(`state.${status}`)];
  if (["draft", "paused", "queued"].includes(phase)) [mark, text] = [phase === "paused" ? "paused" : "created", t(`phase.${phase}`)];
  else if (phase === "stopped") [mark, text] = ["failed", t("outcome.stopped", { missing: number(missing) })];
  else if (status === "finished" && missing > 0) [mark, text] = ["failed", t("outcome.holes", { missing: number(missing), all: number(run.tiles) })];
  return html`<span class=${`state ${mark}`}>${text}</span>`;
}

// What has to be done before a step, with the way there.
export function Needs({ draft, area = false }) {
  const missing = [!draft.algorithm && "algorithm", area && !draft.area && "area"].filter(Boolean);
  if (missing.length === 0) return null;
  return html`<${Notice} kind="note">${missing.map((step) => html`<a href=${`#/new/${step}`}>${t(`needs.${step}`)}</a> `)}<//>`;
}

export function number(value, digits = 2) {
  return value === null || value === undefined ? "–" : Number(value).toLocaleString("en", { maximumFractionDigits: digits });
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86400).toFixed(1)} days`;
}
