// The live page: a list of events as they arrive, a plot of their rate, and how far the projectors have come.
"use strict";

const SHOWN = 100; // rows kept on the page
const page = document.getElementById("live");
const byId = (id) => document.getElementById(id);
const list = byId("events");
const chips = [...document.querySelectorAll("#categories [data-category]")];
const rates = new Rates(byId("plot"), chips.map((chip) => chip.dataset.category));
const off = new Set(); // categories that are not shown
let paused = false;
let waiting = []; // events that came while the list was paused
let skew = 0; // how far the server's clock is ahead of this one, in milliseconds

const serverNow = () => Date.now() + skew;
const colorOf = (category) => `c${chips.findIndex((chip) => chip.dataset.category === category) % 5}`;
const categoryOf = (event) => event.stream.split("-", 1)[0];

function element(parent, tag, name, text) {
  const node = parent.appendChild(document.createElement(tag));
  node.className = name;
  node.textContent = text;
  return node;
}

function row(event, fresh) {
  const item = document.createElement("li");
  item.dataset.category = categoryOf(event);
  item.dataset.position = event.position;
  item.dataset.search = `${event.type} ${event.stream} ${JSON.stringify(event.data)}`.toLowerCase();
  item.classList.toggle("new", fresh);
  const details = item.appendChild(document.createElement("details"));
  const summary = details.appendChild(document.createElement("summary"));
  element(summary, "span", "position", event.position);
  const time = element(summary, "time", "", new Date(event.recorded_at).toLocaleTimeString([], { hour12: false }));
  time.dateTime = event.recorded_at;
  const type = element(summary, "span", "type", "");
  element(type, "span", `dot ${colorOf(item.dataset.category)}`, "").setAttribute("aria-hidden", "true");
  type.append(event.type);
  element(summary, "span", "stream", `${event.stream} #${event.stream_version}`);
  details.addEventListener("toggle", () => details.childElementCount > 1 || open(details, event));
  return item;
}

function open(details, event) {
  const { data, metadata } = event;
  element(details, "pre", "", JSON.stringify({ data, metadata }, null, 2));
  const links = document.createElement("p");
  element(links, "a", "", "This event").href = `${page.dataset.admin}${event.position}/change/`;
  element(links, "a", "", "Its stream").href = `${page.dataset.admin}?q=${encodeURIComponent(event.stream)}`;
  if (metadata.correlation_id)
    element(links, "a", "", "All its request caused").href = `${page.dataset.admin}?correlation_id=${metadata.correlation_id}`;
  details.append(links);
}

function show(event, fresh) {
  list.prepend(row(event, fresh));
  filter(list.firstElementChild);
  while (list.childElementCount > SHOWN) {
    list.lastElementChild.remove();
    byId("older").hidden = false;
  }
  byId("none").hidden = true;
}

function filter(item) {
  const wanted = byId("filter").value.trim().toLowerCase();
  item.hidden = off.has(item.dataset.category) || !item.dataset.search.includes(wanted);
}

const filterAll = () => [...list.children].forEach(filter);

function receive(event, fresh) {
  rates.count(categoryOf(event), Date.parse(event.recorded_at));
  byId("head").textContent = Math.max(event.position, Number(byId("head").textContent) || 0);
  if (!paused) return show(event, fresh);
  waiting = [...waiting, event].slice(-SHOWN);
  byId("pause").textContent = `Resume (${waiting.length}${waiting.length === SHOWN ? " or more" : ""})`;
}

// What is wrong, with a link to the page where it is put right.
function fault({ text, page: where }) {
  const item = document.createElement("li");
  if (where) element(item, "a", "", text).href = where;
  else item.textContent = text;
  return item;
}

function reader(each) {
  const line = document.createElement("tr");
  const name = element(line, "th", "", each.name);
  name.scope = "row";
  element(name, "small", "", each.service);
  if (each.log_went_back) element(name, "small", "bad", "stopped: the log went back");
  for (const field of ["position", "lag_events"]) element(line, "td", "number", each[field] ?? "–");
  element(line, "td", "number", each.lag_seconds === null ? "–" : `${Math.round(each.lag_seconds)} s`);
  if (!each.dead_letters) element(line, "td", "number", 0);
  else {
    const link = element(element(line, "td", "number bad", ""), "a", "", each.dead_letters);
    link.href = `${page.dataset.home}${each.service}/deadletter/?projector=${each.name}&status=open`;
  }
  return line;
}

