(function () {
"use strict";

/* ---- tables that sort ---- */

function valueOf(row, column) {
  var cell = row.cells[column], value = cell.getAttribute("data-v");
  if (value === null) return cell.textContent.toLowerCase();
  return value === "" ? NaN : Number(value);
}

function compare(a, b) {
  if (typeof a === "string" || typeof b === "string") return String(a).localeCompare(String(b));
  if (isNaN(a) || isNaN(b)) return isNaN(a) - isNaN(b);
  return a - b;
}

/* Cells without a value stay at the end either way. */
function sortTable(table, column) {
  var head = table.tHead.rows[0].cells, body = table.tBodies[0];
  var rows = Array.prototype.slice.call(body.rows), first = head[column].classList.contains("n") ? "descending" : "ascending";
  var now = head[column].getAttribute("aria-sort");
  var next = now === "ascending" ? "descending" : now === "descending" ? "ascending" : first;
  var sign = next === "ascending" ? 1 : -1;
  rows.sort(function (x, y) {
    var a = valueOf(x, column), b = valueOf(y, column);
    return a !== a || b !== b ? compare(a, b) : sign * compare(a, b);
  });
  rows.forEach(function (row) { body.appendChild(row); });
  Array.prototype.forEach.call(head, function (cell) { cell.removeAttribute("aria-sort"); });
  head[column].setAttribute("aria-sort", next);
}

function makeSortable(table) {
  Array.prototype.forEach.call(table.tHead.rows[0].cells, function (cell, column) {
    var button = document.createElement("button");
    button.type = "button";
    while (cell.firstChild) button.appendChild(cell.firstChild); /* with the places to break it */
    cell.appendChild(button);
    button.addEventListener("click", function () { sortTable(table, column); });
  });
}

/* ---- the confusion matrix: one stop for the tab key, arrows move within ---- */

function percent(part, whole) {
  return whole > 0 ? (100 * part / whole).toFixed(1) + " %" : "–";
}

function makeMatrix(table) {
  var status = document.getElementById("cell"), rows = table.tBodies[0].rows, n = rows.length, marked = null;
  function count(i, k) { return Number(rows[i].cells[k + 1].getAttribute("data-n")); }
  function name(i) { return rows[i].cells[0].textContent; }
  function show(i, k) {
    var row = 0, column = 0, c = count(i, k), j;
    for (j = 0; j < n; j++) { row += count(i, j); column += count(j, k); }
    status.textContent = name(i) + " predicted as " + name(k) + ": " + c + (c === 1 ? " image, " : " images, ") +
      percent(c, row) + " of " + name(i) + ", " + percent(c, column) + " of what is predicted as " + name(k) + ".";
    if (marked) marked.classList.remove("at");
    marked = rows[i].cells[k + 1];
    marked.classList.add("at");
  }
  function focus(i, k) {
    if (i < 0 || k < 0 || i >= n || k >= n) return;
    Array.prototype.forEach.call(table.querySelectorAll("td[tabindex='0']"), function (cell) { cell.tabIndex = -1; });
    rows[i].cells[k + 1].tabIndex = 0;
    rows[i].cells[k + 1].focus();
  }
  function place(cell) {
    return [cell.parentNode.sectionRowIndex, cell.cellIndex - 1];
  }
  function cellOf(event) {
    var cell = event.target.closest ? event.target.closest("td[data-n]") : null;
    return cell && table.contains(cell) ? cell : null;
  }
  Array.prototype.forEach.call(table.querySelectorAll("td[data-n]"), function (cell, i) { cell.tabIndex = i === 0 ? 0 : -1; });
  ["mouseover", "focusin"].forEach(function (kind) {
    table.addEventListener(kind, function (event) {
      var cell = cellOf(event);
      if (cell) show.apply(null, place(cell));
    });
  });
  table.addEventListener("keydown", function (event) {
    var moves = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};
    var cell = cellOf(event), move = moves[event.key], at;
    if (!cell || !move) return;
    at = place(cell);
    focus(at[0] + move[0], at[1] + move[1]);
    event.preventDefault();
  });
}

/* ---- series that can be picked out of a plot ---- */

function addButtons(figure, names, changed) {
  var list = document.createElement("ul"), chosen = {};
  list.className = "pick";
  list.setAttribute("aria-label", "Show only");
  names.forEach(function (entry) {
    var item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.textContent = entry.name;
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", function () {
      chosen[entry.number] = !chosen[entry.number];
      button.setAttribute("aria-pressed", String(chosen[entry.number]));
      changed(chosen);
    });
    item.appendChild(button);
    list.appendChild(item);
  });
  figure.insertBefore(list, figure.querySelector("figcaption"));
}

