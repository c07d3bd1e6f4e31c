// The page in headless Chromium: it says what the program says, and knows what to do where there is no GPU.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { preview } from "vite";

const root = fileURLToPath(new URL("../..", import.meta.url));
const demo = `${root}assets/demo`;
const samples = readdirSync(`${demo}/samples`).map((file) => file.replace(/\.png$/, ""));
const { CHROMIUM: executablePath, ESCNET: program, SCREENSHOTS: folder } = process.env;
// Chromium's software adapter takes long to compile: once for each page.
const SLOW = { timeout: 300_000 };

let server, browser, address, opened;

before(async () => {
  server = await preview({ root: fileURLToPath(new URL("..", import.meta.url)), preview: { host: "127.0.0.1", port: 0 }, logLevel: "silent" });
  address = server.resolvedUrls.local[0];
  // A software adapter counts as unsafe; the times are not rounded then.
  browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--enable-unsafe-webgpu"] });
});

after(async () => {
  await browser?.close();
  await server?.close();
});

/** Opens the page; what it complains of comes back in the list. */
async function open(options = {}, prepare = async () => {}) {
  const page = await browser.newPage({ viewport: { width: 1200, height: 900 }, ...options });
  const complaints = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  await prepare(page);
  await page.goto(address);
  return { page, complaints };
}

const state = (page, wanted) => page.waitForSelector(`main[data-state="${wanted}"]`, SLOW);

/** The page of all tests that leave it as it was: its kernels are waited for once. */
async function shared() {
  if (!opened) {
    opened = await open();
    await state(opened.page, "ready");
  }
  return opened;
}

async function choose(page, sample) {
  await page.click(`#samples [data-name="${sample}"]`);
  await page.waitForFunction((name) => document.querySelector('main[data-state="done"] #status, main[data-state="failed"] #status')?.textContent.startsWith(`${name}:`), sample, SLOW);
}

const read = (page) =>
  page.evaluate(() => ({
    caption: document.querySelector("#caption").dataset.text,
    probabilities: Object.fromEntries([...document.querySelectorAll("#bars li")].map((li) => [li.dataset.class, Number(li.dataset.probability)])),
  }));

test("every sample is told as the program tells it", async () => {
  const told = execFileSync(program, ["classify", `${demo}/samples`, "--model", demo, "--device", "cpu", "--format", "json"], { encoding: "utf8" });
  const expected = Object.fromEntries(JSON.parse(told).map((result) => [result.image.split("/").pop().replace(/\.png$/, ""), result]));
  const { page, complaints } = await shared();
  let farthest = 0;
  for (const sample of samples) {
    await choose(page, sample);
    const got = await read(page);
    assert.equal(got.caption, expected[sample].caption);
    for (const { class: name, probability } of expected[sample].predictions) {
      farthest = Math.max(farthest, Math.abs(probability - got.probabilities[name]));
    }
    console.log(await page.textContent("#status"));
  }
  console.log(`probabilities differ by at most ${farthest}`);
  assert.ok(farthest <= 1e-4, `${farthest}`);

  // A file of one's own, the first again.
  await page.setInputFiles("#file", `${demo}/samples/${samples[0]}.png`);
  await page.waitForFunction((name) => document.querySelector('main[data-state="done"] #status')?.textContent.startsWith(name), `${samples[0]}.png:`, SLOW);
  assert.equal((await read(page)).caption, expected[samples[0]].caption);

  // The map follows the words.
  const map = () => page.evaluate(() => document.querySelector("#heat").toDataURL());
  const all = await map();
  await page.locator("#caption button").last().focus();
  assert.notEqual(await map(), all);
  assert.match(await page.textContent("#looks"), /where “.+” looks/);

  // Kernels took time, and can be read.
  console.log(await page.textContent("#sum"));
  const names = await page.locator("#kernels tbody button").allTextContents();
  assert.ok(names.length > 10);
  assert.equal(new Set(names).size, names.length, names.join(", "));
  assert.match(await page.textContent("#kernels tbody tr:first-child .time"), /[1-9].* ms/);
  await page.locator("#kernels tbody button").first().click();
  assert.match(await page.textContent("#source code"), /@compute/);
  if (folder) await page.screenshot({ path: `${folder}/source.png` });
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("#source[open]").count(), 0);
  assert.deepEqual(complaints, []);
});