// What has the focus stays: the list is replaced only if it has changed.
function showFaults(faults) {
  const said = JSON.stringify(faults);
  if (said === byId("wrong").dataset.said) return;
  byId("wrong").dataset.said = said;
  byId("wrong").hidden = !faults.length;
  byId("wrong").querySelector("ul").replaceChildren(...faults.map(fault));
}

// Appends that have been open for long: every reader waits for them. A screen reader says them when they change.
function showMarks(marks) {
  const said = JSON.stringify(marks.map((mark) => [mark.position, mark.release]));
  if (said === byId("marks").dataset.said) return;
  byId("marks").dataset.said = said;
  byId("marks").hidden = !marks.length;
  byId("marks").replaceChildren();
  for (const mark of marks) {
    const who = mark.pid ? `pid ${mark.pid}` : `the prepared transaction ${mark.prepared}`;
    const where = [mark.role, mark.application, mark.client].filter(Boolean).join(", ");
    const since = new Date(mark.since).toLocaleTimeString([], { hour12: false });
    const text = `Since ${since}, every reader waits at position ${mark.position} for an open append: ${who}, ${where}. `;
    element(element(byId("marks"), "li", "", `${text}To end it: `), "code", "", mark.release);
  }
}

async function status() {
  const answer = await fetch(page.dataset.status, { headers: { Accept: "application/json" } }).catch(() => null);
  if (!answer || !answer.ok) return null;
  const clock = Date.parse(answer.headers.get("Date"));
  if (Math.abs(clock - serverNow()) > 2000) skew = clock - Date.now(); // the Date header has whole seconds only
  const { faults, head, projectors, reactors, processes, dead_letters, marks } = await answer.json();
  showMarks(marks);
  showFaults(faults);
  byId("head").textContent = head ?? "–";
  byId("lag").textContent = projectors.reduce((sum, each) => sum + each.lag_events, 0);
  byId("dead-letters").textContent = dead_letters;
  byId("dead-letters").classList.toggle("bad", dead_letters > 0);
  byId("projectors").replaceChildren(...[...projectors, ...reactors, ...processes].map(reader));
  return head;
}

function tick() {
  byId("rate").textContent = rates.recent(serverNow(), 60);
  rates.draw(serverNow());
}

function say(state) {
  byId("state").dataset.state = state;
  byId("state").textContent = state;
}

// A browser reconnects by itself after a lost connection, but not after an answer with an error status.
async function closed(last) {
  const answer = await fetch(page.dataset.status, { headers: { Accept: "application/json" } }).catch(() => null);
  if (!answer || (answer.status !== 401 && answer.status !== 403)) {
    say("reconnecting");
    return setTimeout(() => listen(last), 2000);
  }
  say("closed");
  reset(0); // who comes to this screen next may not read what was for the last one
  element(byId("state"), "a", "", " Log in again").href = page.dataset.login;
}

// The log went back to an older state: what the page shows after that position never happened.
function reset(position) {
  for (const item of [...list.children]) if (Number(item.dataset.position) > position) item.remove();
  waiting = waiting.filter((event) => event.position <= position);
  rates.clear();
}

// `after` is a position, or `<position>@<event id>`: then the server sees if the log has another event there.
function listen(after, fresh = parseInt(after, 10)) {
  let last = after;
  const source = new EventSource(`${page.dataset.stream}?after=${after}`);
  source.addEventListener("reset", async (message) => {
    source.close(); // what follows may be the whole log
    const { position } = JSON.parse(message.data);
    reset(position);
    const head = (await status()) || position;
    listen(Math.max(position, head - SHOWN), head);
  });
  source.onopen = () => say("live");
  source.onerror = () => (source.readyState === EventSource.CLOSED ? closed(last) : say("reconnecting"));
  source.onmessage = (message) => {
    const event = JSON.parse(message.data);
    last = `${event.position}@${event.event_id}`;
    receive(event, event.position > fresh); // only a new event flashes
  };
}

async function start() {
  const head = (await status()) || 0;
  listen(Math.max(0, head - SHOWN), head);
  tick();
  setInterval(tick, 1000);
  setInterval(() => document.hidden || status(), 2000);
}

byId("filter").addEventListener("input", filterAll);
chips.forEach((chip, index) => {
  chip.classList.add(`c${index % 5}`);
  chip.addEventListener("click", () => {
    const shown = chip.getAttribute("aria-pressed") !== "true";
    chip.setAttribute("aria-pressed", shown);
    off[shown ? "delete" : "add"](chip.dataset.category);
    rates.show(chip.dataset.category, shown);
    filterAll();
  });
});
byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", paused);
  byId("pause").textContent = paused ? "Resume" : "Pause";
  if (!paused) waiting.splice(0).forEach((event) => show(event, true));
});
start();
