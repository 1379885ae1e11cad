// What a screen reader, a keyboard and weak eyes need; returns what is missing, as sentences.
() => {
  const found = [];
  const say = (element) => `<${element.tagName.toLowerCase()} ${element.className?.baseVal ?? element.className}> ${element.textContent.trim().slice(0, 40)}`;
  const shown = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true });
  const scope = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;

  const nameOf = (element) => {
    const by = element.getAttribute("aria-labelledby");
    if (by) return by.split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join(" ").trim();
    const label = element.getAttribute("aria-label") ?? "";
    if (label.trim()) return label.trim();
    if (element.labels?.length) return [...element.labels].map((one) => one.textContent).join(" ").trim();
    const inside = element.textContent.trim() || [...element.querySelectorAll("[aria-label]")].map((one) => one.getAttribute("aria-label")).join(" ");
    return ["INPUT", "SELECT", "TEXTAREA"].includes(element.tagName) ? "" : inside;
  };
  for (const element of scope.querySelectorAll("a[href], button, input, select, textarea, [role=tab], [role=img], [role=region], dialog, summary")) {
    if (shown(element) && !nameOf(element)) found.push(`no name: ${say(element)}`);
  }
  for (const image of scope.querySelectorAll("img")) if (!image.hasAttribute("alt")) found.push(`no alt: ${image.src}`);
  for (const element of scope.querySelectorAll("[tabindex]")) if (element.tabIndex > 0) found.push(`own focus order: ${say(element)}`);

  const ids = new Map();
  for (const element of document.querySelectorAll("[id]")) ids.set(element.id, (ids.get(element.id) ?? 0) + 1);
  for (const [id, count] of ids) if (count > 1) found.push(`id twice: ${id}`);
  for (const element of scope.querySelectorAll("[aria-labelledby], [aria-describedby], [aria-controls], label[for]")) {
    for (const name of ["aria-labelledby", "aria-describedby", "aria-controls", "for"]) {
      for (const id of (element.getAttribute(name) ?? "").split(" ").filter(Boolean)) if (!ids.has(id)) found.push(`${name} leads nowhere: ${id}`);
    }
  }
  for (const one of scope.querySelectorAll("table")) if (!one.caption) found.push("a table without caption");
  if (document.querySelectorAll("h1").length !== 1) found.push(`${document.querySelectorAll("h1").length} h1`);
  if (!document.documentElement.lang) found.push("no language");
  if (document.querySelectorAll("main").length !== 1) found.push("no single main");

  // contrast: WCAG 2, 4.5 for text, 3 for large text
  const channels = (text) => {
    const canvas = (channels.canvas ??= document.createElement("canvas").getContext("2d", { willReadFrequently: true }));
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (front, back) => [0, 1, 2].map((i) => front[i] * front[3] + back[i] * (1 - front[3])).concat(1);
  const behind = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const colour = channels(getComputedStyle(one).backgroundColor);
      layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((back, front) => over(front, back), [255, 255, 255, 1]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((one) => one / 255).map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const walker = document.createTreeWalker(scope, NodeFilter.SHOW_TEXT);
  const looked = new Set();
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || looked.has(element) || !shown(element)) continue;
    if (element.closest(".visually-hidden, option, [aria-busy=true], :disabled")) continue;
    looked.add(element);
    const style = getComputedStyle(element);
    const back = behind(element);
    const colour = element.closest("svg") ? style.fill : style.color;
    const [a, b] = [light(over(channels(colour), back)), light(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) found.push(`contrast ${ratio.toFixed(2)}: ${say(element)}`);
  }
  return [...new Set(found)];
}
