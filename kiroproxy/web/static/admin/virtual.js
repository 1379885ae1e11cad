// A long table of which only the rows in sight exist.

import { h } from "./dom.js";
import { inUse, keepFocus } from "./ui.js";

const SPARE = 8; // rows built beyond each edge
const PAGE_PX = 900; // before the size is known

/** A table of rows of one height. A row is built anew only when `sign(row)` has changed. */
export function virtualRows({ caption, head, columns, height, id, sign, build }) {
  const above = spacer(columns);
  const below = spacer(columns);
  const body = h("tbody");
  const place = h("div.virtual", { tabindex: 0, role: "region", "aria-label": caption },
    h("table.grid", { "aria-rowcount": 0 }, h("caption.visually-hidden", {}, caption), h("thead", {}, head), body));
  let rows = [];
  let kept = new Map();

  function draw() {
    const page = place.clientHeight || PAGE_PX;
    const first = Math.max(0, Math.floor(place.scrollTop / height) - SPARE);
    const last = Math.min(rows.length, Math.ceil((place.scrollTop + page) / height) + SPARE);
    const now = new Map();
    for (let index = first; index < last; index += 1) {
      const row = rows[index];
      const mark = sign(row);
      const old = kept.get(id(row));
      const keep = old && (old.mark === mark || inUse(old.element));
      const element = keep ? old.element : build(row);
      element.setAttribute("aria-rowindex", index + 2);
      now.set(id(row), { mark: keep ? old.mark : mark, element });
    }
    kept = now;
    keepFocus(() => arrange(body, [above, ...[...now.values()].map((one) => one.element), below]));
    above.firstChild.style.setProperty("height", `${first * height}px`);
    below.firstChild.style.setProperty("height", `${(rows.length - last) * height}px`);
  }

  let waiting = false;
  place.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  });
  return {
    element: place,
    update(found, afresh = false) {
      rows = found;
      if (afresh) kept = new Map();
      place.querySelector("table").setAttribute("aria-rowcount", rows.length + 1);
      draw();
      if (!place.isConnected) requestAnimationFrame(draw);
    },
  };
}

const spacer = (columns) => h("tr.space", { "aria-hidden": "true" }, h("td", { colspan: columns }));

/** Put children in order and move only what is not there yet: what has the focus keeps it. */
function arrange(parent, wanted) {
  const stays = new Set(wanted);
  for (const one of [...parent.children]) if (!stays.has(one)) one.remove();
  wanted.forEach((one, index) => {
    if (parent.children[index] !== one) parent.insertBefore(one, parent.children[index] ?? null);
  });
}
