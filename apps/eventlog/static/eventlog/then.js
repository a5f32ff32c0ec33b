// The time slider: a document as it stood at a version, and what changed from the version before.
"use strict";

const then = document.getElementById("then");
const slider = document.getElementById("version");
const documents = new Map();

async function documentAt(version) {
  if (version < 1) return {};
  if (!documents.has(version)) {
    const answer = await fetch(`${then.dataset.document}?version=${version}`, { headers: { Accept: "application/json" } });
    documents.set(version, answer.ok ? await answer.json() : {});
  }
  return documents.get(version);
}

const text = (value) => (value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value, null, 1));

async function show() {
  const version = Number(slider.value);
  document.getElementById("version-now").textContent = version;
  const [now, before] = await Promise.all([documentAt(version), documentAt(version - 1)]);
  if (version !== Number(slider.value)) return; // the slider has moved on meanwhile
  const rows = Object.keys(now).map((field) => {
    const line = document.createElement("tr");
    const changed = text(now[field]) !== text(before[field]);
    line.insertCell().textContent = field;
    const cell = line.insertCell();
    const value = cell.appendChild(document.createElement(changed ? "b" : "span"));
    value.textContent = text(now[field]);
    line.insertCell().textContent = changed ? text(before[field]) : "";
    return line;
  });
  document.getElementById("then-fields").replaceChildren(...rows);
}

slider.addEventListener("input", show);
show();
