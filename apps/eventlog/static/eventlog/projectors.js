// Keeps the projectors page up to date: fetches it every second and replaces the cells that have changed.
"use strict";

async function refresh() {
  const answer = await fetch(location.href).catch(() => null);
  if (!answer || !answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const cell of document.querySelectorAll("[data-live]")) {
    const now = page.querySelector(`[data-live="${cell.dataset.live}"]`);
    if (!now) continue;
    const buttons = cell.querySelectorAll("button");
    // Each copy of a form has another CSRF token, so keep the form and change only which buttons are enabled.
    if (buttons.length) now.querySelectorAll("button").forEach((button, index) => (buttons[index].disabled = button.disabled));
    else if (cell.innerHTML !== now.innerHTML) cell.replaceChildren(...now.childNodes);
    cell.className = now.className; // what is wrong now is hidden if nothing is
  }
}

setInterval(() => document.hidden || refresh(), 1000);
