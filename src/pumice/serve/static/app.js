// The page: puts the parts together, and follows one answer at a time.

import { Trouble, about, apiKey, ask, useKey } from "./api.js";
import { EXAMPLES } from "./examples.js";
import { Looked } from "./heat.js";
import { Growing, make } from "./markdown.js";
import { Tray, camera } from "./pictures.js";
import { Settings } from "./settings.js";
import { Talk, copy, download } from "./talk.js";

const $ = (id) => document.getElementById(id);
const SMALL = 20e6; // parameters: what is smaller has seen little
const talk = new Talk(), settings = new Settings();
const tray = new Tray($("thumbs"), trouble, say);
let server = null; // what /v1/pumice says
let running = null; // the AbortController of the answer under way

function say(text) { $("said").textContent = text; }

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

function model() { return server?.models.find((one) => one.id === $("model").value) ?? server?.models[0]; }

// The server

async function meet() {
  try {
    server = await about();
  } catch (error) {
    if (error.status === 401) return askKey(error.message);
    trouble(error.message);
    setTimeout(meet, 3000);
    return;
  }
  trouble("");
  const chosen = $("model").value || remembered();
  $("model").replaceChildren(...server.models.map(({ id }) => make("option", { value: id, selected: id === chosen }, id)));
  $("model").disabled = server.models.length < 2;
  tray.limits = server.limits;
  settings.most = server.limits.new_tokens;
  choose();
  if (server.models.some(({ state }) => state === "loading")) setTimeout(meet, 1500);
}

function remembered() {
  try { return sessionStorage.getItem("pumice.model"); } catch { return null; }
}

function choose() {
  const one = model();
  settings.system = one.system;
  try { sessionStorage.setItem("pumice.model", one.id); } catch { /* memory alone */ }
  $("loading").hidden = one.state !== "loading";
  $("loading").textContent = `${one.id} is being loaded, and takes no questions yet.`;
  $("small").hidden = !(one.parameters < SMALL);
  $("small").textContent = `${one.id} is a very small model (${(one.parameters / 1e6).toFixed(1)} million parameters). `
    + "The one that ships with Pumice has seen drawn pictures alone, plain shapes and short signs; photographs are strange to it.";
}

function askKey(why) {
  $("keyask-why").textContent = apiKey() ? why : "Whoever runs the server can give you one.";
  $("keyask-key").value = "";
  if (!$("keyask").open) $("keyask").showModal();
}

// Turns

function draw() {
  const items = talk.turns.map((turn, at) => (turn.role === "user" ? asked(turn, at) : answered(turn, at)));
  $("turns").replaceChildren(...items);
  $("welcome").hidden = talk.turns.length > 0;
}

function button(text, act, more = {}) {
  const made = make("button", { type: "button", ...more }, text);
  made.addEventListener("click", () => act(made));
  return made;
}

function copier(text) {
  return button("Copy", async (made) => {
    made.textContent = (await copy(text())) ? "Copied" : "Copying was not allowed";
    setTimeout(() => { made.textContent = "Copy"; }, 1500);
  });
}

function asked(turn, at) {
  const pictures = turn.pictures.map((one, number) => make("li", {}, make("img", { src: one.url, alt: `picture ${number + 1}: ${one.name}` })));
  const text = make("div", { class: "text" }, turn.text);
  const acts = make("div", { class: "acts" }, button("Edit", () => edit(turn, at, text, acts)), copier(() => turn.text));
  const body = make("div", { class: "body" }, ...(pictures.length ? [make("ul", { class: "shown" }, ...pictures)] : []), text);
  return make("li", { class: "user" }, make("h2", { class: "hidden" }, "You"), body, acts);
}

function edit(turn, at, text, acts) {
  const area = make("textarea", { class: "edit", rows: "3", "aria-label": "Edit the question" });
  area.value = turn.text;
  const again = () => {
    const changed = area.value.trim();
    if (!changed) return;
    stop();
    talk.turns.splice(at + 1);
    turn.text = changed;
    answer();
  };
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); again(); }
    if (event.key === "Escape") { event.stopPropagation(); draw(); }
  });
  text.replaceWith(area);
  acts.replaceChildren(button("Ask again", again), button("Cancel", draw));
  area.focus();
}

function answered(turn, at) {
  const text = make("div", { class: "text" });
  new Growing(text).show(turn.text);
  const item = make("li", { class: "assistant" }, make("h2", { class: "hidden" }, "Model"), text);
  finish(item, turn, at);
  return item;
}

