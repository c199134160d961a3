// Step 3: a form made of the algorithm's own schema.
import { html, useState } from "../vendor/preact.js";
import { post } from "./api.js";
import { Needs, Notice } from "./parts.js";
import { change, configOf, useTyped } from "./state.js";
import { counted, t } from "./texts.js";

function schemaOf(parameter) {
  const schemas = Array.isArray(parameter.schema) ? parameter.schema : [parameter.schema];
  return schemas.find((one) => one && one.type !== "null") ?? {};
}

// What the tile or the time step fills, by the parameter's type; the check tells for sure.
function filledBy(parameter, draft) {
  const schemas = Array.isArray(parameter.schema) ? parameter.schema : [parameter.schema];
  const subtypes = schemas.map((one) => one?.subtype ?? "");
  if (subtypes.some((one) => ["bounding-box", "geojson"].includes(one))) return true;
  return subtypes.includes("temporal-interval") && Boolean(draft.time.start && draft.time.end);
}

// The limits of a number, as an interval.
function limits({ minimum, maximum }) {
  return minimum === undefined && maximum === undefined ? "" : t("parameters.limits", { low: minimum ?? "…", high: maximum ?? "…" });
}

function Field({ parameter, value, problem, onValue }) {
  const schema = schemaOf(parameter);
  const id = `parameter-${parameter.name}`;
  const described = problem ? `${id}-problem` : `${id}-about`;
  const common = { id, "aria-describedby": described, "aria-invalid": problem ? "true" : null };
  const kind = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  const empty = parameter.default === null || parameter.default === undefined ? "" : JSON.stringify(parameter.default);
  let input;
  if (schema.enum) {
    input = html`<select ...${common} value=${value === undefined ? "" : JSON.stringify(value)} onChange=${(event) => onValue(event.target.value === "" ? undefined : JSON.parse(event.target.value))}>
      <option value="">${empty && `${t("parameters.default")}: ${empty}`}</option>
      ${schema.enum.map((one) => html`<option value=${JSON.stringify(one)}>${String(one)}</option>`)}
    </select>`;
  } else if (kind === "boolean") {
    input = html`<select ...${common} value=${value === undefined ? "" : String(value)} onChange=${(event) => onValue(event.target.value === "" ? undefined : event.target.value === "true")}>
      <option value="">${empty && `${t("parameters.default")}: ${empty}`}</option>
      <option value="true">${t("common.yes")}</option>
      <option value="false">${t("common.no")}</option>
    </select>`;
  } else if (kind === "number" || kind === "integer") {
    input = html`<${TypedInput} common=${common} numeric placeholder=${[empty, limits(schema)].filter(Boolean).join("  ")} value=${value} onValue=${onValue} />`;
  } else if (schema.subtype === "temporal-interval") {
    const [start, end] = Array.isArray(value) ? value : ["", ""];
    const put = (first, last) => onValue(first || last ? [first || null, last || null] : undefined);
    input = html`<span class="row"><label>${t("area.start")} <input ...${common} type="date" value=${start ?? ""} onChange=${(event) => put(event.target.value, end)} /></label>
      <label>${t("area.end")} <input type="date" aria-describedby=${described} value=${end ?? ""} onChange=${(event) => put(start, event.target.value)} /></label></span>`;
  } else if (kind === "string") {
    input = html`<input ...${common} type=${schema.subtype === "date" ? "date" : "text"} maxlength=${schema.maxLength} placeholder=${empty}
      value=${value ?? ""} onChange=${(event) => onValue(event.target.value === "" ? undefined : event.target.value)} />`;
  } else {
    input = html`<${TypedInput} common=${common} placeholder=${empty || t("parameters.json")} value=${value} onValue=${onValue} />`;
  }
  return html`<div class="field">
    <label for=${id}>${parameter.name} ${parameter.required && html`<small>(${t("parameters.required")})</small>`}</label>
    ${input}
    <small id=${`${id}-about`}>${parameter.description}</small>
    ${problem && html`<p class="notice error" role="alert" id=${`${id}-problem`}>${problem}</p>`}
  </div>`;
}

