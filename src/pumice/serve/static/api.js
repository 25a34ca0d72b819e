// The server's calls: what it serves, answers as a stream, what the model looked at. Keys stay in this tab.

const KEY = "pumice.key";
let key = read(KEY) ?? "";

function read(name) {
  try { return sessionStorage.getItem(name); } catch { return null; }
}

export function apiKey() { return key; }

export function useKey(given) {
  key = given.trim();
  try { if (key) sessionStorage.setItem(KEY, key); else sessionStorage.removeItem(KEY); } catch { /* memory alone */ }
}

/** A call that failed, with a sentence for the person before the page. */
export class Trouble extends Error {
  constructor(sentence, { status = 0, after = null, code = null } = {}) {
    super(sentence);
    this.status = status;
    this.code = code;
    this.after = after; // seconds, where the server says when to come back
  }
}

const GONE = "The server does not answer. Is pumice serve still running?";

async function call(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const options = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  let reply;
  try {
    reply = await fetch(path, { ...options, headers, signal, credentials: "omit", cache: "no-store", referrerPolicy: "no-referrer" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble(GONE);
  }
  if (reply.ok) return reply;
  let told = null;
  try { told = (await reply.json()).error; } catch { /* not the server's own words */ }
  throw new Trouble(sentence(reply.status, told?.message ?? ""), {
    status: reply.status, after: Number(reply.headers.get("Retry-After")) || null, code: told?.code,
  });
}

function sentence(status, words) {
  const told = words ? words[0].toUpperCase() + words.slice(1).replace(/\.?$/, ".") : "";
  if (status === 401) return key ? "The server does not know this API key." : "The server asks for an API key.";
  if (status === 413) return `The request is too large. ${told} Remove a picture, or begin a new chat.`;
  if (status === 500) return told || "The server failed at this request; its log says why.";
  return told || `The server answered with status ${status}.`;
}

export async function about() {
  return (await call("/v1/pumice")).json();
}

export async function relevance(body, signal) {
  return (await call("/v1/pumice/relevance", body, signal)).json();
}

/**
 * Asks, and tells what comes. `on.stage` gets "pictures" or "prompt" when the server says that it begins, `on.text`
 * each piece. Resolves to { finish, usage }.
 */
export async function ask(body, signal, on) {
  const options = { include_usage: true, include_stages: true };
  const reply = await call("/v1/chat/completions", { ...body, stream: true, stream_options: options }, signal);
  const end = { finish: null, usage: null };
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    let part;
    try { part = await reader.read(); } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Trouble("The connection broke before the answer was complete.");
    }
    if (part.done) break;
    held += part.value;
    const lines = held.split("\n");
    held = lines.pop();
    for (const line of lines) {
      if (line.startsWith(": stage ")) on.stage(line.slice(8).trim());
      else if (line.startsWith("data: ") && line !== "data: [DONE]") take(JSON.parse(line.slice(6)), end, on);
    }
  }
  if (!end.finish) throw new Trouble("The connection ended before the answer was complete.");
  return end;
}

function take(chunk, end, on) {
  if (chunk.error) throw new Trouble(sentence(500, chunk.error.message ?? ""), { code: chunk.error.code });
  if (chunk.usage) end.usage = chunk.usage;
  for (const choice of chunk.choices) {
    if (choice.delta.content) on.text(choice.delta.content);
    if (choice.finish_reason) end.finish = choice.finish_reason;
  }
}
