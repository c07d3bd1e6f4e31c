// The table of kernels: what each took, and its text one click away.

import type { Node, Times } from "./engine";

interface Row {
  label: string;
  entries: { entry: string; source: number }[];
  nodes: Node[];
  runs: number;
  ms: number;
  flops: number;
  bytes: number;
}

const find = <T extends HTMLElement>(selector: string) => document.querySelector<T>(selector)!;

function number(value: number): string {
  if (value === 0) return "0";
  if (value >= 100) return Math.round(value).toLocaleString("en");
  return value.toPrecision(value >= 1 ? 3 : 2);
}

function scaled(value: number, unit: string): string {
  const steps: [number, string][] = [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];
  const [by, prefix] = steps.find(([by]) => value >= by) ?? [1, ""];
  return `${number(value / by)} ${prefix}${unit}`;
}

/** Nodes that launch the same kernels make one row. */
function rows(nodes: Node[]): Row[] {
  const byKernel = new Map<string, Row>();
  for (const node of nodes.filter((n) => n.runs > 0)) {
    const key = node.label + node.kernels.map((k) => k.entry).join();
    const row = byKernel.get(key) ?? { label: node.label, entries: [], nodes: [], runs: 0, ms: 0, flops: 0, bytes: 0 };
    byKernel.set(key, row);
    row.entries.push(...node.kernels.filter((k) => !row.entries.some((e) => e.source === k.source && e.entry === k.entry)));
    row.nodes.push(node);
    row.runs += node.runs;
    row.ms += node.ms;
    row.flops += node.flops * node.runs;
    row.bytes += node.bytes * node.runs;
  }
  return [...byKernel.values()].sort((a, b) => b.ms - a.ms || b.flops - a.flops);
}

function cell(text: string, name = ""): HTMLTableCellElement {
  const td = document.createElement("td");
  td.textContent = text;
  td.className = name;
  return td;
}

export function show({ nodes, sources }: Times, device: string): void {
  const all = rows(nodes);
  const total = all.reduce((sum, r) => ({ ms: sum.ms + r.ms, flops: sum.flops + r.flops, runs: sum.runs + r.runs }), { ms: 0, flops: 0, runs: 0 });
  const timed = total.ms > 0;
  find("#sum").textContent =
    `${scaled(total.flops, "FLOP")} in ${total.runs.toLocaleString("en")} node runs on ${device}` +
    (timed
      ? `: ${number(total.ms)} ms on the GPU, by its own clock, which browsers round.`
      : ". This browser does not let a page ask the GPU's clock, so there are no times.");
  const head = ["Kernel", "Runs", ...(timed ? ["Time"] : []), "FLOPs", "Bytes", ...(timed ? ["GFLOP/s", "GB/s"] : [])];
  const headings = document.createElement("tr");
  headings.append(
    ...head.map((name) => {
      const th = document.createElement("th");
      th.scope = "col";
      th.textContent = name;
      return th;
    }),
  );
  find("#kernels thead").replaceChildren(headings);
  find("#kernels tbody").replaceChildren(
    ...all.map((row) => {
      const tr = document.createElement("tr");
      const name = document.createElement("th");
      name.scope = "row";
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = named(row, all);
      button.title = `Read ${row.entries.map((e) => e.entry).join(", ")}`;
      button.onclick = () => read(row, named(row, all), sources);
      name.append(button);
      const rate = (work: number) => (row.ms > 0 ? number(work / row.ms / 1e6) : "–");
      tr.append(name, cell(row.runs.toLocaleString("en")));
      if (timed) {
        const time = cell(`${number(row.ms)} ms`, "time");
        time.style.setProperty("--part", `${(100 * row.ms) / (all[0]?.ms || 1)}%`);
        tr.append(time);
      }
      tr.append(cell(scaled(row.flops, "")), cell(scaled(row.bytes, "B")));
      if (timed) tr.append(cell(rate(row.flops)), cell(rate(row.bytes)));
      return tr;
    }),
  );
  find("#kernels").hidden = false;
}

/** What a row is called: its operator, or its kernels where the operator has several rows. */
function named(row: Row, all: Row[]): string {
  if (all.filter((r) => r.label === row.label).length < 2) return row.label;
  return [...new Set(row.entries.map((e) => e.entry.replace(/_f32$/, "")))].join(" + ");
}

/** Shows the text of a row's kernels. */
function read(row: Row, name: string, sources: string[]): void {
  const dialog = find<HTMLDialogElement>("#source");
  const texts = [...new Set(row.entries.map((e) => e.source))];
  const entries = [...new Set(row.entries.map((e) => e.entry))];
  const scopes = [...new Set(row.nodes.map((n) => n.scope).filter(Boolean))];
  find("#source-name").textContent = name;
  find("#source-about").textContent =
    `${entries.join(", ")}: run ${row.runs} times in ${row.nodes.length} places` +
    (scopes.length > 0 ? `, such as ${scopes.slice(0, 3).join(", ")}. ` : ". ") +
    (texts.length > 1 ? `${texts.length} variants, which differ in their constants; this is the first.` : "");
  find("#source code").textContent = sources[texts[0] ?? 0] ?? "";
  dialog.showModal();
  find("#source pre").scrollTop = 0;
}
