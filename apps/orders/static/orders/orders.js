// The page of orders: it sends the commands to the API, and shows the orders again whenever an event of one arrives.
"use strict";

const SHOWN = 20; // orders on the page
const page = document.getElementById("orders");
const byId = (id) => document.getElementById(id);
const token = page.querySelector("[name=csrfmiddlewaretoken]").value;
const forStaff = "page" in page.dataset;
let reached = 0; // the position up to which the list must show the log
let asked = 0; // how often the list has been asked for
let known = null; // the versions on the page by id, so that what is new is seen

function element(parent, tag, name, text) {
  const node = parent.appendChild(document.createElement(tag));
  node.className = name;
  node.textContent = text;
  return node;
}

async function send(url, body) {
  const headers = { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": token };
  const options = { method: "POST", headers, body: JSON.stringify(body) };
  const answer = await fetch(url, options).catch(() => null);
  const document = answer ? await answer.json().catch(() => ({})) : { detail: "The server does not answer." };
  if (answer && answer.ok) return document;
  if (answer && answer.status === 401) location.href = page.dataset.login;
  const errors = (document.errors || []).map((error) => `${error.pointer.slice(1).replaceAll("/", " ")}: ${error.detail}`);
  throw new Error(errors.join("\n") || document.detail || "This did not work.");
}

function say(text, wrong, links = []) {
  const place = byId("said");
  place.className = wrong ? "wrong" : "done";
  place.textContent = text;
  for (const [label, url] of links) {
    place.append(" · ");
    element(place, "a", "", label).href = url;
  }
}

function button(parent, label, order, path, body) {
  const node = element(parent, "button", "", label);
  node.type = "button";
  node.setAttribute("aria-label", `${label} the order of ${order.total} ${order.currency}`);
  node.addEventListener("click", async () => {
    node.disabled = true;
    try {
      const { position } = await send(`${page.dataset.orders}${order.id}/${path}/`, body);
      await refresh(position);
    } catch (error) {
      node.disabled = false;
      if (byId("said")) say(error.message, true);
    }
  });
}

function acts(parent, order) {
  if (forStaff) return; // they have the admin's page of the order
  if (order.status === "placed") button(parent, "Pay", order, "pay", { payment_reference: `WEB-${order.id.slice(0, 8)}` });
  if (order.status === "placed" || order.status === "paid") button(parent, "Cancel", order, "cancel", { reason: "changed my mind" });
}

function row(order) {
  const item = document.createElement("li");
  item.dataset.id = order.id;
  item.classList.toggle("new", known !== null && known.get(order.id) !== order.version);
  const head = element(item, "span", "", "");
  element(head, "span", `status ${order.status}`, order.status);
  const when = new Date(order.placed_at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  if (forStaff) element(head, "a", "", when).href = `${page.dataset.page}${order.id}/change/`;
  else head.append(when);
  element(item, "span", "total", `${order.total} ${order.currency}`);
  const lines = order.lines.map((line) => `${line.quantity} × ${line.sku}`).join(", ");
  const why = order.cancel_reason ? ` (${order.cancel_reason})` : "";
  element(item, "span", "what", `${forStaff ? `${order.customer_name || order.customer_id}: ` : ""}${lines}${why}`);
  acts(element(item, "span", "acts", ""), order);
  return item;
}

// Shows the orders at or after a position of the log.
async function refresh(position = 0) {
  if (!byId("list")) return;
  reached = Math.max(reached, position);
  const number = (asked += 1);
  const headers = { Accept: "application/json", ...(reached ? { "Min-Event-Position": String(reached) } : {}) };
  const answer = await fetch(`${page.dataset.orders}?limit=${SHOWN}`, { headers }).catch(() => null);
  if (number !== asked) return; // it has been asked for again meanwhile
  if (!answer || !answer.ok) return void (answer && answer.status === 503 && setTimeout(refresh, 1000));
  const { results } = await answer.json();
  byId("list").replaceChildren(...results.map(row));
  known = new Map(results.map((order) => [order.id, order.version]));
  byId("none").hidden = results.length > 0;
}

function addLine(sku = "", quantity = "1", price = "") {
  const line = byId("line").content.firstElementChild.cloneNode(true);
  const number = byId("lines").childElementCount;
  for (const input of line.querySelectorAll("input")) {
    input.id = `${input.name}-${Date.now()}-${number}`;
    input.previousElementSibling.htmlFor = input.id;
    input.value = { sku, quantity, unit_price: price }[input.name];
  }
  line.querySelector("[name=remove]").addEventListener("click", () => line.remove());
  byId("lines").append(line);
}

function lines() {
  return [...byId("lines").children].map((line) => {
    const value = (name) => line.querySelector(`[name=${name}]`).value.trim();
    const quantity = /^\d+$/.test(value("quantity")) ? Number(value("quantity")) : value("quantity");
    return { sku: value("sku"), quantity, unit_price: value("unit_price").replace(",", ".") };
  });
}

async function place(submit) {
  submit.preventDefault();
  const first = byId("form").querySelector(".first");
  first.disabled = true; // a second click must not place a second order
  try {
    const customer = forStaff ? { customer_id: byId("customer").value } : {};
    const { id, position } = await send(page.dataset.orders, { ...customer, currency: byId("currency").value, lines: lines() });
    const links = forStaff ? [["See the order", `${page.dataset.page}${id}/change/`], ["See the event", `${page.dataset.events}${position}/change/`]] : [];
    say(`Placed: event ${position} of the log.`, false, links);
    await refresh(position);
  } catch (error) {
    say(error.message, true);
  }
  first.disabled = false;
}

function watch() {
  const source = new EventSource(page.dataset.stream);
  const state = (name) => {
    byId("state").dataset.state = name;
    byId("state").textContent = name;
  };
  source.onopen = () => {
    state("live");
    refresh(); // what came while nobody listened
  };
  source.onerror = () => {
    state(source.readyState === EventSource.CLOSED ? "closed" : "reconnecting");
    if (source.readyState === EventSource.CLOSED) setTimeout(watch, 5000);
  };
  source.onmessage = (message) => {
    const event = JSON.parse(message.data);
    if (event.type.startsWith("orders.")) refresh(event.position);
  };
  source.addEventListener("reset", () => {
    reached = 0; // the log went back
    refresh();
  });
}

if (byId("form")) {
  addLine("TEA-GREEN-100", "2", "6.40");
  byId("add").addEventListener("click", () => addLine());
  byId("form").addEventListener("submit", place);
}
refresh();
if (page.dataset.stream) watch();
