// The live page: the stream as a list, its rate as a plot, and how far the projectors are.
"use strict";

const SHOWN = 200; // rows kept on the page
const SECONDS = 120; // width of the plot
const COLORS = ["#0b6e99", "#d1701f", "#3f8f4f", "#8a56b8", "#b83a5e"];

const place = document.getElementById("live");
const byId = (id) => document.getElementById(id);
const list = byId("events");
const arrivals = new Map(); // category -> Map(second -> count)
const arrived = []; // milliseconds of the last minute's events
let paused = false;
let waiting = []; // what came while paused

function row(event, fresh) {
  const item = document.createElement("li");
  item.dataset.search = `${event.type} ${event.stream}`.toLowerCase();
  item.classList.toggle("new", fresh);
  const details = item.appendChild(document.createElement("details"));
  const summary = details.appendChild(document.createElement("summary"));
  const add = (tag, name, text) => {
    const node = summary.appendChild(document.createElement(tag));
    node.className = name;
    node.textContent = text;
    return node;
  };
  add("span", "position", event.position);
  const time = add("time", "", new Date(event.recorded_at).toLocaleTimeString());
  time.dateTime = event.recorded_at;
  add("span", "type", event.type);
  add("span", "stream", `${event.stream} #${event.stream_version}`);
  details.addEventListener("toggle", () => details.childElementCount > 1 || open(details, event));
  return item;
}

function open(details, event) {
  const more = document.createElement("p");
  const link = more.appendChild(document.createElement("a"));
  link.href = `${place.dataset.admin}${event.position}/change/`;
  link.textContent = "Open in the admin";
  const payload = document.createElement("pre");
  payload.textContent = JSON.stringify({ data: event.data, metadata: event.metadata }, null, 2);
  details.append(payload, more);
}

function show(event, fresh = true) {
  list.prepend(row(event, fresh));
  while (list.childElementCount > SHOWN) list.lastElementChild.remove();
  byId("none").hidden = true;
  filter();
}

function filter() {
  const wanted = byId("filter").value.trim().toLowerCase();
  for (const item of list.children) item.hidden = !item.dataset.search.includes(wanted);
}

function count(event) {
  const category = event.stream.split("-", 1)[0];
  const second = Math.floor(Date.now() / 1000);
  if (!arrivals.has(category)) {
    arrivals.set(category, new Map());
    makePlot();
  }
  const seconds = arrivals.get(category);
  seconds.set(second, (seconds.get(second) || 0) + 1);
  arrived.push(Date.now());
}

function receive(message) {
  const event = JSON.parse(message.data);
  count(event);
  byId("head").textContent = event.position;
  if (paused) waiting = [...waiting, event].slice(-SHOWN);
  else show(event);
}

let plot = null;

function makePlot() {
  if (plot) plot.destroy();
  const ink = getComputedStyle(document.body).color;
  const grid = getComputedStyle(document.body).getPropertyValue("--line");
  const axis = { stroke: ink, grid: { stroke: grid }, ticks: { stroke: grid } };
  const series = [...arrivals.keys()].map((label, index) => ({ label, stroke: COLORS[index % COLORS.length], width: 2 }));
  const size = { width: byId("plot").clientWidth, height: 160 };
  const scales = { y: { range: (self, low, high) => [0, Math.max(5, high || 0)] } };
  plot = new uPlot({ ...size, scales, series: [{}, ...series], axes: [axis, axis] }, plotData(), byId("plot"));
}

function plotData() {
  const now = Math.floor(Date.now() / 1000);
  const seconds = Array.from({ length: SECONDS }, (_, index) => now - SECONDS + index);
  for (const counts of arrivals.values())
    for (const second of counts.keys()) if (second < now - SECONDS) counts.delete(second);
  return [seconds, ...[...arrivals.values()].map((counts) => seconds.map((second) => counts.get(second) || 0))];
}

async function status() {
  const answer = await fetch(place.dataset.status, { headers: { Accept: "application/json" } }).catch(() => null);
  if (!answer || !answer.ok) return;
  const { head, projectors } = await answer.json();
  byId("head").textContent = head;
  byId("parked").textContent = projectors.reduce((sum, each) => sum + each.dead_letters, 0);
  byId("projectors").replaceChildren(
    ...projectors.map((each) => {
      const line = document.createElement("tr");
      for (const [name, kind] of [["name", ""], ["service", ""], ["position", "number"], ["lag", "number"], ["dead_letters", "number"]]) {
        const cell = line.insertCell();
        cell.className = kind;
        cell.textContent = each[name];
      }
      return line;
    }),
  );
}

function tick() {
  while (arrived.length && arrived[0] < Date.now() - 60000) arrived.shift();
  byId("rate").textContent = arrived.length;
  plot.setData(plotData());
}

async function start() {
  makePlot();
  await status();
  const head = Number(byId("head").textContent) || 0;
  const after = Math.max(0, head - 30);
  const source = new EventSource(`${place.dataset.stream}?after=${after}`);
  source.onopen = () => (byId("state").textContent = "live");
  source.onerror = () => (byId("state").textContent = source.readyState === EventSource.CLOSED ? "closed" : "reconnecting");
  source.onmessage = (message) => {
    const event = JSON.parse(message.data);
    if (event.position <= head) show(event, false); // what was there already is shown and not counted
    else receive(message);
  };
  setInterval(tick, 1000);
  setInterval(status, 2000);
}

byId("filter").addEventListener("input", filter);
byId("pause").addEventListener("click", (click) => {
  paused = !paused;
  click.target.setAttribute("aria-pressed", paused);
  click.target.textContent = paused ? "Resume" : "Pause";
  if (!paused) waiting.splice(0).forEach((event) => show(event));
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", makePlot);
window.addEventListener("resize", () => plot && plot.setSize({ width: byId("plot").clientWidth, height: 160 }));
start();
