// The page that `escnet inspect --graph x.html` writes: every node is there, and says what it computes.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

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
