// What the model looked at: maps over the pictures, for the whole answer or for a word of it.

import { Trouble, relevance } from "./api.js";
import { make } from "./markdown.js";

const HOT = [255, 72, 0], FADED = 0.72, SHARPENED = 0.6, WIDEST = 640, LITTLE = 0.1, MUCH = 3;

/** Draws a picture faded where nothing is hot; the same rule as pumice/image/heat.py. */
function draw(canvas, image, map) {
  const scale = Math.min(1, WIDEST / Math.max(image.naturalWidth, image.naturalHeight));
  const grow = Math.max(scale, Math.min(3, 320 / image.naturalWidth));
  const width = canvas.width = Math.max(1, Math.round(image.naturalWidth * grow));
  const height = canvas.height = Math.max(1, Math.round(image.naturalHeight * grow));
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, width, height);
  const pixels = context.getImageData(0, 0, width, height), data = pixels.data;
  const glow = map.map.map((row) => row.map((value) => value ** SHARPENED));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = 4 * (y * width + x), hot = between(glow, map, (x + 0.5) / width, (y + 0.5) / height);
      const grey = (0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2]) * 0.55 + 40;
      for (let c = 0; c < 3; c++) {
        const faded = data[at + c] + (grey - data[at + c]) * FADED * (1 - hot);
        data[at + c] = faded + (HOT[c] - faded) * 0.45 * hot;
      }
    }
  }
  context.putImageData(pixels, 0, 0);
}

function between(glow, { rows, columns }, x, y) {
  const left = x * columns - 0.5, top = y * rows - 0.5, c = Math.floor(left), r = Math.floor(top);
  const at = (i, j) => glow[Math.min(rows - 1, Math.max(0, i))][Math.min(columns - 1, Math.max(0, j))];
  const u = left - c, v = top - r;
  return (at(r, c) * (1 - u) + at(r, c + 1) * u) * (1 - v) + (at(r + 1, c) * (1 - u) + at(r + 1, c + 1) * u) * v;
}

/** What a gain in nats means: beside the same picture with all its details evened out. */
function meaning(gain) {
  if (gain === null || gain === undefined) return "";
  if (gain < -LITTLE) return "The picture's details speak against these words: they came from the text.";
  if (gain < LITTLE) return "The picture made no difference: the model would have said this anyway.";
  if (gain > MUCH) return "Without the picture's details the model would hardly have said this.";
  return `The picture's details made this ${Math.exp(gain).toFixed(1)} times as likely.`;
}

/** A panel for one answer. `question` gives the call's body; `pictures` are those shown up to the answer. */
export class Looked {
  constructor(text, pictures, question, say) {
    this.text = text; this.pictures = pictures; this.question = question; this.say = say;
    this.known = new Map();
    this.leave = null;
    this.maps = make("div", { class: "maps" });
    this.told = make("p", { class: "note" });
    this.wrong = make("p", { class: "trouble", role: "alert", hidden: true });
    this.words = make("p", { class: "words", role: "group", "aria-label": "Words of the answer" }, ...this.buttons());
    const scale = make("p", { class: "scale" }, "none", make("i", { "aria-hidden": "true" }), "most");
    this.node = make("section", { class: "looked", "aria-label": "What the model looked at" },
      make("h3", {}, "What the model looked at"),
      make("p", { class: "note" }, "Choose a word to see where it came from."), this.words, this.maps, scale, this.told, this.wrong);
    this.node.addEventListener("keydown", (event) => this.move(event));
  }

  buttons() {
    const all = make("button", { type: "button", "aria-pressed": "true" }, "The whole answer");
    all.span = null;
    const found = [all];
    // The server counts characters, JavaScript halves of some: what lies outside the first plane counts once.
    for (const match of [...this.text.matchAll(/\S+/g)].slice(0, 400)) {
      const start = [...this.text.slice(0, match.index)].length;
      const word = make("button", { type: "button", "aria-pressed": "false", tabindex: "-1" }, match[0]);
      word.span = [start, start + [...match[0]].length];
      found.push(word);
    }
    for (const button of found) button.addEventListener("click", () => this.look(button));
    return found.flatMap((button, at) => (at ? [" ", button] : [button]));
  }

  move(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const all = [...this.words.querySelectorAll("button")], at = all.indexOf(document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    const next = all[(at + step + all.length) % all.length];
    all[at].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  /** Ask about the words of a button, and show. */
  async look(button = this.words.querySelector("button")) {
    this.leave?.abort();
    for (const one of this.words.querySelectorAll("button")) {
      one.setAttribute("aria-pressed", String(one === button));
      one.tabIndex = one === button ? 0 : -1;
    }
    this.wrong.hidden = true;
    const id = String(button.span);
    try {
      if (!this.known.has(id)) {
        this.leave = new AbortController();
        this.node.setAttribute("aria-busy", "true");
        this.told.textContent = "Looking back…";
        const body = { ...this.question(), ...(button.span ? { span: button.span } : {}) };
        this.known.set(id, await relevance(body, this.leave.signal));
      }
      await this.show(this.known.get(id));
    } catch (error) {
      if (error.name === "AbortError") return;
      this.told.textContent = "";
      this.wrong.textContent = error instanceof Trouble ? error.message : `This page failed: ${error.message}`;
      this.wrong.hidden = false;
    }
    this.node.setAttribute("aria-busy", "false");
  }

  async show(found) {
    const several = found.images.length > 1;
    const figures = await Promise.all(found.images.map(async (map, at) => {
      const image = new Image();
      image.src = this.pictures[at].url;
      await image.decode();
      const share = `${Math.round(100 * map.share)}%`;
      const canvas = make("canvas", { role: "img", "aria-label": `${this.pictures[at].name}: ${where(map)}` });
      draw(canvas, image, map);
      const caption = several ? [make("figcaption", {}, `picture ${at + 1}: ${share}`)] : [];
      return make("figure", {}, canvas, ...caption);
    }));
    this.maps.replaceChildren(...figures);
    const outside = found.elsewhere > 0.15 ? ` ${Math.round(100 * found.elsewhere)}% lies in padding around the picture.` : "";
    this.told.textContent = meaning(found.gain) + outside;
    this.say(`Shown: ${where(found.images[0])}. ${this.told.textContent}`);
  }
}

/** Where the hottest ninth of a picture is, in words. */
function where({ map, rows, columns }) {
  const sums = Array.from({ length: 9 }, () => 0);
  map.forEach((row, r) => row.forEach((value, c) => {
    sums[3 * Math.min(2, Math.floor(3 * (r + 0.5) / rows)) + Math.min(2, Math.floor(3 * (c + 0.5) / columns))] += value;
  }));
  const best = sums.indexOf(Math.max(...sums)), names = [["top", "middle", "bottom"], ["left", "center", "right"]];
  return sums[best] > 0 ? `mostly ${names[0][Math.floor(best / 3)]} ${names[1][best % 3]}` : "nowhere in particular";
}