test("it looks as it should", { skip: !folder }, async () => {
  const { page } = await shared();
  const [wide, narrow] = [page.viewportSize(), { width: 390, height: 800 }];
  for (const [name, sample, colorScheme, size] of [["dark", "awe", "dark", wide], ["narrow", "contentment", "light", narrow], ["light", "awe", "light", wide]]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize(size);
    await choose(page, sample);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name}: wider than the window`);
    await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
  }
});

test("a lost GPU is opened again, once", async () => {
  const keep = () => {
    const { requestDevice } = GPUAdapter.prototype;
    globalThis.devices = [];
    GPUAdapter.prototype.requestDevice = async function (...of) {
      const device = await requestDevice.apply(this, of);
      globalThis.devices.push(device);
      if (globalThis.alwaysLost) device.destroy();
      return device;
    };
  };
  const { page } = await open({}, (page) => page.addInitScript(keep));
  await state(page, "ready");
  await choose(page, "awe");
  const first = await read(page);
  await page.evaluate(() => globalThis.devices[0].destroy());
  await choose(page, "awe");
  assert.deepEqual(await read(page), first);
  assert.equal(await page.evaluate(() => globalThis.devices.length), 2);
  // One that is lost at once again is not tried for ever; the button does.
  await page.evaluate(() => {
    globalThis.alwaysLost = true;
    globalThis.devices[1].destroy();
  });
  await page.click('#samples [data-name="fear"]');
  await state(page, "failed");
  assert.equal(await page.evaluate(() => globalThis.devices.length), 3);
  if (folder) await page.screenshot({ path: `${folder}/lost.png` });
  await page.evaluate(() => (globalThis.alwaysLost = false));
  await page.click("#trouble button");
  await state(page, "done");
  assert.equal((await read(page)).caption.length > 0, true);
  await page.close();
});

// Chromium's software adapter has no f16; what engine and kernels do in it is tested natively.
test("without f16 the choice is closed, and says why", async () => {
  const choice = (page) => page.evaluate(() => ["#f32", "#f16"].map((id) => [document.querySelector(id).checked, document.querySelector(id).matches(":disabled")]));
  const { page, complaints } = await open();
  assert.deepEqual(await choice(page), [[true, true], [false, true]]);
  await state(page, "ready");
  assert.deepEqual(await choice(page), [[true, false], [false, true]]);
  assert.ok(await page.locator("#no-f16").isVisible());
  assert.match(await page.textContent("#no-f16"), /shader-f16/);
  // A choice made where there was one does no harm here.
  await page.evaluate(() => localStorage.setItem("escnet.precision", "f16"));
  await page.reload();
  await state(page, "ready");
  assert.deepEqual(await choice(page), [[true, false], [false, true]]);
  assert.match(await page.textContent("#status"), / in f32\./);
  await choose(page, "awe");
  assert.deepEqual(complaints, []);
  await page.close();
});

test("without WebGPU it says what to do", async () => {
  const { page, complaints } = await open({}, (page) => page.addInitScript(() => delete Navigator.prototype.gpu));
  await state(page, "failed");
  assert.match(await page.textContent("#trouble"), /no WebGPU.*Chrome.*Firefox/s);
  if (folder) await page.screenshot({ path: `${folder}/no_webgpu.png` });
  assert.deepEqual(complaints, []);
  await page.close();
});

test("what is no picture is refused by name", async () => {
  const { page } = await shared();
  await page.setInputFiles("#file", { name: "notes.png", mimeType: "image/png", buffer: Buffer.from("no picture") });
  await state(page, "failed");
  assert.match(await page.textContent("#trouble"), /notes\.png/);
  await choose(page, "anger");
  assert.ok(await page.locator("#trouble").isHidden());
});
