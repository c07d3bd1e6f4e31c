// The page: a picture in, what the engine says of it out.

import { NoWebGpu, classify, decode, heat, isLoss, open, times, type Precision, type Result } from "./engine";
import * as kernels from "./kernels";

const PRECISION = "escnet.precision";
const find = <T extends HTMLElement>(selector: string) => document.querySelector<T>(selector)!;
const page = find("main");
const samples = import.meta.glob<string>("../../assets/demo/samples/*.png", { eager: true, query: "?url", import: "default" });

let device = "";
/** What is under way; the next waits for it. */
let turn: Promise<unknown> = Promise.resolve();
/** What numbers are to be stored in, once the GPU was asked. */
let wanted = remembered();
let shown: { url: string; name: string } | undefined;

/** The precision that was chosen last; without a choice, or where the browser keeps nothing, f32. */
function remembered(): Precision {
  try {
    return localStorage.getItem(PRECISION) === "f16" ? "f16" : "f32";
  } catch {
    return "f32";
  }
}

function say(text: string, state: "loading" | "ready" | "working" | "done" | "failed"): void {
  find("#status").textContent = text;
  page.dataset.state = state;
  page.setAttribute("aria-busy", String(state === "loading" || state === "working"));
}

async function start(): Promise<void> {
  const bar = find<HTMLProgressElement>("#progress");
  bar.hidden = false;
  find<HTMLFieldSetElement>("#precision").disabled = true;
  find<HTMLInputElement>(`#${wanted}`).checked = true;
  const opened = await open(wanted, (done, what) => {
    bar.value = done;
    say(what, "loading");
  });
  bar.hidden = true;
  const used = opened.offersHalf ? wanted : "f32";
  device = `${opened.device} in ${used}`;
  offer(opened.offersHalf, used);
  say(`Ready, on ${device}. Choose a picture.`, "ready");
}

/** Shows which precisions there are, and which one is in use. */
function offer(half: boolean, used: Precision): void {
  find<HTMLFieldSetElement>("#precision").disabled = false;
  find<HTMLInputElement>("#f16").disabled = !half;
  find<HTMLInputElement>(`#${used}`).checked = true;
  find("#no-f16").hidden = half;
}

/** Says what went wrong and what can be done. */
function trouble(title: string, lines: string[], again?: () => void): void {
  const box = find("#trouble");
  const heading = document.createElement("h2");
  heading.textContent = title;
  const list = document.createElement("ul");
  list.append(...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
  box.replaceChildren(heading, list);
  if (again) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Start the engine again", onclick: again });
    box.append(button);
  }
  box.hidden = false;
  find("#progress").hidden = true;
  say(title, "failed");
}

const BROWSERS = [
  "Chrome, Edge and other Chromium browsers have it from version 113; on Linux it may have to be switched on at chrome://flags/#enable-unsafe-webgpu.",
  "Safari has it from version 26, Firefox from 141 on Windows and from 145 on Macs; elsewhere it can be switched on at about:config, dom.webgpu.enabled.",
  "It wants a page that came over https or from this computer, and hardware acceleration switched on in the browser's settings.",
];

function failed(error: unknown): void {
  const reason = error instanceof Error ? error.message : String(error);
  const again = () => queue(async () => void (await restart()));
  // What 16 bits are to blame for, 32 may do.
  if (wanted === "f16") find<HTMLFieldSetElement>("#precision").disabled = false;
  if (error instanceof NoWebGpu) trouble("This browser has no WebGPU, which the engine computes with.", BROWSERS);
  else if (isLoss(error) && reason.includes("no adapter")) trouble("The browser found no GPU to compute on.", [reason, ...BROWSERS], again);
  else if (isLoss(error)) trouble("The GPU was lost twice in a row.", [reason, "Other programs may need its memory: close some, then start again."], again);
  else if (error instanceof WebAssembly.RuntimeError) trouble("The engine stopped.", [reason, "Reload this page to start it anew."]);
  else trouble("That did not work.", [reason]);
}

async function restart(): Promise<void> {
  find("#trouble").hidden = true;
  await start();
  if (shown) await tell(shown.url, shown.name);
}

/** Runs one thing after another. A lost GPU is opened again, once. */
function queue(work: () => Promise<void>): void {
  turn = turn.then(async () => {
    try {
      await work();
    } catch (error) {
      if (!isLoss(error) || page.dataset.state === "loading") return failed(error);
      say("The GPU was lost; starting the engine again …", "loading");
      await restart().catch(failed);
    }
  });
}

async function tell(url: string, name: string): Promise<void> {
  find("#trouble").hidden = true;
  say(`Looking at ${name} …`, "working");
  const file = await (await fetch(url)).blob();
  const picture = await decode(file, name);
  try {
    const began = performance.now();
    for (const id of ["#base", "#seen"]) find<HTMLImageElement>(id).src = url;
    find<HTMLImageElement>("#base").alt = `The picture ${name}`;
    find("#result").hidden = false;
    find("#result").classList.add("stale");
    const result = await classify(picture, (caption) => say(`Says: ${caption}. Judging …`, "working"));
    const ms = performance.now() - began;
    show(result);
    kernels.show(await times(), device);
    const { class: emotion, probability } = result.predictions[0]!;
    say(`${name}: ${emotion}, ${percent(probability)}. ${result.caption}. Took ${(ms / 1000).toFixed(1)} s.`, "done");
  } finally {
    picture.free();
  }
}

