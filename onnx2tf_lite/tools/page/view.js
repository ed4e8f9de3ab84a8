"use strict";
const { graphs: GRAPHS, changes: CHANGES } = JSON.parse(document.getElementById("data").textContent);
const WIDTH = 150, HEIGHT = 34, GAP_X = 176, GAP_Y = 74; // of a node, and of the places that it is drawn at
const canvas = document.getElementById("picture"), pen = canvas.getContext("2d");
const about = document.getElementById("about"), legend = document.getElementById("legend");
const graphs = document.getElementById("graph"), colours = document.getElementById("colour");
const find = document.getElementById("find"), hits = document.getElementById("hits");

// ---- what a node is coloured by: name -> {of(node): colour, legend: [[colour, words]]}

const KINDS = [
  ["#2f6fb5", "convolutions, products", /^(Conv|MatMul|Gemm|Einsum|QLinear|.*Attention|LSTM|GRU|RNN|DeformConv|.*MatMul)/],
  ["#17794a", "activations, normalisations", /(Relu|Sigmoid|Tanh|Softmax|Gelu|Swish|Elu|Mish|Norm|Clip|Erf|Softplus)/],
  ["#8a5cc2", "pools, reductions", /(Pool|Reduce|ArgM|TopK|CumSum)/],
  ["#b5761a", "movement, shapes", /^(Reshape|Transpose|Concat|Slice|Split|Gather|Scatter|Squeeze|Unsqueeze|Flatten|Expand|Pad|Tile|Shape|Size|Resize|Upsample|DepthToSpace|SpaceToDepth|Cast|Constant|Range|Identity)/],
  ["#a8324e", "quantisation", /(Quantize)/],
  ["#4a5563", "bodies", /^(If|Loop|Scan)$/],
];
const OTHER = ["#60708a", "other operators"], END = ["#1d2530", "inputs and outputs"];

function kind(node) {
  if (node.op === "input" || node.op === "output") return END[0];
  const quantised = KINDS[4][2].test(node.op) ? KINDS[4] : KINDS.find(([, , words]) => words.test(node.op));
  return (quantised || OTHER)[0];
}

function heat(share) { // 0 pale, 1 red
  const s = Math.max(0, Math.min(1, share)), mix = (a, b) => Math.round(a + (b - a) * s);
  return `rgb(${mix(222, 176)},${mix(226, 32)},${mix(232, 24)})`;
}

function most(read) { return Math.max(0, ...GRAPHS.flatMap((g) => g.nodes.map(read))); }

const MODES = { "by operator": { of: kind, legend: [...KINDS.map(([c, words]) => [c, words]), OTHER, END] } };
const marks = { added: "#17794a", removed: "#c0291f", changed: "#d98a0b", same: "#c3cbd5" };
if (GRAPHS.some((g) => g.nodes.some((n) => n.mark)))
  MODES["by change"] = { of: (n) => marks[n.mark] || marks.same, legend: Object.entries(marks).map(([w, c]) => [c, w]) };
const macs = most((n) => n.macs || 0);
if (macs)
  MODES["by cost"] = {
    of: (n) => heat(Math.sqrt((n.macs || 0) / macs)),
    legend: [[heat(1), `${macs.toLocaleString()} multiply-accumulates`], [heat(0.5), "a quarter of it"], [heat(0), "none, or not known"]],
  };
if (GRAPHS.some((g) => g.nodes.some((n) => n.check)))
  MODES["by error"] = {
    of: (n) => !n.check ? "#e3e7ec" : n.check.error === null ? "#000000" : heat((Math.log10(n.check.error + 1e-9) + 9) / 8),
    legend: [[heat(1), "10 % of the largest value, or more"], [heat(0.5), "1e-5"], [heat(0), "1e-9 or less"], ["#000000", "NaN or infinite"], ["#e3e7ec", "not compared"]],
  };

// ---- the picture

let graph = null, view = { x: 0, y: 0, scale: 1 }, chosen = -1, found = [], frame = 0;
const left = (n) => n.x * GAP_X - WIDTH / 2, top_ = (n) => n.y * GAP_Y - HEIGHT / 2;