/** What stands below an answer once it is there: why it ended, what can be done, how long it took. */
function finish(item, turn, at) {
  if (turn.cut) item.append(make("p", { class: "cut" }, turn.cut));
  if (turn.error) {
    const again = button("Try again", () => regenerate(at));
    const later = turn.after ? ` Good time to try again: in ${turn.after} s.` : "";
    item.append(make("div", { class: "trouble", role: "alert" }, turn.error + later), make("div", { class: "acts" }, again));
    return;
  }
  const acts = make("div", { class: "acts" }, copier(() => turn.text), button("Regenerate", () => regenerate(at)));
  const pictures = talk.shown(at);
  if (pictures.length && turn.text.trim() && model()?.relevance !== false) {
    const eye = button("What did it look at?", () => look(item, eye, turn, at, pictures), { "aria-expanded": "false" });
    acts.append(eye);
  }
  if (turn.stats) acts.append(make("span", { class: "stats" }, turn.stats));
  item.append(acts);
}

function look(item, eye, turn, at, pictures) {
  const old = item.querySelector(".looked");
  eye.setAttribute("aria-expanded", String(!old));
  if (old) { old.remove(); return; }
  const question = () => ({
    model: model().id, messages: [...settings.opening(), ...talk.messages(at), { role: "assistant", content: turn.text }],
  });
  const panel = new Looked(turn.text, pictures, question, say);
  item.append(panel.node);
  panel.look().then(() => panel.node.scrollIntoView({ block: "nearest" }));
}

function regenerate(at) {
  stop();
  talk.turns.splice(at);
  answer(true);
}

function stop() { running?.abort(); running = null; }

function busy(now) {
  $("send").hidden = now;
  $("stop").hidden = !now;
}

/** Ask for the answer to the last question. */
async function answer(another = false) {
  const leave = running = new AbortController();
  const turn = { role: "assistant", text: "" };
  talk.turns.push(turn);
  draw();
  const at = talk.turns.length - 1, several = talk.pictures > 1 ? "pictures" : "picture";
  const text = make("div", { class: "text" }), growing = new Growing(text), label = make("span");
  const clock = make("span", { "aria-hidden": "true" }), state = make("p", { class: "state" }, label, clock);
  const item = make("li", { class: "assistant", "aria-busy": "true" }, make("h2", { class: "hidden" }, "Model"), state, text);
  $("turns").lastElementChild.replaceWith(item);
  const began = performance.now();
  const phase = (words) => { label.textContent = words; say(words); };
  const timer = setInterval(() => { clock.textContent = `${((performance.now() - began) / 1000).toFixed(1)} s`; }, 100);
  let first = null, last = null, frame = 0;
  const show = () => {
    frame = 0;
    const box = $("scroll"), near = box.scrollHeight - box.scrollTop - box.clientHeight < 80;
    growing.show(turn.text);
    if (near) box.scrollTop = box.scrollHeight;
  };
  phase("Waiting for the server");
  item.scrollIntoView({ block: "end" });
  busy(true);
  try {
    const sampled = settings.body();
    // The most likely words are the same each time: another answer needs another draw.
    const drawn = another && sampled.temperature === 0;
    if (drawn) sampled.temperature = 0.7;
    if (another && sampled.seed !== undefined) sampled.seed += 1 + Math.floor(Math.random() * 1e6);
    const body = { model: model()?.id, ...sampled, messages: [...settings.opening(), ...talk.messages(at)] };
    const end = await ask(body, leave.signal, {
      stage: (name) => phase(name === "pictures" ? `Looking at the ${several}` : "Reading the question"),
      text: (piece) => {
        last = performance.now();
        first ??= last;
        state.hidden = true;
        turn.text += piece;
        frame ||= requestAnimationFrame(show);
      },
    });
    turn.stats = stats(end.usage, first, last, began) + (drawn ? " · drawn at temperature 0.7: at 0 it would be the same again" : "");
    if (end.finish === "length") turn.cut = "Cut at the longest answer that the settings allow.";
    if (end.finish === "content_filter") turn.cut = "Ended by the server's filter.";
    if (!turn.text.trim() && !turn.cut) turn.cut = "The model answered nothing.";
  } catch (error) {
    if (error.name === "AbortError") turn.cut = "Stopped.";
    else if (error instanceof Trouble) {
      turn.error = error.message;
      if (error.code === "context_length_exceeded") turn.error += " Edit the question to be shorter, or begin a new chat.";
      turn.after = error.after;
      if (error.status === 401) askKey(error.message);
    } else turn.error = `This page failed: ${error.message}`;
  } finally {
    clearInterval(timer);
    cancelAnimationFrame(frame);
    state.remove();
    show();
    item.setAttribute("aria-busy", "false");
    if (running === leave) { running = null; busy(false); }
  }
  if (talk.turns[at] !== turn) return; // another conversation, or the question was edited
  finish(item, turn, at);
  item.scrollIntoView({ block: "end" });
  say(turn.error ?? `${turn.text || ""} ${turn.cut ?? ""}`);
  if (!talk.keep()) trouble("The pictures are too large for this tab's memory: reloading the page will forget the conversation.");
}

