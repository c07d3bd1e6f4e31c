// The engine: files fetched once, a device that may be lost, results with types.

import init, { Engine, Picture } from "../pkg/escnet_web.js";
import wasmUrl from "../pkg/escnet_web_bg.wasm?url";
import configUrl from "../../assets/demo/config.json?url";
import vocabularyUrl from "../../assets/demo/vocab.txt?url";
import weightsUrl from "../../assets/demo/model.safetensors?url";

export interface Result {
  predictions: { class: string; probability: number }[];
  caption: string;
  words: { word: string; gate: number }[];
  /** The part of the picture that the network saw: left, top, right, bottom, in the picture's pixels. */
  seen: [number, number, number, number];
  /** Width and height of the picture. */
  size: [number, number];
}

export interface Node {
  label: string;
  scope: string;
  /** Of all runs together. */
  ms: number;
  runs: number;
  /** Of one run, as are the bytes. */
  flops: number;
  bytes: number;
  kernels: { entry: string; source: number }[];
}

export interface Times {
  nodes: Node[];
  sources: string[];
}

/** Says how far loading is, 0 to 1. */
export type Progress = (done: number, what: string) => void;

export class NoWebGpu extends Error {}

let files: { config: string; weights: Uint8Array; vocabulary: string } | undefined;
let engine: Engine | undefined;

/** Fetches all urls at once; `at` hears of each piece. */
async function fetchAll(urls: string[], at: (got: number, all: number) => void): Promise<Uint8Array<ArrayBuffer>[]> {
  const responses = await Promise.all(urls.map((url) => fetch(url)));
  const failed = responses.find((r) => !r.ok);
  if (failed) throw new Error(`${failed.url}: ${failed.status} ${failed.statusText}`);
  const all = responses.reduce((sum, r) => sum + Number(r.headers.get("content-length") ?? 0), 0);
  let got = 0;
  const read = async (response: Response) => {
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    const reader = response.body!.getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      pieces.push(piece.value);
      got += piece.value.length;
      at(got, Math.max(all, got));
    }
    return new Uint8Array(await new Blob(pieces).arrayBuffer());
  };
  return Promise.all(responses.map(read));
}

export type Precision = "f32" | "f16";

export interface Opened {
  /** The GPU, in words. */
  device: string;
  /** It can store numbers in 16 bits. */
  offersHalf: boolean;
}

/** Opens the engine, in f32 where the GPU has no f16; what was fetched once is not fetched again. */
export async function open(precision: Precision, progress: Progress): Promise<Opened> {
  if (!("gpu" in navigator)) throw new NoWebGpu();
  if (!files) {
    const urls = [wasmUrl, configUrl, vocabularyUrl, weightsUrl];
    const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1);
    const [wasm, config, vocabulary, weights] = await fetchAll(urls, (got, all) =>
      progress((0.9 * got) / all, `Loading the engine and its model: ${megabytes(got)} MB`),
    );
    await init({ module_or_path: wasm! });
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    files = { config: text(config!), weights: weights!, vocabulary: text(vocabulary!) };
  }
  progress(0.95, "Opening the GPU …");
  engine?.free();
  engine = undefined;
  engine = await Engine.open(files.config, files.weights, files.vocabulary, precision === "f16");
  progress(1, "Ready");
  return { device: engine.device(), offersHalf: engine.offers_half() };
}

/** True for what a fresh engine may help against. */
export function isLoss(error: unknown): boolean {
  return error instanceof Error && error.name === "DeviceError";
}

/** A picture as the engine reads it; what it cannot read, the browser may. */
export async function decode(file: Blob, name: string): Promise<Picture> {
  try {
    return Picture.decode(new Uint8Array(await file.arrayBuffer()), name);
  } catch (refused) {
    const bitmap = await createImageBitmap(file).catch(() => {
      throw refused;
    });
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    canvas.getContext("2d")!.drawImage(bitmap, 0, 0);
    const png = await canvas.convertToBlob({ type: "image/png" });
    return Picture.decode(new Uint8Array(await png.arrayBuffer()), name);
  }
}

/** The caption first, as soon as it is there, then the rest. */
export async function classify(picture: Picture, captioned: (caption: string) => void): Promise<Result> {
  if (!engine) throw new Error("the engine is not open");
  captioned(await engine.caption(picture));
  return JSON.parse(await engine.classify(picture)) as Result;
}

/** Where a word looks, or all of them: pixels of a square. */
export function heat(word?: number): ImageData | undefined {
  const rgba = engine?.heat(word);
  const side = Math.sqrt((rgba?.length ?? 0) / 4);
  return rgba && new ImageData(new Uint8ClampedArray(rgba), side, side);
}

export async function times(): Promise<Times> {
  if (!engine) throw new Error("the engine is not open");
  return JSON.parse(await engine.times()) as Times;
}
