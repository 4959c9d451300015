/* Looks over a page: a list of faults, each a sentence. Arguments: "contrast" or "structure", the window's width,
   which a telephone's browser would otherwise stretch to what the page takes, and how many texts there are at least. */
const faults = [];
const what = arguments[0], width = arguments[1], texts = arguments[2];

function numbers(color) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.fillStyle = color;
  context.fillRect(0, 0, 1, 1);
  const d = context.getImageData(0, 0, 1, 1).data;
  return [d[0], d[1], d[2], d[3] / 255];
}
function over(top, below) {
  return [0, 1, 2].map(c => top[c] * top[3] + below[c] * (1 - top[3])).concat(1);
}
function luminance(rgb) {
  const v = rgb.slice(0, 3).map(x => x / 255).map(x => x <= 0.04045 ? x / 12.92 : Math.pow((x + 0.055) / 1.055, 2.4));
  return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2];
}
function contrast(a, b) {
  const x = luminance(a), y = luminance(b);
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
}
function backgroundOf(element) {
  const layers = [];
  for (let e = element; e; e = e.parentElement) {
    const color = numbers(getComputedStyle(e).backgroundColor);
    if (color[3] > 0) layers.push(color);
    if (color[3] === 1) break;
  }
  return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
}
function visible(element) {
  const box = element.getBoundingClientRect(), style = getComputedStyle(element);
  return box.width > 0 && box.height > 0 && style.visibility !== "hidden";
}

function checkContrast() {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), seen = new Set();
  let n = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (seen.has(element) || !walker.currentNode.data.trim() || element.closest("script,style,title")) continue;
    seen.add(element);
    if (!visible(element)) continue;
    const style = getComputedStyle(element), svg = element.namespaceURI.endsWith("svg");
    const background = backgroundOf(svg ? element.closest("figure") : element);
    const ink = over(numbers(svg ? style.fill : style.color), background);
    const size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
    const wanted = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5, found = contrast(ink, background);
    n++;
    /* in the confusion matrix as a figure, text stands on cells, which unit/plot checks */
    if (found < wanted && !element.closest("#plot-confusion"))
      faults.push(`contrast ${found.toFixed(2)}, expected ${wanted}: "${element.textContent.slice(0, 40)}"`);
  }
  if (n < texts) faults.push(`only ${n} texts were looked at`);
}

function checkStructure() {
  let level = 0;
  const ids = new Set();
  document.querySelectorAll("h1,h2,h3,h4").forEach(h => {
    const now = Number(h.tagName[1]);
    if (now > level + 1) faults.push(`heading "${h.textContent}" skips a level`);
    level = now;
  });
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
  document.querySelectorAll("[id]").forEach(e => {
    if (ids.has(e.id)) faults.push(`id ${e.id} twice`);
    ids.add(e.id);
  });
  document.querySelectorAll("nav a").forEach(a => {
    if (!document.querySelector(a.getAttribute("href"))) faults.push(`${a.href} leads nowhere`);
  });
  document.querySelectorAll("table").forEach(t => {
    if (!t.caption || !t.caption.textContent) faults.push("a table without caption");
    t.querySelectorAll("th").forEach(th => { if (!th.scope) faults.push(`th "${th.textContent}" without scope`); });
    const columns = t.tHead.rows[0].cells.length;
    Array.from(t.tBodies[0].rows).forEach(row => {
      if (row.cells.length !== columns) faults.push(`a row of ${row.cells.length} cells under ${columns} headers`);
    });
  });
  document.querySelectorAll("img").forEach(i => { if (!i.alt && !i.closest('.tip')) faults.push("an image without alternative text"); });
  document.querySelectorAll("svg").forEach(s => {
    if (s.getAttribute("role") !== "img" || !s.getAttribute("aria-label")) faults.push("a drawing without a name");
  });
  document.querySelectorAll("[role=region]").forEach(r => {
    if (r.tabIndex !== 0 || !r.getAttribute("aria-label")) faults.push("a region that the keyboard cannot scroll");
  });
  if (document.documentElement.scrollWidth > width)
    faults.push(`the page is ${document.documentElement.scrollWidth} px wide in a window of ${width}`);
  if (document.title.indexOf("broken") === 0) faults.push("a class name ran as a script");
}

if (what === "contrast") checkContrast();
else checkStructure();
return faults;
