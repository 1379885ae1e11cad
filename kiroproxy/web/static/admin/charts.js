// Small charts as SVG; each says in words what it shows.

import { h, s } from "./dom.js";

const WIDTH = 240;
const HEIGHT = 48;
export const SERIES = 8; // so many colours in the style sheet

/** A line over time with the area below it; unknown values (null) are gaps that are bridged. */
export const spark = (values, label, options = {}) => sparks([{ values, class: options.class, area: true }], label, options);

/** Several lines over the same time, the first one hindmost. */
export function sparks(lines, label, options = {}) {
  const top = Math.max(options.top ?? 0, ...lines.flatMap((one) => one.values.map((value) => value ?? 0)), 1e-9);
  return s("svg", { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label, preserveAspectRatio: "none" }, lines.map((one) => line(one, top)));
}

function line({ values, class: kind = "", area }, top) {
  const x = (index) => (values.length < 2 ? WIDTH : (index / (values.length - 1)) * WIDTH);
  const y = (value) => HEIGHT - 2 - (value / top) * (HEIGHT - 6);
  const known = values.map((value, index) => [value, index]).filter(([value]) => value !== null && value !== undefined);
  const points = known.map(([value, index]) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`);
  if (!points.length) return null;
  if (points.length === 1) points.unshift(`${Math.max(x(known[0][1]) - 3, 0).toFixed(1)},${y(known[0][0]).toFixed(1)}`);
  const [first] = points[0].split(",");
  const [last] = points.at(-1).split(",");
  return s("g", { class: kind }, area && s("polygon", { points: `${first},${HEIGHT} ${points.join(" ")} ${last},${HEIGHT}` }), s("polyline", { points: points.join(" ") }));
}

/** Stacked columns: `series` is `[{name, values}]`, one value for each of `labels`. */
export function columns(labels, series, title, format = String) {
  const wide = Math.min(1080, Math.max(320, innerWidth - (innerWidth > 800 ? 320 : 72))); // one unit is about a pixel
  const tall = wide > 500 ? 230 : 180, foot = 22, left = 44;
  const sums = labels.map((_, index) => series.reduce((sum, one) => sum + (one.values[index] ?? 0), 0));
  const top = nice(Math.max(...sums, 0)) || 1;
  const step = (wide - left) / Math.max(labels.length, 1);
  const y = (value) => tall - foot - (value / top) * (tall - foot - 10);
  const grid = [0, 0.5, 1].map((part) => [
    s("line", { class: "grid-line", x1: left, x2: wide, y1: y(top * part), y2: y(top * part) }),
    s("text", { class: "axis", x: left - 6, y: y(top * part) + 4, "text-anchor": "end" }, format(top * part)),
  ]);
  const bars = labels.map((label, index) => {
    let height = 0;
    return series.map((one, number) => {
      const value = one.values[index] ?? 0;
      if (!value) return null;
      const from = height;
      height += value;
      return s("rect", { class: `series-${number % SERIES}`, x: left + index * step + step * 0.15, width: Math.max(step * 0.7, 1), y: y(height), height: Math.max(y(from) - y(height), 0.5), rx: 1 },
        s("title", {}, `${label} · ${one.name}: ${format(value)}`));
    });
  });
  const every = Math.ceil(labels.length / Math.floor(wide / 75));
  const names = labels.map((label, index) => index % every === 0 && s("text", { class: "axis", x: left + (index + 0.5) * step, y: tall - 6, "text-anchor": "middle" }, label));
  return h("figure.chart", {},
    s("svg", { viewBox: `0 0 ${wide} ${tall}`, role: "img", "aria-label": title }, grid, bars, names),
    h("figcaption.legend", {}, series.map((one, number) => h("span", {}, h(`i.swatch.series-${number % SERIES}`), one.name))));
}

/** The next round number above. */
export function nice(value) {
  if (value <= 0) return 0;
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((one) => one * size).find((one) => one >= value * 0.999);
}

/** Parts of a whole in one line: `[{name, value, kind}]`. */
export function parts(all, label) {
  const whole = all.reduce((sum, one) => sum + one.value, 0) || 1;
  return h("div.parts", { role: "img", "aria-label": label },
    all.filter((one) => one.value).map((one) => h(`i.part-${one.kind}`, { title: `${one.name}: ${one.value}`, css: { width: `${(one.value / whole) * 100}%` } })));
}

/** What happened when within a span: `[{name, from, to, kind}]` in milliseconds. */
export function waterfall(rows, totalMs, label) {
  const whole = Math.max(totalMs, 1);
  return h("ol.waterfall", { "aria-label": label }, rows.map((row) =>
    h("li", {}, h("span.waterfall-name", {}, row.name),
      h("span.waterfall-track", {}, h(`i.part-${row.kind}`, { css: { left: `${(row.from / whole) * 100}%`, width: `${Math.max(((row.to - row.from) / whole) * 100, 0.7)}%` } })),
      h("span.waterfall-time", {}, row.text))));
}
