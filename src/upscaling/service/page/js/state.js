// The draft of a new run. It is kept in the browser, so that a reload or a closed tab loses nothing that was typed.
import { useEffect, useState } from "../vendor/preact.js";

const KEY = "upscaling-draft";
const EMPTY = {
  algorithm: null,
  area: null,
  country: "",
  grid: "utm-20km",
  time: { start: "", end: "", step: "month" },
  parameters: {},
  title: "",
  run: null,
};

let draft = load();
const listeners = new Set();

function load() {
  try {
    return { ...EMPTY, ...JSON.parse(localStorage.getItem(KEY) ?? "{}") };
  } catch {
    return { ...EMPTY };
  }
}

// What was typed but is no value yet (half a box, an address, broken JSON): it outlives a reload and a log-in, too.
const TYPED = "upscaling-typed-";

export function useTyped(name, initial) {
  const key = TYPED + name;
  const [value, set] = useState(() => {
    try {
      return JSON.parse(sessionStorage.getItem(key)) ?? initial;
    } catch {
      return initial;
    }
  });
  const keep = (next) => {
    set(next);
    try {
      sessionStorage.setItem(key, JSON.stringify(next));
    } catch {
      // a browser without storage: it lives as long as the view
    }
  };
  return [value, keep];
}

function forget(beginning) {
  try {
    for (const key of Object.keys(sessionStorage)) if (key.startsWith(TYPED + beginning)) sessionStorage.removeItem(key);
  } catch {
    // nothing is kept there
  }
}

export function change(values) {
  if ("algorithm" in values && ("parameters" in values || values.algorithm?.source !== draft.algorithm?.source)) forget("parameter-");
  // a planned run belongs to the values that it was planned with
  const touches = ["algorithm", "area", "grid", "time", "parameters"].some((name) => name in values);
  const country = "area" in values ? { country: "" } : {}; // of an area that was chosen by name, and only then
  draft = { ...draft, ...country, ...(touches && !("run" in values) ? { run: null } : {}), ...values };
  try {
    localStorage.setItem(KEY, JSON.stringify(draft));
  } catch {
    // a browser without storage: the draft lives as long as the page
  }
  for (const listener of listeners) listener(draft);
}

export function reset() {
  forget("");
  change({ ...EMPTY });
}

export function useDraft() {
  const [value, set] = useState(draft);
  useEffect(() => {
    listeners.add(set);
    return () => listeners.delete(set);
  }, []);
  return value;
}

// The configuration of a draft, as the command line has it.
export function configOf(draft) {
  const chosen = draft.algorithm;
  const kind = chosen?.kind ?? "openeo";
  const config = {
    run: "run",
    algorithm: { source: chosen?.source ?? "", parameters: draft.parameters },
    area: { aoi: draft.area ? JSON.stringify(draft.area) : "", grid: draft.grid },
    backend: kind === "cwl" ? { kind } : { kind, url: chosen?.platform ?? "" },
  };
  const { start, end, step } = draft.time;
  if (start && end) config.time = { start, end, step };
  return config;
}