function prepare(g) { // nodes by layer, for what is to be seen; once a graph
  if (g.rows) return;
  g.rows = new Map();
  g.nodes.forEach((n, i) => { if (!g.rows.has(n.y)) g.rows.set(n.y, []); g.rows.get(n.y).push(i); });
  g.spans = g.lines.map((l) => {
    let low = Infinity, high = -Infinity;
    for (let k = 0; k < l.length; k += 2) { low = Math.min(low, l[k]); high = Math.max(high, l[k]); }
    return [low, l[1], high, l[l.length - 1]];
  });
}

function draw() {
  frame = 0;
  const ratio = window.devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
    canvas.width = Math.round(w * ratio); canvas.height = Math.round(h * ratio);
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, w, h);
  pen.setTransform(ratio * view.scale, 0, 0, ratio * view.scale, ratio * view.x, ratio * view.y);
  const box = { x0: -view.x / view.scale, y0: -view.y / view.scale, x1: (w - view.x) / view.scale, y1: (h - view.y) / view.scale };
  const of = MODES[colours.value].of, hit = new Set(found), text = view.scale > 0.32;
  const near = (i) => { const e = graph.edges[i]; return e[0] === chosen || e[1] === chosen; };
  for (const bold of [false, true]) {
    pen.beginPath();
    graph.spans.forEach(([x0, y0, x1, y1], i) => {
      if (x1 * GAP_X < box.x0 || x0 * GAP_X > box.x1 || y1 * GAP_Y < box.y0 || y0 * GAP_Y > box.y1 || near(i) !== bold) return;
      line(graph.lines[i]);
    });
    pen.strokeStyle = bold ? "#1c5fc4" : "#9aa5b1";
    pen.lineWidth = (bold ? 2.4 : 1.1) / Math.max(view.scale, 0.25);
    pen.stroke();
  }
  pen.font = "13px system-ui, sans-serif"; pen.textAlign = "center"; pen.textBaseline = "middle";
  for (let row = Math.floor(box.y0 / GAP_Y) - 1; row <= Math.ceil(box.y1 / GAP_Y) + 1; row++) {
    for (const i of graph.rows.get(row) || []) {
      const n = graph.nodes[i], x = left(n), y = top_(n);
      if (x + WIDTH < box.x0 || x > box.x1) continue;
      const fill = of(n);
      pen.fillStyle = fill;
      if (text) { pen.beginPath(); pen.roundRect(x, y, WIDTH, HEIGHT, 7); pen.fill(); } else pen.fillRect(x, y, Math.max(WIDTH, 2 / view.scale), Math.max(HEIGHT, 1 / view.scale)); // at least a pixel
      if (i === chosen || hit.has(i)) {
        pen.strokeStyle = i === chosen ? "#1c5fc4" : "#e0a000"; pen.lineWidth = 4 / Math.max(view.scale, 0.2);
        pen.strokeRect(x, y, WIDTH, HEIGHT);
      }
      if (text) {
        pen.fillStyle = pale(fill) ? "#1d2530" : "#ffffff";
        pen.fillText(short(n.op === "input" || n.op === "output" ? n.name : n.op), n.x * GAP_X, n.y * GAP_Y);
      }
    }
  }
}

function line(points) {
  pen.moveTo(points[0] * GAP_X, points[1] * GAP_Y + HEIGHT / 2);
  for (let k = 2; k < points.length; k += 2) {
    const last = k === points.length - 2;
    const x0 = points[k - 2] * GAP_X, y0 = points[k - 1] * GAP_Y + (k === 2 ? HEIGHT / 2 : 0);
    const x1 = points[k] * GAP_X, y1 = points[k + 1] * GAP_Y - (last ? HEIGHT / 2 : 0), middle = (y0 + y1) / 2;
    pen.bezierCurveTo(x0, middle, x1, middle, x1, y1);
  }
}

function pale(colour) {
  const parts = colour[0] === "#" ? [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16)) : colour.match(/\d+/g).map(Number);
  return 0.3 * parts[0] + 0.6 * parts[1] + 0.1 * parts[2] > 150;
}

function short(text) { return text.length > 20 ? `${text.slice(0, 8)}…${text.slice(-10)}` : text; }
function later() { if (!frame) frame = requestAnimationFrame(draw); }

