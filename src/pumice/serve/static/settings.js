// How answers are drawn; kept until this tab is closed.

import { apiKey, useKey } from "./api.js";

const STORE = "pumice.settings";
const FIRST = { temperature: 0, top_p: 1, max_tokens: 512, seed: "", system: "" };
const field = (name) => document.getElementById(name);

export class Settings {
  constructor() {
    let kept = {};
    try { kept = JSON.parse(sessionStorage.getItem(STORE)) ?? {}; } catch { /* none */ }
    this.values = { ...FIRST, ...kept };
    this.system = null; // whether the model's template knows a system prompt; null where nobody knows yet
    this.most = null;
    this.changed = () => {};
    const dialog = field("settings"), form = dialog.querySelector("form");
    field("settings-open").addEventListener("click", () => { this.fill(); dialog.showModal(); });
    field("defaults").addEventListener("click", () => { this.values = { ...FIRST }; this.fill(); });
    form.addEventListener("submit", () => {
      for (const name of Object.keys(FIRST)) {
        const given = field(name).value;
        this.values[name] = typeof FIRST[name] === "number" ? Number(given) : given.trim();
      }
      const before = apiKey();
      useKey(field("key").value);
      try { sessionStorage.setItem(STORE, JSON.stringify(this.values)); } catch { /* memory alone */ }
      this.changed(before !== apiKey());
    });
  }

  fill() {
    for (const name of Object.keys(FIRST)) field(name).value = this.values[name];
    field("key").value = apiKey();
    field("system-label").hidden = this.system === false;
    field("no-system").hidden = this.system !== false;
    if (this.most) field("max_tokens").max = this.most;
    field("most-tokens").textContent = this.most ? `at most ${this.most.toLocaleString("en")}` : "";
  }

  /** The members of a call. */
  body() {
    const { temperature, top_p, max_tokens, seed } = this.values;
    return { temperature, top_p, max_tokens, ...(seed === "" ? {} : { seed: Number(seed) }) };
  }

  /** The messages that stand before all others. */
  opening() {
    return this.values.system && this.system !== false ? [{ role: "system", content: this.values.system }] : [];
  }
}
