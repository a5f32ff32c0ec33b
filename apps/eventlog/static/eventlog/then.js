// The time slider: a row as of a version, or of a day and an hour, and the difference between two versions.
"use strict";

const byId = (id) => document.getElementById(id);
const then = byId("then");
const slider = byId("version");
const against = byId("against");
const DAYS = 7; // that have a button
const rows = new Map(); // by query string: {row}, or {none} if it was not there, or {error}

async function look(query) {
  const answer = await fetch(`${then.dataset.then}?${query}`, { headers: { Accept: "application/json" } }).catch(() => null);
  if (answer && answer.ok && !answer.redirected) return { row: await answer.json() };
  if (answer && answer.status === 404) return { none: true };
  const { detail } = (answer && (await answer.json().catch(() => null))) || {};
  return { error: detail || "The server does not answer at the moment." };
}

async function fetched(query) {
  if (!rows.has(query)) rows.set(query, await look(query));
  const found = rows.get(query);
  if (found.error) rows.delete(query); // the next try may succeed
  return found;
}

const atVersion = async (version) => (version < 1 ? { row: {} } : fetched(`version=${version}`));
const text = (value) => (value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value, null, 2));

function cell(line, value, marked) {
  const node = line.insertCell();
  const inner = node.appendChild(document.createElement(value && typeof value === "object" ? "pre" : "span"));
  inner.textContent = text(value);
  node.classList.toggle("changed", marked);
}

function line(field, one, other) {
  const node = document.createElement("tr");
  const head = node.appendChild(document.createElement("th"));
  head.scope = "row";
  head.textContent = field;
  const changed = text(one) !== text(other);
  node.classList.toggle("differs", changed);
  cell(node, one, changed);
  cell(node, other, changed);
  return node;
}

// `absent`: there was no row then, so the page shows none.
function say(text, absent = false) {
  byId("then-said").textContent = text;
  then.classList.toggle("absent", absent);
}

async function show(lead = "") {
  const [one, other] = [Number(slider.value), Number(against.value)];
  byId("version-now").textContent = one;
  const [now, before] = await Promise.all([atVersion(one), atVersion(other)]);
  if (one !== Number(slider.value) || other !== Number(against.value)) return; // the slider has moved meanwhile
  if (!now.row || !before.row) return say(now.error || before.error || "There is no such version.");
  byId("then-one").textContent = `Version ${one}`;
  byId("then-other").textContent = other < 1 ? "Before the first event" : `Version ${other}`;
  const fields = [...new Set([...Object.keys(now.row), ...Object.keys(before.row)])];
  const lines = fields.map((field) => line(field, now.row[field], before.row[field]));
  byId("then-fields").replaceChildren(...lines);
  const changed = fields.filter((field, index) => lines[index].classList.contains("differs"));
  say(lead + (changed.length ? `Not the same: ${changed.join(", ")}` : "The same in both"));
}

// The end of the hour, or of the day if no hour is chosen: everything of it has happened.
function instant() {
  const hour = byId("hour").value;
  return hour === "" ? `${byId("day").value}T23:59:59.999999Z` : `${byId("day").value}T${hour}:59:59.999999Z`;
}

const spoken = (iso) => `${iso.slice(0, 10)} at ${iso.slice(11, 16)} UTC`;

async function showInstant() {
  for (const button of byId("days").children) button.setAttribute("aria-pressed", button.value === byId("day").value);
  if (!byId("day").value) return;
  const at = instant();
  const found = await fetched(`at=${encodeURIComponent(at)}`);
  if (at !== instant()) return; // another day was chosen meanwhile
  if (found.none) {
    const began = then.dataset.began ? ` It began on ${spoken(new Date(then.dataset.began).toISOString())}.` : "";
    return say(`It was not there yet on ${spoken(at)}.${began}`, true);
  }
  if (!found.row) return say(found.error);
  slider.value = found.row.version;
  against.value = found.row.version - 1;
  await show(`On ${spoken(at)} it was at version ${found.row.version}. `);
}

function option(value, label) {
  const node = byId("hour").appendChild(document.createElement("option"));
  node.value = value;
  node.textContent = label;
}

function dayButton(ago) {
  const day = new Date(Date.now() - ago * 86400000);
  const button = byId("days").appendChild(document.createElement("button"));
  button.type = "button";
  button.className = "button";
  button.value = day.toISOString().slice(0, 10);
  button.setAttribute("aria-pressed", "false");
  button.textContent = day.toLocaleDateString("en", { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });
  button.addEventListener("click", () => {
    byId("day").value = button.value;
    showInstant();
  });
}

option("", "end of the day");
for (let hour = 0; hour < 24; hour += 1) option(String(hour).padStart(2, "0"), `${String(hour).padStart(2, "0")}:59`);
for (let ago = DAYS; ago >= 0; ago -= 1) dayButton(ago);
byId("day").max = new Date().toISOString().slice(0, 10);
slider.addEventListener("input", () => {
  against.value = Number(slider.value) - 1;
  show();
});
against.addEventListener("input", () => show());
byId("day").addEventListener("change", showInstant);
byId("hour").addEventListener("change", showInstant);
show();