function fit() {
  const xs = graph.nodes.map((n) => n.x), ys = graph.nodes.map((n) => n.y);
  const low = xs.reduce((a, b) => Math.min(a, b), Infinity) * GAP_X - WIDTH, high = xs.reduce((a, b) => Math.max(a, b), -Infinity) * GAP_X + WIDTH;
  const tall = (ys.reduce((a, b) => Math.max(a, b), 0) + 1.5) * GAP_Y;
  view.scale = Math.min(1, canvas.clientWidth / (high - low), canvas.clientHeight / tall);
  view.x = (canvas.clientWidth - (low + high) * view.scale) / 2;
  view.y = GAP_Y * view.scale;
  later();
}

function begin() { // all of it, or of what would be too small to read the beginning
  fit();
  if (view.scale > 0.35) return;
  view.scale = 0.6;
  view.x = canvas.clientWidth / 2 - graph.nodes[0].x * GAP_X * view.scale;
  view.y = GAP_Y * view.scale;
}

function centre(i) {
  const n = graph.nodes[i];
  view.scale = Math.max(view.scale, 0.8);
  view.x = canvas.clientWidth / 2 - n.x * GAP_X * view.scale;
  view.y = canvas.clientHeight / 2 - n.y * GAP_Y * view.scale;
  later();
}

// ---- what a node is

function element(tag, text, parent) { const e = document.createElement(tag); e.textContent = text; parent.append(e); return e; }

function table(title, rows) {
  if (!rows.length) return;
  element("h3", title, about);
  const body = element("table", "", about);
  for (const [key, value, go] of rows) {
    const row = element("tr", "", body);
    element("td", key, row);
    const cell = element("td", go === undefined ? value : "", row);
    if (go !== undefined) element("button", value, cell).addEventListener("click", go);
  }
}

function ends(names, all, side) { // tensors of a node, with the way to who makes or reads them
  return names.flatMap(([name, type, held]) => {
    const others = all.filter((e) => (side === "in" ? e[1] : e[0]) === chosen).map((e) => (side === "in" ? e[0] : e[1]));
    const there = others.filter((i) => graph.nodes[i][side === "in" ? "out" : "in"].some((t) => t[0] === name));
    const row = [[name, held ? `${type}, ${held}` : type]];
    return row.concat(there.map((i) => ["", `${side === "in" ? "from" : "to"} ${graph.nodes[i].op} ${graph.nodes[i].name}`, () => { choose(i); centre(i); }]));
  });
}

function overview() { // what is shown while no node is chosen
  element("p", "Click a node.", about).className = "hint";
  for (const kind of new Set(CHANGES.map((c) => c[0])))
    table(kind, CHANGES.filter((c) => c[0] === kind).map(([, sign, where, how]) => [sign, how ? `${where}: ${how}` : where, locate(where)]));
}

function locate(where) { // the way to a node of an address, of the main graph or of a body; none for what is no node
  for (const [k, g] of GRAPHS.entries()) {
    const name = g.path && where.startsWith(`${g.path}:`) ? where.slice(g.path.length + 1) : where;
    const i = g.nodes.findIndex((n) => n.mark && (n.name === name || n.out.some((t) => t[0] === name) || n.in.some((t) => t[0] === name)));
    if (i >= 0) return () => { show(k); choose(i); centre(i); };
  }
  return undefined;
}

function choose(i) {
  chosen = i;
  about.textContent = "";
  if (i < 0) { overview(); later(); return; }
  const n = graph.nodes[i];
  element("h2", n.op, about);
  element("p", n.domain ? `${n.name} (${n.domain})` : n.name, about).className = "hint";
  if (n.mark) table("change", [["", n.mark]]);
  if (n.check) table("check", [["error", n.check.error === null ? "NaN or infinite" : n.check.error.toExponential(2)], ["verdict", n.check.what || "within the limit"], ["limit", n.check.limit]]);
  if (n.macs !== undefined) table("cost", [["MACs", n.macs.toLocaleString()], ["FLOPs", n.flops.toLocaleString()]]);
  table("attributes", Object.entries(n.attrs || {}));
  table("reads", ends(n.in, graph.edges, "in"));
  table("makes", ends(n.out, graph.edges, "out"));
  table("bodies", (n.bodies || []).map((path) => ["", path, () => show(GRAPHS.findIndex((g) => g.path === path && g.label === graph.label))]));
  later();
}