// What was typed as a value, or undefined where it is none yet.
function numberOf(text) {
  return /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i.test(text) ? Number(text) : undefined;
}

function jsonOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function wrongOf(text, numeric) {
  if (text.trim() === "" || (numeric ? numberOf : jsonOf)(text) !== undefined) return null;
  if (!numeric) return t("parameters.notJson");
  return /^\s*[+-]?\d+,\d+\s*$/.test(text) ? t("parameters.comma", { better: text.trim().replace(",", ".") }) : t("parameters.notNumber");
}

// A number or JSON: what is no value yet stays as it was typed, over a reload too, and the field says what is wrong.
function TypedInput({ common, numeric, placeholder, value, onValue }) {
  const [text, setText] = useTyped(common.id, value === undefined ? "" : JSON.stringify(value));
  const wrong = wrongOf(text, numeric);
  const shared = {
    ...common,
    placeholder,
    value: text,
    "aria-invalid": wrong ? "true" : common["aria-invalid"],
    "aria-describedby": wrong ? `${common.id}-wrong` : common["aria-describedby"],
    onInput: (event) => {
      const typed = event.target.value;
      setText(typed);
      onValue(typed.trim() === "" ? undefined : (numeric ? numberOf : jsonOf)(typed));
    },
  };
  return html`${numeric ? html`<input ...${shared} inputmode="decimal" />` : html`<textarea ...${shared} rows="2"></textarea>`}
    ${wrong && html`<p class="notice error" role="alert" id=${`${common.id}-wrong`}>${wrong}</p>`}`;
}

// Whether a value is missing that the algorithm needs and no tile fills.
export const lacking = (draft) =>
  draft.algorithm.parameters.some((one) => one.required && draft.parameters[one.name] === undefined && !filledBy(one, draft));

export function ParametersStep({ draft }) {
  const [checked, setChecked] = useState(null);
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  if (!draft.algorithm) return html`<section><h1>${t("step.parameters")}</h1><${Needs} draft=${draft} /></section>`;

  async function check() {
    setBusy(true);
    setProblem(null);
    setChecked(null);
    try {
      setChecked(await post("/v1/check", { config: configOf(draft) }));
    } catch (error) {
      setProblem(error);
    }
    setBusy(false);
  }

  const shown = draft.algorithm.parameters.filter((parameter) => !filledBy(parameter, draft));
  const filled = draft.algorithm.parameters.filter((parameter) => filledBy(parameter, draft));
  // what is wrong with a parameter belongs beside its field
  const culprit = problem && shown.find((parameter) => `${problem.key}.`.startsWith(`algorithm.parameters.${parameter.name}.`));
  return html`<section>
    <h1>${t("step.parameters")}</h1>
    <p class="lead">${t("parameters.lead")}</p>
    ${filled.length > 0 && html`<ul class="filled">${filled.map((one) => html`<li><b>${one.name}</b> <small>${t("parameters.filled")}</small></li>`)}</ul>`}
    ${shown.length === 0 && html`<p class="empty">${t("parameters.none")}</p>`}
    <div class="form">
      ${shown.map(
        (parameter) => html`<${Field} key=${parameter.name} parameter=${parameter} value=${draft.parameters[parameter.name]}
          problem=${culprit === parameter ? `${parameter.name}: ${problem.reason}` : null}
          onValue=${(value) => {
            const values = { ...draft.parameters };
            if (value === undefined) delete values[parameter.name];
            else values[parameter.name] = value;
            change({ parameters: values });
          }} />`,
      )}
    </div>
    <button onClick=${check} disabled=${busy}>${t("parameters.check")}</button>
    ${problem && !culprit && html`<${Notice}>${problem.message}<//>`}
    ${checked && html`<${Notice} kind="good">${counted("parameters.ok", checked.targets)}<//>`}
    ${checked?.notices.map((line) => html`<${Notice} kind="note">${line}<//>`)}
  </section>`;
}