function stats(usage, first, last, began) {
  if (!usage || first === null) return "";
  const told = usage.pumice, wait = told?.first_token_seconds ?? (first - began) / 1000, tokens = usage.completion_tokens;
  const parts = [`${tokens} ${tokens === 1 ? "token" : "tokens"}`];
  if (tokens > 2 && last > first) parts.push(`${((tokens - 1) / ((last - first) / 1000)).toFixed(0)} tokens/s`);
  const encoded = told?.image_seconds ? `, ${told.image_seconds.toFixed(2)} s of it for the picture` : "";
  parts.push(`first token after ${wait.toFixed(2)} s${encoded}`);
  return parts.join(" · ");
}

// The composer

async function submit() {
  await tray.coming;
  const question = $("question"), text = question.value.trim();
  if (running) return;
  if (!text) {
    if (tray.pictures.length) trouble("Write a question about the picture.");
    question.focus();
    return;
  }
  trouble("");
  talk.turns = talk.turns.filter(({ error }) => !error);
  if (talk.turns.at(-1)?.role === "user") talk.turns.pop(); // its answer failed, and it was not asked again
  talk.turns.push({ role: "user", text, pictures: tray.take() });
  question.value = "";
  size();
  answer();
}

function size() {
  const question = $("question");
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight + 2}px`;
}

$("composer").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
$("question").addEventListener("input", size);
$("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); submit(); }
});
$("stop").addEventListener("click", () => { stop(); $("question").focus(); });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && running && !document.querySelector("dialog[open]")) { stop(); $("question").focus(); }
});
$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => { tray.add($("file").files); $("file").value = ""; });
document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) { event.preventDefault(); tray.add(files); }
});
let over = 0; // dragenter and dragleave come for every element on the way
const carries = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragenter", (event) => { if (carries(event)) { over++; $("drop").hidden = false; } });
document.addEventListener("dragleave", (event) => { if (carries(event) && --over <= 0) { over = 0; $("drop").hidden = true; } });
document.addEventListener("dragover", (event) => { if (carries(event)) event.preventDefault(); });
document.addEventListener("drop", (event) => {
  if (!carries(event)) return;
  event.preventDefault();
  over = 0;
  $("drop").hidden = true;
  tray.add(event.dataTransfer.files);
  $("question").focus();
});
tray.taken = () => talk.pictures;
$("or-camera").hidden = !camera($("camera"), (files) => tray.add(files));

// The head

$("model").addEventListener("change", choose);
$("new").addEventListener("click", () => {
  stop();
  talk.turns = [];
  talk.keep();
  tray.put([]);
  trouble("");
  draw();
  busy(false);
  say("A new chat");
  $("question").focus();
  $("scroll").scrollTop = 0;
});
const exported = (name, type, text) => { $("exports").hidePopover(); download(name, type, text); };
$("export-markdown").addEventListener("click", () => exported("chat.md", "text/markdown", talk.markdown()));
$("export-json").addEventListener("click", () => exported("chat.json", "application/json",
  JSON.stringify({ model: model()?.id, ...settings.body(), messages: [...settings.opening(), ...talk.messages()] }, null, 1)));
settings.changed = (newKey) => { if (newKey) meet(); };
$("keyform").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey($("keyask-key").value);
  $("keyask").close();
  meet();
});

// Examples

$("examples").append(...EXAMPLES.map(({ file, alt, question }) => {
  const made = make("button", { type: "button" }, make("img", { src: `/page/${file}`, alt }), make("span", {}, question));
  made.addEventListener("click", async () => {
    if (running) return;
    const blob = await (await fetch(`/page/${file}`)).blob();
    await tray.add([new File([blob], file, { type: blob.type })]);
    $("question").value = question;
    submit();
  });
  return make("li", {}, made);
}));

draw();
meet();
$("question").focus();
