// The page that `escnet inspect --graph x.html` writes: every node is there, and says what it computes.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const tiny = fileURLToPath(new URL("../../tests/golden/trained", import.meta.url));
const softwareGpu = fileURLToPath(new URL("../../tools/software_gpu", import.meta.url));
const demo = fileURLToPath(new URL("../../assets/demo", import.meta.url));
const { CHROMIUM: executablePath, ESCNET: program, SCREENSHOTS: shots } = process.env;

test("a graph's nodes can be asked", async () => {
  const folder = mkdtempSync(join(tmpdir(), "escnet-graph-"));
  const file = join(folder, "graph.html");
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  try {
    const told = execFileSync(program, ["inspect", demo, "--graph", file, "--device", "cpu", "--format", "json"], { encoding: "utf8" });
    const classify = JSON.parse(told).graphs[0];
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    const complaints = [];
    page.on("console", (message) => complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(error.message));
    await page.goto(pathToFileURL(file).href);

    assert.deepEqual(await page.locator("#graphs option").allTextContents(), ["classify, as written", "classify, fused", "caption-encode, as written", "caption-encode, fused", "caption-step, as written", "caption-step, fused"]);
    assert.equal(await page.locator(".row").count(), classify.nodes_after + classify.nodes_prepared);
    assert.match(await page.textContent("#sum"), / on cpu/);

    await page.locator(".row", { hasText: "softmax" }).last().click();
    const node = page.locator("#node");
    assert.match(await node.textContent(), /Softmax over the last dimension/);
    assert.match(await node.textContent(), /took/);
    assert.match(await node.textContent(), /slot \d/);
    assert.match(await node.textContent(), /src\/ops\/softmax\.rs: what the CPU ran/);
    assert.equal(await node.locator(".code").count(), 0);
    // What it reads is a click away, and so is the way back.
    const name = await node.locator("h2").textContent();
    await node.locator("button").first().click();
    assert.notEqual(await node.locator("h2").textContent(), name);
    await node.locator("button", { hasText: name }).click();
    assert.equal(await node.locator("h2").textContent(), name);
    await page.focus("#list");
    await page.keyboard.press("ArrowUp");
    assert.notEqual(await node.locator("h2").textContent(), name);

    await page.fill("#find", "attention");
    assert.ok((await page.locator(".row.dim").count()) > 0 && (await page.locator(".row:not(.dim)").count()) > 0);
    if (shots) await page.screenshot({ path: `${shots}/graph.png` });

    await page.selectOption("#graphs", { label: "caption-step, as written" });
    assert.ok((await page.locator(".row", { hasText: "beam_step" }).count()) > 0);
    assert.deepEqual(complaints, []);
  } finally {
    await browser.close();
    rmSync(folder, { recursive: true });
  }
});

test("a node that ran on a GPU shows its kernels", async () => {
  const folder = mkdtempSync(join(tmpdir(), "escnet-graph-"));
  const file = join(folder, "graph.html");
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  try {
    execFileSync(softwareGpu, ["lavapipe", program, "inspect", tiny, "--only", "classify", "--graph", file, "--device", "wgpu"]);
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    await page.goto(pathToFileURL(file).href);
    assert.match(await page.textContent("#sum"), / on wgpu \(llvmpipe/);
    await page.locator(".row", { hasText: "softmax" }).last().click();
    const node = page.locator("#node");
    const facts = Object.fromEntries(await node.locator("table").first().locator("tr").evaluateAll((rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent))));
    assert.match(facts.took, /^[1-9][\d.]* (us|ms)$|^0\.\d*[1-9]\d* us$/);
    assert.equal(facts.code, "src/ops/softmax.rs");
    // The entry point that is named stands in the text that is shown, and that is WGSL.
    const kernel = (await node.locator("h3", { hasText: "Kernel " }).first().textContent()).replace("Kernel ", "");
    const source = await node.locator(".code").first().textContent();
    assert.match(source, new RegExp(`@compute[^]*fn ${kernel.split(/[^a-z0-9_]/)[0]}\\(`));
    if (shots) await page.screenshot({ path: `${shots}/graph-gpu.png` });
  } finally {
    await browser.close();
    rmSync(folder, { recursive: true });
  }
});
