// Curves over the last five minutes. All charts have one time axis and one cursor.
const SPAN = 300000;
// A longer silence is a gap in the curve.
const GAP = 12000;
const charts = [];
let points = [];
let cursor = null;

function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  for (const step of [1, 1.5, 2, 3, 4, 5, 6, 8, 10]) if (value <= step * power) return step * power;
  return value;
}

class Chart {
  // series: [{name, label, of, area}]; `least` is the least top of the axis.
  constructor(root, { series, least, top, show, height, axes }) {
    Object.assign(this, { series, least, top, show, height, axes, width: 0 });
    this.image = shape("svg", { height, preserveAspectRatio: "none", "aria-hidden": "true" });
    this.grid = shape("g", { class: "grid" });
    this.curves = series.map(({ name, area }) => ({
      area: area && shape("path", { class: `area ${name}` }),
      line: shape("path", { class: `line ${name}` }),
    }));
    this.hair = shape("line", { class: "hair", y1: 0, y2: height });
    this.empty = shape("text", { class: "nothing", "text-anchor": "middle", y: height / 2 - 16 });
    this.empty.textContent = "No traffic yet";
    if (axes) this.image.append(this.empty);
    this.image.append(this.grid, ...this.curves.flatMap(({ area, line }) => (area ? [area, line] : [line])), this.hair);
    root.append(this.image);
    new ResizeObserver(([entry]) => {
      this.width = Math.floor(entry.contentRect.width);
      this.image.setAttribute("viewBox", `0 0 ${this.width} ${height}`);
      this.draw();
    }).observe(this.image);
    this.image.addEventListener("pointermove", (event) => {
      const { left } = this.image.getBoundingClientRect();
      const [from, to] = this.times();
      const at = from + ((event.clientX - left - this.left()) / (this.width - this.left())) * (to - from);
      cursor = points.reduce((best, point) => (!best || Math.abs(point.at - at) < Math.abs(best.at - at) ? point : best), null);
      drawAll();
    });
    this.image.addEventListener("pointerleave", () => { cursor = null; drawAll(); });
    charts.push(this);
  }

  left() { return this.axes ? 48 : 0; }

  times() {
    const to = points.length ? points[points.length - 1].at : 0;
    return [to - SPAN, to];
  }

  draw() {
    if (this.width < 10) return;
    const [from, to] = this.times();
    const [left, foot] = [this.left(), this.axes ? 18 : 1];
    const seen = points.filter(({ at }) => at >= from);
    const values = this.series.flatMap(({ of }) => seen.map(of)).filter((value) => value !== null);
    const top = this.top ?? ceiling(Math.max(this.least, ...values));
    const x = (at) => left + ((at - from) / SPAN) * (this.width - left);
    const y = (value) => 3 + (1 - value / top) * (this.height - foot - 4);
    this.series.forEach(({ of }, at) => {
      let [line, area, start, last] = ["", "", null, null];
      const close = () => { if (last !== null) area += `L${x(last).toFixed(1)} ${y(0)}L${x(start).toFixed(1)} ${y(0)}Z`; };
      for (const point of seen) {
        const value = of(point);
        if (value === null) { close(); last = null; continue; }
        const joined = last !== null && point.at - last < GAP;
        if (!joined) { close(); start = point.at; }
        const step = `${joined ? "L" : "M"}${x(point.at).toFixed(1)} ${y(Math.min(value, top)).toFixed(1)}`;
        line += joined ? step : `${step}h0.1`;
        area += step;
        last = point.at;
      }
      close();
      this.curves[at].line.setAttribute("d", line);
      this.curves[at].area?.setAttribute("d", area);
    });
    const isShown = cursor !== null && cursor.at >= from;
    this.hair.setAttribute("visibility", isShown ? "visible" : "hidden");
    if (isShown) {
      this.hair.setAttribute("x1", x(cursor.at));
      this.hair.setAttribute("x2", x(cursor.at));
    }
    this.empty.setAttribute("visibility", values.some((value) => value > 0) ? "hidden" : "visible");
    this.empty.setAttribute("x", (left + this.width) / 2);
    if (this.axes) this.drawGrid(top, x, y, to);
    this.onDraw?.(cursor ?? points[points.length - 1] ?? null);
  }

  drawGrid(top, x, y, to) {
    const key = `${top} ${this.width}`;
    if (this.gridKey === key) return;
    this.gridKey = key;
    const parts = [];
    for (const part of [0, 0.5, 1]) {
      const at = y(part * top);
      parts.push(shape("line", { x1: this.left(), x2: this.width, y1: at, y2: at }));
      const label = shape("text", { x: this.left() - 6, y: at + 4, "text-anchor": "end" });
      label.textContent = part === 0 ? "0" : this.show(part * top).replace(/\.0(?= )/, "");
      parts.push(label);
    }
    for (const [minutes, anchor] of [[4, "middle"], [3, "middle"], [2, "middle"], [1, "middle"], [0, "end"]]) {
      const label = shape("text", { x: x(to - minutes * 60000), y: this.height - 3, "text-anchor": anchor });
      label.textContent = minutes ? `−${minutes} min` : "now";
      parts.push(label);
    }
    this.grid.replaceChildren(...parts);
  }
}

function drawAll() {
  for (const chart of charts) chart.draw();
}

// What the server remembers goes before what this page remembers.
function remember(history) {
  const first = history.length ? history[0].at : Infinity;
  points = points.filter(({ at }) => at < first).concat(history);
}

function append(point) {
  const latest = points[points.length - 1];
  if (!latest || point.at > latest.at) points.push(point);
  points = points.filter(({ at }) => at >= point.at - SPAN - GAP);
}