function makePlot(figure) {
  var groups = Array.prototype.slice.call(figure.querySelectorAll("g.series")), names = [], seen = {};
  groups.forEach(function (group) {
    var title = group.querySelector("title"), number = group.getAttribute("data-series");
    if (!title || seen[number]) return;
    seen[number] = true;
    names.push({number: number, name: title.textContent});
  });
  if (names.length < 2) return;
  function show(chosen) {
    var any = Object.keys(chosen).some(function (key) { return chosen[key]; });
    figure.classList.toggle("hot", any);
    groups.forEach(function (group) { group.classList.toggle("on", !!chosen[group.getAttribute("data-series")]); });
  }
  var picked = {};
  addButtons(figure, names, function (chosen) { picked = chosen; show(chosen); });
  groups.forEach(function (group) {
    group.addEventListener("mouseenter", function () {
      var one = {};
      one[group.getAttribute("data-series")] = true;
      show(one);
    });
    group.addEventListener("mouseleave", function () { show(picked); });
  });
}

/* ---- the map ---- */

function decode(text) {
  var raw = atob(text), values = new Uint16Array(raw.length >> 1), i;
  for (i = 0; i < values.length; i++) values[i] = raw.charCodeAt(2 * i) | raw.charCodeAt(2 * i + 1) << 8;
  return values;
}

