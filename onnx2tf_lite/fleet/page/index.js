"use strict";
const records = JSON.parse(document.getElementById("data").textContent);
const body = document.querySelector("#models tbody"), head = document.querySelector("#models thead tr");
const text = document.getElementById("text"), status = document.getElementById("status");
const number = (value, digits = 0) => value == null ? "" : value.toLocaleString("en", { maximumFractionDigits: digits });

// name, value to sort by, what is shown, is it a number
const columns = [
  ["model", r => r.name, r => link(r), false],
  ["status", r => r.status, r => badge(r), false],
  ["operators", r => r.operators, r => number(r.operators), true],
  ["transposes", r => r.transposes, r => number(r.transposes), true],
  ...figures("sizes", "KiB ", v => number(v / 1024, 1), name => name.endsWith(".tflite")),
  ...figures("latency_ms", "ms ", v => number(v, 3)),
  ...figures("sqnr", "dB ", v => number(v, 1)),
  ...figures("targets", "runs on, ", devices),
  ["reached %", r => lowest(r.coverage), r => number(lowest(r.coverage), 1), true],
  ["seconds", r => r.seconds, r => number(r.seconds, 2), true],
  ["verdict", r => (r.why || []).join("; "), r => verdict((r.why || []).join("\n")), false],
];

// One column for each kind of file that any model has: of x_float32.tflite the part behind the model's own name.
function figures(field, title, show, wanted = () => true) {
  const kind = (record, key) => key.startsWith(last(record.name)) ? key.slice(last(record.name).length + 1) : key;
  const kinds = new Set(records.flatMap(r => Object.keys(r[field] || {}).filter(wanted).map(key => kind(r, key))));
  const read = (record, wish) => {
    const key = Object.keys(record[field] || {}).find(k => kind(record, k) === wish);
    return key === undefined ? null : record[field][key];
  };
  const text = value => value == null ? "" : show(value);
  return [...kinds].sort().map(k => [title + k.replace(".tflite", ""), r => size(read(r, k)), r => text(read(r, k)), field !== "targets"]);
}

// What a figure is sorted by: itself, or the number of devices.
function size(value) { return Object(value) === value ? Object.values(value).filter(v => v != null).length : value; }

// Where a file runs, with the percent of its operators that do so on the device itself, where that is not all: none of
// a file of dynamic extents on XNNPACK, say, beside which it runs.
function devices(shares) {
  const there = Object.entries(shares).filter(([, share]) => share != null);
  return there.map(([name, share]) => share < 100 ? `${name} ${number(share, 1)} %` : name).join(", ");
}
function last(name) { return name.split("/").pop(); }
function lowest(values) { const all = Object.values(values || {}); return all.length ? Math.min(...all) : null; }
function element(tag, content, set = {}) { return Object.assign(document.createElement(tag), { textContent: content, ...set }); }
function verdict(said) { return element("span", said, { title: said }); }
function badge(record) { return element("span", record.status, { className: "status " + record.status }); }
function link(record) {
  const path = record.name.split("/").map(encodeURIComponent).join("/") + "/" + (record.page || "");
  return element("a", record.name, { href: path });
}

const MOST = 1000;  // rows at once: a browser is slow with more, and a filter finds the rest
let order = 1, ascending = true;
const STATUS = ["died", "refused", "differs", "unchecked", "right"];

function compare(a, b) {
  const read = columns[order][1], [x, y] = [read(a), read(b)];
  if (order === 1) return STATUS.indexOf(x) - STATUS.indexOf(y) || a.name.localeCompare(b.name);
  if (x == null || y == null) return (x == null) - (y == null);
  return typeof x === "number" ? x - y : String(x).localeCompare(String(y));
}

function draw() {
  const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const hit = r => words.every(w => (r.name + " " + (r.why || []).join(" ")).toLowerCase().includes(w));
  const shown = records.filter(r => (!status.value || r.status === status.value) && hit(r)).sort(compare);
  if (!ascending) shown.reverse();
  body.replaceChildren(...shown.slice(0, MOST).map(row));
  const first = shown.length > MOST ? `, the first ${MOST} of them shown` : "";
  document.getElementById("shown").textContent = `${shown.length} of ${records.length}${first}`;
  [...head.children].forEach((th, i) => i === order
    ? th.setAttribute("aria-sort", ascending ? "ascending" : "descending") : th.removeAttribute("aria-sort"));
}

function row(record) {
  const tr = element("tr", "", { id: record.name });
  for (const [title, , show, numeric] of columns) {
    const td = element("td", "", { className: numeric ? "n" : title === "verdict" ? "why" : "" });
    td.append(show(record));
    tr.append(td);
  }
  return tr;
}

columns.forEach(([title, , , numeric], i) => {
  const button = element("button", title, { type: "button" });
  button.addEventListener("click", () => { ascending = order === i ? !ascending : true; order = i; draw(); });
  const th = element("th", "", { className: numeric ? "n" : "", scope: "col" });
  th.append(button);
  head.append(th);
});
[...new Set(records.map(r => r.status))].sort().forEach(s => status.append(element("option", s, { value: s })));
text.addEventListener("input", draw);
status.addEventListener("input", draw);
draw();
