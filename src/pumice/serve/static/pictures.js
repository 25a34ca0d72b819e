// Pictures on their way into a question: chosen, dropped, pasted or taken; made fit for the server, and shown small.

import { make } from "./markdown.js";

const KNOWN = ["image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp"];

/** What goes wrong with a file, as a sentence. */
class Unfit extends Error {}

/** A picture { url, name, width, height, note } of a file, within the server's limits. */
export async function intake(file, limits) {
  const name = file.name || "picture";
  let bitmap;
  try { bitmap = await createImageBitmap(file); } catch {
    throw new Unfit(file.type && !file.type.startsWith("image/")
      ? `${name} is no picture.` : `${name} cannot be opened by this browser: save it as JPEG or PNG.`);
  }
  try {
    const { width, height } = bitmap, pixels = width * height;
    const large = pixels > limits.pixels, heavy = file.size > limits.image_bytes, strange = !KNOWN.includes(file.type);
    if (!large && !heavy && !strange) return { url: await dataUrl(file), name, width, height, note: "" };
    const scale = large ? Math.sqrt(limits.pixels / pixels) * 0.999 : 1;
    const made = redrawn(bitmap, Math.max(1, Math.floor(width * scale)), Math.max(1, Math.floor(height * scale)));
    const url = made.toDataURL(strange && !heavy && !large ? "image/png" : "image/jpeg", 0.92);
    if (url.length * 0.75 > limits.image_bytes) throw new Unfit(`${name} is too large, also when it is made smaller.`);
    const millions = (number) => (number / 1e6).toFixed(0);
    const note = large ? `${millions(pixels)} MP; the server takes ${millions(limits.pixels)}: made smaller`
      : heavy ? "packed anew: the file was too large" : "sent as PNG";
    return { url, name, width: made.width, height: made.height, note };
  } finally {
    bitmap.close();
  }
}

function redrawn(source, width, height) {
  const canvas = make("canvas", { width, height });
  canvas.getContext("2d").drawImage(source, 0, 0, width, height);
  return canvas;
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Unfit(`${file.name || "The picture"} cannot be read.`));
    reader.readAsDataURL(file);
  });
}

/** The pictures of the next question. */
export class Tray {
  constructor(list, trouble, say) {
    this.list = list; this.trouble = trouble; this.say = say;
    this.pictures = [];
    this.limits = null;
    this.taken = () => 0; // how many the conversation has already
    this.coming = Promise.resolve();
  }

  /** Take files in, in their order; what is unfit is told. */
  add(files) {
    const all = [...files];
    this.coming = this.coming.then(() => this.addAll(all));
    return this.coming;
  }

  async addAll(files) {
    const wrong = [];
    for (const file of files) {
      if (this.limits && this.taken() + this.pictures.length >= this.limits.images) {
        wrong.push(`A conversation may show ${this.limits.images} pictures.`);
        break;
      }
      try { this.pictures.push(await intake(file, this.limits ?? { pixels: 4e7, image_bytes: 2e7 })); } catch (error) {
        wrong.push(error instanceof Unfit ? error.message : `${file.name || "A picture"} cannot be used.`);
      }
    }
    this.trouble(wrong.join(" "));
    this.show();
    if (this.pictures.length && !wrong.length) this.say(`${this.pictures.length} ${this.pictures.length === 1 ? "picture" : "pictures"} to ask about`);
  }

  take() {
    const taken = this.pictures;
    this.pictures = [];
    this.show();
    return taken;
  }

  put(pictures) { this.pictures = pictures; this.show(); }

  show() {
    this.list.replaceChildren(...this.pictures.map((picture, at) => {
      const remove = make("button", { type: "button", "aria-label": `Remove ${picture.name}`, title: "Remove" }, "×");
      remove.addEventListener("click", () => {
        this.pictures.splice(at, 1);
        this.show();
        this.say(`${picture.name} removed`);
        (this.list.querySelectorAll("button")[at] ?? document.getElementById("question")).focus();
      });
      const note = picture.note ? [make("small", {}, picture.note)] : [];
      return make("li", {}, make("img", { src: picture.url, alt: picture.name }), remove, ...note);
    }));
  }
}

/** The camera's dialog; gives files to `add`. */
export function camera(button, add) {
  const dialog = document.getElementById("shoot"), video = document.getElementById("video");
  const take = document.getElementById("shoot-take"), why = document.getElementById("shoot-why");
  // Browsers give pages a camera only over https and on this machine.
  if (!navigator.mediaDevices?.getUserMedia) return false;
  let stream = null;
  const stop = () => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    video.srcObject = null;
    take.disabled = true;
  };
  button.addEventListener("click", async () => {
    why.hidden = true;
    dialog.showModal();
    try {
      const found = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
      if (!dialog.open) { found.getTracks().forEach((track) => track.stop()); return; }
      stream = found;
      video.srcObject = found;
      await video.play();
      take.disabled = false;
      take.focus();
    } catch (error) {
      why.textContent = error.name === "NotAllowedError" ? "This page was not allowed to use the camera; the browser's settings for this page let it."
        : error.name === "NotFoundError" ? "There is no camera." : "The camera cannot be used at the moment.";
      why.hidden = false;
    }
  });
  take.addEventListener("click", () => {
    redrawn(video, video.videoWidth, video.videoHeight).toBlob((blob) => {
      dialog.close();
      if (blob) add([new File([blob], "camera.jpg", { type: "image/jpeg" })]);
    }, "image/jpeg", 0.92);
  });
  document.getElementById("shoot-cancel").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => { stop(); button.focus(); });
  button.hidden = false;
  return true;
}