function makeMap(canvas, data) {
  var figure = canvas.parentNode, status = document.getElementById("map-status");
  var screen = canvas.getContext("2d"), layer = document.createElement("canvas"), context = layer.getContext("2d");
  var x = decode(data.x), y = decode(data.y), label = decode(data.label), predicted = decode(data.predicted), fold = decode(data.fold);
  var margin = 24, chosen = {}, current = -1, tip = document.createElement("div"), scale, left, top;
  var size = data.n <= 500 ? 6 : data.n <= 2000 ? 5 : data.n <= 10000 ? 4 : 2.6;
  tip.className = "tip";
  tip.hidden = true;
  figure.appendChild(tip);

  function layout() {
    var ratio = Math.min(window.devicePixelRatio || 1, 2), width = canvas.clientWidth || 960;
    var height = Math.round(Math.min(Math.max(width * 0.66, 320), 720));
    canvas.width = layer.width = width * ratio;
    canvas.height = layer.height = height * ratio;
    canvas.style.height = height + "px";
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    scale = Math.min((width - 2 * margin) / Math.max(data.width, 1e-9), (height - 2 * margin) / Math.max(data.height, 1e-9));
    left = (width - scale * data.width) / 2;
    top = height - (height - scale * data.height) / 2;
  }
  function px(k) { return left + x[k] / 65534 * scale; }
  function py(k) { return top - y[k] / 65534 * scale; }
  function paint(k) {
    var known = k < data.classes.length, number = known ? data.paint + k % data.colors : 5;
    return getComputedStyle(document.documentElement).getPropertyValue("--p" + number).trim();
  }
  function shown(k) {
    return !Object.keys(chosen).some(function (key) { return chosen[key]; }) || chosen[label[k]];
  }
  function mark(kind, a, b, s) {
    if (kind === 1) context.fillRect(a - .45 * s, b - .45 * s, .9 * s, .9 * s);
    else if (kind === 3) {
      context.fillRect(a - .5 * s, b - .13 * s, s, .26 * s);
      context.fillRect(a - .13 * s, b - .5 * s, .26 * s, s);
    } else {
      context.beginPath();
      if (kind === 0) context.arc(a, b, s / 2, 0, 7);
      else { context.moveTo(a, b - .58 * s); context.lineTo(a + .55 * s, b + .42 * s); context.lineTo(a - .55 * s, b + .42 * s); }
      context.fill();
    }
  }
  function median(values) {
    values.sort(function (a, b) { return a - b; });
    return values[values.length >> 1];
  }
  function names(members, style) {
    context.font = "bold 14px " + style.fontFamily;
    context.textAlign = "center";
    context.lineWidth = 4;
    context.lineJoin = "round";
    context.globalAlpha = 1;
    Object.keys(members).forEach(function (k) {
      if (k >= data.classes.length || !shown(members[k][0])) return;
      var a = median(members[k].map(px)), b = median(members[k].map(py)) + 5;
      context.strokeStyle = style.getPropertyValue("--p1").trim();
      context.strokeText(data.classes[k], a, b);
      context.fillStyle = style.getPropertyValue("--p2").trim();
      context.fillText(data.classes[k], a, b);
    });
  }
  function draw() {
    var style = getComputedStyle(canvas), members = {}, k;
    layout();
    context.fillStyle = style.getPropertyValue("--p1").trim();
    context.fillRect(0, 0, canvas.width, canvas.height);
    for (k = 0; k < data.n; k++) (members[label[k]] = members[label[k]] || []).push(k);
    Object.keys(members).forEach(function (c) {
      var on = shown(members[c][0]);
      context.fillStyle = paint(Number(c));
      context.globalAlpha = on ? .75 : .06;
      members[c].forEach(function (m) { mark(Number(c) < data.classes.length ? c % data.marks : 0, px(m), py(m), size); });
    });
    names(members, style);
    ring();
  }
  /* The points are drawn once, on a layer; what moves is the ring round one of them. */
  function ring() {
    var ratio = canvas.width / canvas.clientWidth;
    screen.setTransform(1, 0, 0, 1, 0, 0);
    screen.drawImage(layer, 0, 0);
    if (current < 0) return;
    screen.setTransform(ratio, 0, 0, ratio, 0, 0);
    screen.strokeStyle = getComputedStyle(canvas).getPropertyValue("--p2").trim();
    screen.lineWidth = 2;
    screen.beginPath();
    screen.arc(px(current), py(current), size + 4, 0, 7);
    screen.stroke();
  }
  function code(k) { return k < data.classes.length ? data.classes[k] : "none"; }
  function tell(k) {
    var text = data.ids[k] + ": label " + code(label[k]) + ", predicted " + code(predicted[k]) +
      (fold[k] === 65535 ? "" : ", fold " + fold[k]), picture = data.pictures[k];
    current = k;
    status.textContent = text;
    tip.textContent = "";
    if (picture) {
      var image = new Image(72, 72);
      image.alt = "";
      image.src = "data:image/jpeg;base64," + picture;
      tip.appendChild(image);
    }
    tip.appendChild(document.createTextNode(text));
    tip.hidden = false;
    var a = px(k), b = py(k), wide = canvas.clientWidth;
    tip.style.left = "0px"; /* its width must not depend on where it was */
    tip.style.left = (a > wide / 2 ? Math.max(a - 14 - tip.offsetWidth, 0) : Math.min(a + 14, wide - tip.offsetWidth)) + "px";
    tip.style.top = canvas.offsetTop + Math.max(Math.min(b - 20, canvas.clientHeight - tip.offsetHeight - 4), 0) + "px";
  }
  /* The nearest point within reach; one with a picture goes before a nearer one without. */
  function nearest(a, b) {
    var best = -1, least = 200, k, d;
    for (k = 0; k < data.n; k++) {
      d = (px(k) - a) * (px(k) - a) + (py(k) - b) * (py(k) - b);
      if (!data.pictures[k]) d = d * 4 + 6;
      if (d < least && shown(k)) { least = d; best = k; }
    }
    return best;
  }
  canvas.addEventListener("mousemove", function (event) {
    var box = canvas.getBoundingClientRect(), k = nearest(event.clientX - box.left, event.clientY - box.top);
    if (k >= 0 && k !== current) { tell(k); ring(); }
  });
  canvas.addEventListener("mouseleave", function () { tip.hidden = true; });
  canvas.addEventListener("blur", function () { tip.hidden = true; });
  canvas.addEventListener("keydown", function (event) {
    var step = event.key === "ArrowRight" || event.key === "ArrowDown" ? 1 : event.key === "ArrowLeft" || event.key === "ArrowUp" ? -1 : 0, k;
    if (!step) return;
    for (k = current + step; k >= 0 && k < data.n && !shown(k);) k += step;
    if (k >= 0 && k < data.n) { tell(k); ring(); }
    event.preventDefault();
  });
  addButtons(figure, data.classes.map(function (name, k) { return {number: k, name: name}; }), function (set) { chosen = set; draw(); });
  window.addEventListener("resize", function () { tip.hidden = true; draw(); });
  window.addEventListener("beforeprint", draw);
  window.addEventListener("afterprint", draw);
  if (window.matchMedia) window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}

Array.prototype.forEach.call(document.querySelectorAll("table.sortable"), makeSortable);
Array.prototype.forEach.call(document.querySelectorAll("table.confusion"), makeMatrix);
Array.prototype.forEach.call(document.querySelectorAll("figure.plot"), makePlot);
window.addEventListener("beforeprint", function () {
  Array.prototype.forEach.call(document.querySelectorAll("details"), function (details) { details.open = true; });
});
var mapData = document.getElementById("map-data"), mapCanvas = document.getElementById("map-canvas");
if (mapData && mapCanvas) makeMap(mapCanvas, JSON.parse(mapData.textContent));
})();