const percent = (p: number) => `${(100 * p).toFixed(1)}%`;

function show(result: Result): void {
  find("#result").classList.remove("stale");
  const { class: emotion, probability } = result.predictions[0]!;
  find("#emotion").textContent = `${emotion} ${percent(probability)}`;
  find("#bars").replaceChildren(
    ...result.predictions.map(({ class: name, probability }) => {
      const item = document.createElement("li");
      item.style.setProperty("--part", percent(probability));
      item.dataset.class = name;
      item.dataset.probability = String(probability);
      item.append(Object.assign(document.createElement("span"), { textContent: name }), Object.assign(document.createElement("b"), { textContent: percent(probability) }));
      return item;
    }),
  );
  const [width, height] = result.size;
  const [left, top, right, bottom] = result.seen;
  const inset = [top / height, 1 - right / width, 1 - bottom / height, left / width].map((part) => `${Math.max(0, 100 * part)}%`);
  find("#picture").style.setProperty("--seen", inset.join(" "));
  find("#picture").style.setProperty("--size", `${width} / ${height}`);
  find("#picture").style.setProperty("--shape", String(width / height));
  words(result);
}

/** The caption, each word a button that shows where it looks; the chosen one stays. */
function words(result: Result): void {
  let chosen: number | undefined;
  const caption = find("#caption");
  caption.dataset.text = result.caption;
  if (result.words.length === 0) {
    caption.textContent = result.caption;
    return look(undefined, result);
  }
  const strongest = Math.max(...result.words.map((w) => w.gate));
  const buttons = result.words.map(({ word, gate }, i) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: word, title: `weight ${gate.toFixed(2)}` });
    button.style.setProperty("--gate", `${Math.round(70 * (gate / strongest) ** 3)}%`);
    button.ariaPressed = "false";
    button.onclick = () => {
      chosen = chosen === i ? undefined : i;
      buttons.forEach((b, j) => (b.ariaPressed = String(j === chosen)));
      look(chosen, result);
    };
    button.onpointerenter = button.onfocus = () => look(i, result);
    button.onpointerleave = button.onblur = () => look(chosen, result);
    return button;
  });
  caption.replaceChildren(...buttons.flatMap((button) => [button, " "]));
  look(undefined, result);
}

function look(word: number | undefined, result: Result): void {
  const map = heat(word);
  const canvas = find<HTMLCanvasElement>("#heat");
  find("#picture").classList.toggle("cold", !map);
  find("#looks").textContent = !map ? "" : word === undefined ? "where all words look" : `where “${result.words[word]!.word}” looks`;
  if (!map) return;
  canvas.width = map.width;
  canvas.height = map.height;
  canvas.getContext("2d")!.putImageData(map, 0, 0);
}

function take(file: Blob | undefined | null, name: string): void {
  if (!file) return;
  if (shown?.url.startsWith("blob:")) URL.revokeObjectURL(shown.url);
  choose(URL.createObjectURL(file), name);
}

function choose(url: string, name: string): void {
  shown = { url, name };
  for (const b of document.querySelectorAll("#samples button")) b.setAttribute("aria-pressed", String(b.getAttribute("data-name") === name));
  queue(() => tell(url, name));
}

for (const [path, url] of Object.entries(samples)) {
  const name = path.split("/").pop()!.replace(/\.png$/, "");
  const button = Object.assign(document.createElement("button"), { type: "button", onclick: () => choose(url, name) });
  button.dataset.name = name;
  button.setAttribute("aria-pressed", "false");
  button.append(Object.assign(document.createElement("img"), { src: url, alt: "", width: 72, height: 72, loading: "lazy" }), name);
  const item = document.createElement("li");
  item.append(button);
  find("#samples").append(item);
}

find<HTMLInputElement>("#file").onchange = ({ target }) => {
  const input = target as HTMLInputElement;
  const file = input.files?.[0];
  take(file, file?.name ?? "");
  input.value = "";
};
find<HTMLFieldSetElement>("#precision").onchange = ({ target }) => {
  wanted = (target as HTMLInputElement).value as Precision;
  try {
    localStorage.setItem(PRECISION, wanted);
  } catch {
    // Then it holds for as long as the page is open.
  }
  queue(restart);
};
find<HTMLInputElement>("#show-heat").onchange = ({ target }) => find("#picture").classList.toggle("plain", !(target as HTMLInputElement).checked);
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dragging"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  const file = event.dataTransfer?.files[0];
  take(file, file?.name ?? "");
});
document.addEventListener("paste", (event) => take(event.clipboardData?.files[0], "the pasted picture"));

queue(start);
