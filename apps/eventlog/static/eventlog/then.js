// The time slider: a document as of a version or an instant, and the difference between two versions.
"use strict";

const byId = (id) => document.getElementById(id);
const then = byId("then");
const slider = byId("version");
const against = byId("against");
const documents = new Map(); // by query string; null if there is none

async function fetched(query) {
  if (!documents.has(query)) {
    const answer = await fetch(`${then.dataset.document}?${query}`, { headers: { Accept: "application/json" } });
    documents.set(query, answer.ok ? await answer.json() : null);
  }
  return documents.get(query);
}

const documentAt = (version) => (version < 1 ? {} : fetched(`version=${version}`));
const text = (value) => (value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value, null, 2));

function cell(line, value, marked) {
  const node = line.insertCell();
  const inner = node.appendChild(document.createElement(value && typeof value === "object" ? "pre" : "span"));
  inner.textContent = text(value);
  node.classList.toggle("changed", marked);
}

function row(field, one, other) {
  const line = document.createElement("tr");
  const head = line.appendChild(document.createElement("th"));
  head.scope = "row";
  head.textContent = field;
  const changed = text(one) !== text(other);
  line.classList.toggle("differs", changed);
  cell(line, one, changed);
  cell(line, other, changed);
  return line;
}

async function show() {
  const [one, other] = [Number(slider.value), Number(against.value)];
  byId("version-now").textContent = one;
  const [now, before] = await Promise.all([documentAt(one), documentAt(other)]);
  if (one !== Number(slider.value) || other !== Number(against.value)) return; // the slider has moved meanwhile
  if (!now || !before) {
    byId("then-said").textContent = "This version cannot be loaded at the moment.";
    return;
  }
  byId("then-one").textContent = `Version ${one}`;
  byId("then-other").textContent = other < 1 ? "Before the first event" : `Version ${other}`;
  const fields = [...new Set([...Object.keys(now), ...Object.keys(before)])];
  const rows = fields.map((field) => row(field, now[field], before[field]));
  byId("then-fields").replaceChildren(...rows);
  const changed = fields.filter((field, index) => rows[index].classList.contains("differs"));
  byId("then-said").textContent = changed.length ? `Not the same: ${changed.join(", ")}` : "The same in both";
}

slider.addEventListener("input", () => {
  against.value = Number(slider.value) - 1;
  show();
});
against.addEventListener("input", show);
byId("instant").addEventListener("change", async (change) => {
  if (!change.target.value) return;
  const found = await fetched(`at=${encodeURIComponent(`${change.target.value}Z`)}`);
  if (!found) {
    byId("then-said").textContent = "It was not there yet at that instant.";
    return;
  }
  slider.value = found.version;
  against.value = found.version - 1;
  await show();
});
show();
