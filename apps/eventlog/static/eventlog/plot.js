// Events per second by category, over the last two minutes.
"use strict";

const SECONDS = 120;
const LEAST = 180; // pixels high; otherwise as high as its place

class Rates {
  constructor(place, categories) {
    this.place = place;
    this.counts = new Map(categories.map((category) => [category, new Map()])); // category -> second -> events
    this.hidden = new Set();
    this.build();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.build());
    new ResizeObserver(() => this.plot.setSize(this.size())).observe(place);
  }

  size() {
    return { width: this.place.clientWidth, height: Math.max(LEAST, this.place.clientHeight) };
  }

  // `at` is when the event was recorded, in milliseconds.
  count(category, at) {
    const seconds = this.counts.get(category);
    const second = Math.floor(at / 1000);
    if (seconds) seconds.set(second, (seconds.get(second) || 0) + 1);
  }

  // The number of events in the last `length` seconds before `now`, which is in milliseconds.
  recent(now, length) {
    const end = Math.floor(now / 1000);
    let sum = 0;
    for (const seconds of this.counts.values())
      for (const [second, events] of seconds) if (second > end - length && second <= end) sum += events;
    return sum;
  }

  clear() {
    for (const seconds of this.counts.values()) seconds.clear();
  }

  show(category, shown) {
    this.hidden[shown ? "delete" : "add"](category);
    this.plot.setSeries([...this.counts.keys()].indexOf(category) + 1, { show: shown });
  }

  draw(now) {
    this.now = now;
    this.plot.setData(this.data());
  }

  data() {
    const end = Math.floor((this.now || Date.now()) / 1000);
    const axis = Array.from({ length: SECONDS }, (_, index) => end - SECONDS + 1 + index);
    for (const seconds of this.counts.values())
      for (const second of seconds.keys()) if (second < axis[0]) seconds.delete(second);
    return [axis, ...[...this.counts.values()].map((seconds) => axis.map((second) => seconds.get(second) || 0))];
  }

  build() {
    if (this.plot) this.plot.destroy();
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const font = "12px system-ui, sans-serif";
    const axis = { stroke: color("--quiet"), font, grid: { stroke: color("--line"), width: 1 }, ticks: { show: false } };
    const clock = (self, seconds) => seconds.map((second) => new Date(second * 1000).toLocaleTimeString([], { hour12: false }));
    const series = [...this.counts.keys()].map((label, index) => {
      const stroke = color(`--c${index % 5}`);
      const show = !this.hidden.has(label);
      return { label, show, stroke, fill: `${stroke}22`, width: 1.5, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } };
    });
    const options = {
      ...this.size(), legend: { show: false }, cursor: { show: false },
      scales: { y: { range: (self, low, high) => [0, Math.max(5, Math.ceil((high || 0) * 1.1))] } },
      axes: [{ ...axis, values: clock, space: 90, size: 28 }, { ...axis, size: 32, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] }],
      series: [{}, ...series],
    };
    this.plot = new uPlot(options, this.data(), this.place);
  }
}
