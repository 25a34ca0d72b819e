// Markdown to DOM nodes. Text of a model goes into text nodes alone and never through innerHTML, so whatever it
// says is shown and nothing of it is run or fetched. Known: paragraphs, headings, lists, quotes, tables, code,
// rules; bold, italics, strike-through, code and links inside lines. All else is text as it stands.

const DEEPEST = 8;
const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]{0,30})[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)(?:\s+#+)?\s*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const ITEM = /^( {0,12})([-*+]|\d{1,9}[.)])(?:\s+(.*)|)$/;
const ALIGNS = /^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;

const LONGEST = 1000;
// Headings, rules, tables and fences are short lines. In long ones their patterns would look at each place again and again.
const short = (line) => (line.length > LONGEST ? "" : line);
const isRow = (line) => short(line).includes("|");
const isAligns = (line) => line.includes("-") && line.includes("|") && ALIGNS.test(short(line));

/** Elements by name, with children that are nodes or text. */
export function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

/** The source of each block at the top: what stands between blank lines, a fence whole. */
export function split(text) {
  const blocks = [];
  let open = null, lines = [];
  const end = () => { if (lines.length) blocks.push(lines.join("\n")); lines = []; };
  for (const line of text.replace(/\r\n?/g, "\n").split("\n")) {
    const fence = FENCE.exec(short(line));
    if (open) {
      lines.push(line);
      if (line.trim().startsWith(open) && !line.trim().replaceAll(open[0], "")) { open = null; end(); }
    } else if (fence) {
      const indented = /^ {2,}/.test(line) && lines.length;
      if (!indented) end();
      lines.push(line);
      open = fence[1];
    } else if (!line.trim()) {
      // A list goes on over blank lines where what follows is indented or an item; that is decided below.
      if (lines.length) lines.push("");
      if (!ITEM.test(lines[0] ?? "")) { while (lines.at(-1) === "") lines.pop(); end(); }
    } else {
      if (lines.at(-1) === "" && !ITEM.test(line) && !/^ {2,}/.test(line)) { while (lines.at(-1) === "") lines.pop(); end(); }
      lines.push(line);
    }
  }
  while (lines.at(-1) === "") lines.pop();
  end();
  return blocks;
}

/** Nodes of a text. */
export function render(text) {
  const found = document.createDocumentFragment();
  for (const block of split(text)) found.append(...blocks(block.split("\n"), 0));
  return found;
}

/** Shows a text that grows: only blocks that changed are made anew. */
export class Growing {
  constructor(node) { this.node = node; this.known = []; }

  show(text) {
    const sources = split(text);
    let same = 0;
    while (same < sources.length && this.known[same]?.source === sources[same]) same++;
    for (const old of this.known.splice(same)) old.nodes.forEach((node) => node.remove());
    for (const source of sources.slice(same)) {
      const nodes = blocks(source.split("\n"), 0);
      this.node.append(...nodes);
      this.known.push({ source, nodes });
    }
  }
}

function blocks(lines, depth) {
  if (depth > DEEPEST) return [make("p", {}, lines.join("\n"))];
  const nodes = [];
  let k = 0;
  while (k < lines.length) {
    const line = lines[k];
    if (!line.trim()) { k++; continue; }
    const fence = FENCE.exec(short(line)), heading = HEADING.exec(short(line));
    if (fence) {
      const end = lines.findIndex((one, at) => at > k && one.trim().startsWith(fence[1]) && !one.trim().replaceAll(fence[1][0], ""));
      const stop = end < 0 ? lines.length : end;
      const code = make("code", fence[2] ? { "data-language": fence[2] } : {}, lines.slice(k + 1, stop).join("\n"));
      nodes.push(make("pre", { tabindex: "0" }, code));
      k = stop + 1;
    } else if (heading) {
      nodes.push(make(`h${Math.min(5, heading[1].length + 2)}`, {}, ...inline(heading[2], 0)));
      k++;
    } else if (RULE.test(short(line))) {
      nodes.push(make("hr"));
      k++;
    } else if (/^ {0,3}>/.test(line)) {
      const inside = [];
      for (; k < lines.length && /^ {0,3}>/.test(lines[k]); k++) inside.push(lines[k].replace(/^ {0,3}> ?/, ""));
      nodes.push(make("blockquote", {}, ...blocks(inside, depth + 1)));
    } else if (ITEM.test(line)) {
      const [list, next] = listed(lines, k, depth);
      nodes.push(list);
      k = next;
    } else if (isRow(line) && isAligns(lines[k + 1] ?? "")) {
      const [table, next] = tabled(lines, k);
      nodes.push(table);
      k = next;
    } else {
      const inside = [line];
      for (k++; k < lines.length && !starts(lines, k); k++) inside.push(lines[k]);
      nodes.push(make("p", {}, ...inline(inside.map((one) => one.trim()).join("\n"), 0)));
    }
  }
  return nodes;
}

function starts(lines, k) {
  const line = lines[k];
  return !line.trim() || FENCE.test(short(line)) || HEADING.test(short(line)) || RULE.test(short(line)) || /^ {0,3}>/.test(line) ||
    ITEM.test(line) || (isRow(line) && isAligns(lines[k + 1] ?? ""));
}

function listed(lines, k, depth) {
  const first = ITEM.exec(lines[k]), ordered = /\d/.test(first[2]), base = first[1].length;
  const number = Number.parseInt(first[2], 10);
  const list = make(ordered ? "ol" : "ul", ordered && number !== 1 ? { start: number } : {});
  while (k < lines.length) {
    const item = ITEM.exec(lines[k]);
    if (!item || item[1].length > base + 1 || item[1].length < base || /\d/.test(item[2]) !== ordered) break;
    const inside = [item[3] ?? ""];
    for (k++; k < lines.length; k++) {
      const next = ITEM.exec(lines[k]);
      if (next && next[1].length <= base + 1) break;
      if (!lines[k].trim() && !/^\s/.test(lines[k + 1] ?? "")) { k++; break; }
      inside.push(lines[k].slice(Math.min(base + 2, lines[k].search(/\S|$/))));
    }
    while (k < lines.length && !lines[k].trim()) k++;
    const nodes = blocks(inside, depth + 1);
    const lone = nodes[0]?.tagName === "P" ? [...nodes[0].childNodes, ...nodes.slice(1)] : nodes;
    list.append(make("li", {}, ...lone));
  }
  return [list, k];
}

function tabled(lines, k) {
  const cells = (line) => line.trim().replace(/^\|/, "").replace(/\|$/, "").split("|").map((cell) => cell.trim());
  const heads = cells(lines[k]);
  const row = (name, texts) => make("tr", {}, ...heads.map((_, at) => make(name, {}, ...inline(texts[at] ?? "", 0))));
  const body = make("tbody");
  const head = make("thead", {}, row("th", heads));
  for (k += 2; k < lines.length && lines[k].includes("|"); k++) body.append(row("td", cells(lines[k])));
  return [make("div", { class: "table", tabindex: "0" }, make("table", {}, head, body)), k];
}

const MARKS = [["**", "strong"], ["__", "strong"], ["~~", "del"], ["*", "em"], ["_", "em"]];

/** The nodes of a line. It walks once from left to right; a mark without its partner is text. */
function inline(text, depth) {
  const nodes = [];
  let plain = "";
  const flush = () => { if (plain) nodes.push(plain); plain = ""; };
  const gone = new Set(); // marks that have no partner further on: looking again would cost the square
  let k = 0;
  while (k < text.length) {
    const rest = text[k];
    if (rest === "\\" && /[\\`*_~[\]()#+\-.!|>]/.test(text[k + 1] ?? "")) { plain += text[k + 1]; k += 2; continue; }
    if (rest === "`") {
      const ticks = /^`+/.exec(text.slice(k, k + 20))[0];
      const end = gone.has(ticks) ? -1 : text.indexOf(ticks, k + ticks.length);
      if (end > 0) {
        flush();
        nodes.push(make("code", {}, text.slice(k + ticks.length, end)));
        k = end + ticks.length;
      } else { gone.add(ticks); plain += ticks; k += ticks.length; }
      continue;
    }
    const link = (rest === "[" || (rest === "!" && text[k + 1] === "[")) && /^!?\[([^[\]\n]{0,500})\]\(([^()\s]{1,2000})(?:\s+"[^"\n]{0,200}")?\)/.exec(text.slice(k, k + 2800));
    if (link) {
      flush();
      nodes.push(rest === "!" ? `${link[1]} (${link[2]})` : linked(link[1], link[2], depth));
      k += link[0].length;
      continue;
    }
    const mark = depth < DEEPEST && MARKS.find(([sign]) => text.startsWith(sign, k));
    if (mark && !gone.has(mark[0]) && opens(text, k, mark[0])) {
      const end = closing(text, k + mark[0].length, mark[0]);
      if (end > 0) {
        flush();
        nodes.push(make(mark[1], {}, ...inline(text.slice(k + mark[0].length, end), depth + 1)));
        k = end + mark[0].length;
        continue;
      }
      gone.add(mark[0]);
    }
    const run = mark ? mark[0] : rest;
    plain += run;
    k += run.length;
  }
  flush();
  return nodes;
}

function opens(text, k, sign) {
  const next = text[k + sign.length] ?? " ";
  return !/\s/.test(next) && !(sign[0] === "_" && /\w/.test(text[k - 1] ?? ""));
}

function closing(text, from, sign) {
  for (let at = text.indexOf(sign, from + 1); at > 0; at = text.indexOf(sign, at + 1)) {
    if (/\s/.test(text[at - 1])) continue;
    if (sign[0] === "_" && /\w/.test(text[at + sign.length] ?? "")) continue;
    if (sign.length === 1 && text[at + 1] === sign) { at++; continue; }
    return at;
  }
  return -1;
}

/** A link that opens elsewhere and tells the place nothing; anything but the web and mail stays text. */
function linked(words, address, depth) {
  let url = null;
  try { url = new URL(address); } catch { /* no address */ }
  if (!url || !["http:", "https:", "mailto:"].includes(url.protocol)) return `${words} (${address})`;
  return make("a", { href: url.href, rel: "noopener noreferrer nofollow", target: "_blank", title: url.href }, ...inline(words, depth + 1));
}