// ---- finding

function search() {
  const wanted = find.value.trim().toLowerCase(), words = (n) => [n.op, n.name, ...n.in.map((t) => t[0]), ...n.out.map((t) => t[0])];
  found = wanted ? graph.nodes.flatMap((n, i) => (words(n).some((w) => w.toLowerCase().includes(wanted)) ? [i] : [])) : [];
  hits.textContent = wanted ? `${found.length} found` : "";
  if (found.length) centre(found[0]);
  later();
}

function next() {
  if (!found.length) return;
  const i = found[(found.indexOf(chosen) + 1) % found.length];
  choose(i); centre(i);
}

// ---- hands

function at(event) {
  const box = canvas.getBoundingClientRect();
  const x = (event.clientX - box.left - view.x) / view.scale, y = (event.clientY - box.top - view.y) / view.scale;
  const row = graph.rows.get(Math.round(y / GAP_Y)) || [];
  const i = row.find((k) => Math.abs(graph.nodes[k].x * GAP_X - x) <= WIDTH / 2 && Math.abs(graph.nodes[k].y * GAP_Y - y) <= HEIGHT / 2);
  return i === undefined ? -1 : i;
}

let grip = null;
canvas.addEventListener("pointerdown", (e) => { grip = { x: e.clientX, y: e.clientY, vx: view.x, vy: view.y, moved: false }; canvas.setPointerCapture(e.pointerId); });
canvas.addEventListener("pointermove", (e) => {
  if (!grip) return;
  grip.moved = grip.moved || Math.hypot(e.clientX - grip.x, e.clientY - grip.y) > 4;
  if (grip.moved) { canvas.classList.add("moving"); view.x = grip.vx + e.clientX - grip.x; view.y = grip.vy + e.clientY - grip.y; later(); }
});
canvas.addEventListener("pointerup", (e) => { if (grip && !grip.moved) choose(at(e)); grip = null; canvas.classList.remove("moving"); });
canvas.addEventListener("wheel", (e) => {
  e.preventDefault();
  const box = canvas.getBoundingClientRect(), x = e.clientX - box.left, y = e.clientY - box.top;
  const scale = Math.max(0.002, Math.min(4, view.scale * Math.exp(-e.deltaY * 0.0015)));
  view.x = x - (x - view.x) * (scale / view.scale); view.y = y - (y - view.y) * (scale / view.scale); view.scale = scale;
  later();
}, { passive: false });
canvas.addEventListener("keydown", (e) => {
  const steps = { ArrowLeft: [80, 0], ArrowRight: [-80, 0], ArrowUp: [0, 80], ArrowDown: [0, -80] };
  if (steps[e.key]) { view.x += steps[e.key][0]; view.y += steps[e.key][1]; e.preventDefault(); later(); }
  if (e.key === "+" || e.key === "-") { view.scale *= e.key === "+" ? 1.25 : 0.8; later(); }
});
find.addEventListener("input", search);
find.addEventListener("keydown", (e) => { if (e.key === "Enter") next(); });
document.getElementById("fit").addEventListener("click", fit);
graphs.addEventListener("change", () => show(Number(graphs.value)));
colours.addEventListener("change", () => { explain(); later(); });
window.addEventListener("resize", later);

function explain() {
  legend.textContent = "";
  for (const [colour, words] of MODES[colours.value].legend) {
    const item = element("li", "", legend);
    element("i", "", item).style.background = colour;
    item.append(words);
  }
}

function show(number) {
  graph = GRAPHS[number];
  graphs.value = number;
  prepare(graph);
  choose(-1); search(); begin();
}

GRAPHS.forEach((g, i) => { element("option", `${g.label && `${g.label}: `}${g.path || "main graph"} (${g.nodes.length})`, graphs).value = i; });
for (const mode of Object.keys(MODES)) element("option", mode, colours).value = mode;
colours.value = "by error" in MODES ? "by error" : "by change" in MODES ? "by change" : "by operator";
graphs.hidden = GRAPHS.length === 1;
explain();
show(0);
document.body.dataset.ready = "yes";
