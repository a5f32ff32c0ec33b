// Keeps the projectors page current: fetches it again and puts in what has changed.
"use strict";

async function refresh() {
  const answer = await fetch(location.href).catch(() => null);
  if (!answer || !answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const cell of document.querySelectorAll("[data-live]")) {
    const now = page.querySelector(`[data-live="${cell.dataset.live}"]`);
    if (!now) continue;
    const buttons = cell.querySelectorAll("button");
    // Forms carry a fresh token each time, so of them only what can be pressed changes.
    if (buttons.length) now.querySelectorAll("button").forEach((button, index) => (buttons[index].disabled = button.disabled));
    else if (cell.innerHTML !== now.innerHTML) cell.replaceChildren(...now.childNodes);
  }
}

setInterval(() => document.hidden || refresh(), 1000);
