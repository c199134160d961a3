// Publish the result: a look at what would be sent, then one confirmation, then how far it is.
import { html, useEffect, useState } from "../vendor/preact.js";
import { get, post } from "./api.js";
import { Confirm, Failed, Notice, useLoaded } from "./parts.js";
import { useTyped } from "./state.js";
import { counted, t } from "./texts.js";

const ADDRESS = ["s3", "endpoint", "public_url", "stac_api"];
const LABELS = { s3: "publish.s3", endpoint: "publish.endpoint", public_url: "publish.public", stac_api: "publish.api" };

// Hosts that read a collection over http; a click goes there, the page itself asks nobody.
const linked = (address) =>
  /^https?:/.test(address) ? html`<a href=${address} target="_blank" rel="noopener">${address}</a> · <a href=${`https://radiantearth.github.io/stac-browser/#/external/${address}`} target="_blank" rel="noopener noreferrer">${t("publish.browser")}</a>` : address;

export function Publish({ run, me }) {
  const [target, setTarget] = useState(me.publish[0]?.name ?? "");
  const [address, setAddress] = useTyped(`publish-${run}`, {});
  const [partial, setPartial] = useState(false);
  const [shown, setShown] = useState(null);
  const [problem, setProblem] = useState(null);
  const [asking, setAsking] = useState(false);
  const [busy, setBusy] = useState(false);
  const state = useLoaded((signal) => get(`/v1/runs/${run}/publication`, { signal }), [run]);
  const running = state.value?.state === "running";
  useEffect(() => {
    if (!running) return;
    const timer = setTimeout(state.retry, 1500);
    return () => clearTimeout(timer);
  }, [running, state.value]);

  if (me.publish.length === 0 && !me.any_source) return html`<h2>${t("publish.title")}</h2><p class="empty">${t("publish.none")}</p>`;
  const where = me.publish.find((one) => one.name === target)?.s3 ?? address.s3 ?? "";

  async function send(dry_run) {
    setAsking(false);
    setProblem(null);
    setShown(null);
    setBusy(true);
    try {
      const given = Object.fromEntries(ADDRESS.filter((name) => address[name]).map((name) => [name, address[name]]));
      const answer = await post(`/v1/runs/${run}/publish`, { ...(target ? { target } : given), partial, dry_run });
      if (dry_run) setShown(answer.lines);
      else state.retry();
    } catch (error) {
      setProblem(error.message);
    }
    setBusy(false);
  }

  const found = state.value;
  return html`<h2>${t("publish.title")}</h2>
    <p class="lead">${t("publish.lead")}</p>
    <label>${t("publish.target")}
      <select onChange=${(event) => { setTarget(event.target.value); setShown(null); }}>
        ${me.publish.map((one) => html`<option value=${one.name} selected=${one.name === target}>${one.name} (${one.s3})</option>`)}
        ${me.any_source && html`<option value="" selected=${target === ""}>${t("publish.other")}</option>`}
      </select>
    </label>
    ${target === "" && ADDRESS.map((name) => html`<label>${t(LABELS[name])}
      <input value=${address[name] ?? ""} onInput=${(event) => setAddress({ ...address, [name]: event.target.value.trim() })} />
    </label>`)}
    <label class="check"><input type="checkbox" checked=${partial} onChange=${(event) => setPartial(event.target.checked)} /> ${t("publish.partial")}</label>
    <p class="hint">${t("publish.first")}</p>
    <div class="row">
      <button disabled=${busy || running || !where} onClick=${() => send(true)}>${t("publish.look")}</button>
      <button class="primary" disabled=${busy || running || shown === null} onClick=${() => setAsking(true)}>${t("publish.send")}</button>
    </div>
    ${problem && html`<${Notice}>${problem}<//>`}
    ${shown && html`<pre class="published" tabindex="0">${shown.join("\n")}</pre>`}
    ${asking && html`<${Confirm} text=${t("publish.ask", { target: where })} yes=${t("publish.send")} onYes=${() => send(false)} onNo=${() => setAsking(false)} />`}
    ${state.error && html`<${Failed} error=${state.error} retry=${state.retry} />`}
    ${running && html`<${Notice} kind="note">${t("publish.running")} ${found.lines.at(-1)}<//>`}
    ${found?.state === "published" && html`<${Notice} kind="good">${t("publish.done")}: ${linked(found.record.collection)} ${counted("publish.objects", found.record.objects + found.record.same)}<//>`}
    ${found?.state === "failed" && html`<${Notice}>${found.lines[0]}<//>`}`;
}
