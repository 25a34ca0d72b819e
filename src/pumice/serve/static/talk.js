// The conversation: what was said, kept until this tab is closed, and in which forms it goes out.

const STORE = "pumice.talk";

export class Talk {
  constructor() {
    this.turns = []; // { role, text, pictures, stats?, cut?, error? }
    this.kept = true;
    try { this.turns = JSON.parse(sessionStorage.getItem(STORE)) ?? []; } catch { /* a new one */ }
  }

  /** Keep it in the tab; false where there is no room, as with many pictures. */
  keep() {
    try {
      sessionStorage.setItem(STORE, JSON.stringify(this.turns.map(({ error, ...turn }) => turn)));
      this.kept = true;
    } catch {
      try { sessionStorage.removeItem(STORE); } catch { /* no storage at all */ }
      this.kept = false;
    }
    return this.kept;
  }

  get pictures() { return this.turns.reduce((sum, turn) => sum + (turn.pictures?.length ?? 0), 0); }

  /** Pictures shown before turn number `end`. */
  shown(end) { return this.turns.slice(0, end).flatMap((turn) => turn.pictures ?? []); }

  /** OpenAI's messages of the turns before number `end`. */
  messages(end = this.turns.length) {
    return this.turns.slice(0, end).filter((turn) => turn.text || turn.role === "user").map(({ role, text, pictures }) => {
      if (!pictures?.length) return { role, content: text };
      const images = pictures.map(({ url }) => ({ type: "image_url", image_url: { url } }));
      return { role, content: [...images, { type: "text", text }] };
    });
  }

  markdown() {
    return this.turns.filter((turn) => turn.text).map(({ role, text, pictures }) => {
      const images = (pictures ?? []).map(({ name, url }) => `![${name.replace(/[[\]\n]/g, " ")}](${url})\n\n`).join("");
      return `**${role === "user" ? "You" : "Model"}**\n\n${images}${text}\n`;
    }).join("\n");
  }
}

/** Give a text to the person as a file. */
export function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** Put a text on the clipboard, also where the page is no secure one; whether it is there. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "hidden";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
