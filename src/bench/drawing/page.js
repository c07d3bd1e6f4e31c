"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const COLOURS = ["#0072b2", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#d55e00", "#8a7a00"];
const HIGH = 20, ARCS = 140;
const byId = (id) => document.getElementById(id);
const [list, aside, graphs, find] = ["list", "node", "graphs", "find"].map(byId);
let graph, chosen = null, readers = [];

const element = (name, attributes, ...children) => {
  const made = document.createElement(name);
  Object.assign(made, attributes);
  made.append(...children);
  return made;
};
const UNITS = [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3], ["", 1]];
const short = (number) => {
  const [unit, size] = UNITS.find(([, size]) => number >= size) ?? ["", 1];
  const scaled = number / size;
  return `${unit === "" || scaled >= 99.95 ? scaled.toFixed(0) : scaled.toPrecision(3)} ${unit}`.trim();
};
const time = (us) => (us >= 1e3 ? `${(us / 1e3).toPrecision(4)} ms` : `${us.toPrecision(3)} us`);
// What a node weighs: what it took, or its FLOPs where nothing ran.
const weight = (node) => node.us ?? (graph.nodes.some((n) => n.us != null) ? 0 : node.flops);

function show(index) {
  graph = data.graphs[index];
  chosen = null;
  readers = graph.nodes.map(() => []);
  graph.nodes.forEach((node, n) => node.reads.forEach((read) => read.from != null && readers[read.from].push(n)));
  const parts = [...new Set(graph.nodes.map((node) => node.part))];
  const most = Math.max(...graph.nodes.map(weight), 1e-9);
  const rows = graph.nodes.map((node, n) => {
    const colour = element("i", { title: node.part });
    colour.style.background = COLOURS[parts.indexOf(node.part) % COLOURS.length];
    const bar = element("b", {});
    bar.style.width = `${(100 * weight(node)) / most}%`;
    const row = element("div", { className: "row", onclick: () => choose(n), title: node.scope },
      colour, element("span", { className: "op" }, node.op), element("span", { className: "scope" }, node.scope),
      element("span", { className: "gives" }, node.gives[0] ?? "", node.gives.length > 1 ? ` +${node.gives.length - 1}` : ""), element("span", { className: "share" }, bar));
    row.style.top = `${HIGH * n}px`;
    row.setAttribute("role", "option");
    return row;
  });
  list.replaceChildren(arcs(), ...rows);
  list.scrollTop = 0;
  const total = (of) => graph.nodes.reduce((sum, node) => sum + (of(node) ?? 0), 0);
  const took = graph.nodes.some((node) => node.us != null) ? `, ${time(total((n) => n.us))} on ${data.device}` : "";
  byId("sum").textContent = `${graph.nodes.length} nodes, ${short(total((n) => n.flops))} FLOP, ${short(graph.planned)}B planned${took}`;
  seek();
}

// What goes from a node to one that does not follow it at once; wider the farther.
function arcs() {
  const path = (from, to) => {
    const [y1, y2] = [from, to].map((at) => HIGH * at + HIGH / 2);
    const x = ARCS - (to - from === 1 ? 6 : Math.min(ARCS - 6, 10 + 14 * Math.log2(to - from)));
    return `<path d="M${ARCS + 4} ${y1} C${x} ${y1} ${x} ${y2} ${ARCS + 4} ${y2}" fill="none" data-ends="${from} ${to}"/>`;
  };
  const all = graph.nodes.flatMap((node, n) => node.reads.filter((read) => read.from != null).map((read) => path(read.from, n)));
  const holder = document.createElement("div");
  holder.innerHTML = `<svg width="${ARCS + 10}" height="${HIGH * graph.nodes.length}">${all.join("")}</svg>`;
  mark(holder.firstChild);
  return holder.firstChild;
}

function mark(svg) {
  for (const path of svg.querySelectorAll("path")) {
    const touches = chosen != null && path.dataset.ends.split(" ").includes(String(chosen));
    path.setAttribute("stroke", touches ? "#d55e00" : "#b9b9c2");
    path.setAttribute("stroke-width", touches ? 2 : 1);
    path.setAttribute("opacity", touches || chosen == null ? 1 : 0.4);
  }
}

function choose(n) {
  chosen = n;
  const rows = list.querySelectorAll(".row");
  rows.forEach((row, i) => {
    row.classList.toggle("chosen", i === n);
    row.setAttribute("aria-selected", i === n);
  });
  mark(list.querySelector("svg"));
  rows[n].scrollIntoView({ block: "nearest" });
  aside.replaceChildren(...told(graph.nodes[n], n));
  aside.scrollTop = 0;
}

function told(node, n) {
  const link = (to) => element("button", { onclick: () => choose(to) }, `${to} ${graph.nodes[to].op}`);
  const table = (rows) => element("table", {}, ...rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell)))));
  const facts = [["where", node.scope || "result"], ["when", node.when], ["work", `${short(node.flops)} FLOP, ${short(node.bytes)}B`]];
  if (node.us != null) facts.push(["took", time(node.us)], ["rate", `${short((node.flops / node.us) * 1e6)}FLOP/s, ${short((node.bytes / node.us) * 1e6)}B/s`]);
  const reads = node.reads.map((read) => [read.from == null ? read.name : link(read.from), read.ty]);
  const gives = node.gives.map((ty, i) => [ty, node.slots[i] == null ? "" : `slot ${node.slots[i]}`]);
  // On a GPU what ran is told below, kernel by kernel.
  const code = node.us != null && node.kernels.length === 0 ? `${data.files[node.stem]}: what the CPU ran` : data.files[node.stem];
  facts.push(["code", code ?? ""]);
  return [
    element("h2", {}, `${n} ${node.op}`),
    table(facts),
    element("h3", {}, "Computes"), element("pre", {}, data.about[node.stem]), element("pre", {}, node.attributes),
    element("h3", {}, "Reads"), table(reads),
    element("h3", {}, "Makes"), table(gives),
    element("h3", {}, "Read by"), table(readers[n].map((to) => [link(to)])),
    ...node.kernels.flatMap(([entry, source]) => [element("h3", {}, `Kernel ${entry}`), element("pre", { className: "code" }, data.sources[source])]),
  ];
}

function seek() {
  const wanted = find.value.toLowerCase();
  list.querySelectorAll(".row").forEach((row, n) => {
    const node = graph.nodes[n];
    row.classList.toggle("dim", wanted !== "" && !`${node.op} ${node.scope} ${node.gives.join(" ")}`.toLowerCase().includes(wanted));
  });
}

byId("title").textContent = data.title;
graphs.append(...data.graphs.map((g, i) => element("option", { value: i }, g.name)));
graphs.onchange = () => show(Number(graphs.value));
find.oninput = seek;
list.onkeydown = (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  choose(Math.max(0, Math.min(graph.nodes.length - 1, (chosen ?? -1) + step)));
};
// The fused graph of the first pair is what runs.
graphs.value = String(Math.min(1, data.graphs.length - 1));
show(Number(graphs.value));
