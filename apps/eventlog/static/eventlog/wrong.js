// What is wrong now, in the header of each page of the admin and, on the index, as a list. It looks again every 10 s.
"use strict";

const badge = document.getElementById("wrong-now");
const wrong = document.getElementById("wrong");

function fault({ text, page }) {
  const item = document.createElement("li");
  const said = item.appendChild(document.createElement(page ? "a" : "span"));
  if (page) said.href = page;
  said.textContent = text;
  return item;
}

async function look() {
  const answer = await fetch(badge.dataset.faults, { headers: { Accept: "application/json" } }).catch(() => null);
  if (!answer || !answer.ok || answer.redirected) return;
  const { faults } = await answer.json();
  const said = faults.length === 1 ? "1 thing is wrong" : `${faults.length} things are wrong`;
  if (badge.textContent !== said) badge.textContent = said; // a screen reader says it when it changes
  badge.hidden = !faults.length;
  const now = JSON.stringify(faults);
  if (!wrong || now === wrong.dataset.said) return; // what has the focus stays
  wrong.dataset.said = now;
  wrong.classList.toggle("well", !faults.length);
  wrong.querySelector("ul").replaceChildren(...faults.map(fault));
}

look();
setInterval(() => document.hidden || look(), 10000);
