"use strict";
// Fetches status.json every few seconds and shows it. Text is set as text, never as HTML. fetch is used rather than
// server-sent events because an EventSource can't carry a token.

const at = (id) => document.getElementById(id);
const KEY = "kvblade-token";
let token = sessionStorage.getItem(KEY);
let paused = false;
let newest = null;
let timer = 0;

// --- words and numbers -----------------------------------------------------------

const UNITS = ["", "k", "M", "G", "T", "P"];
function short(number, unit, base = 1000) {
  if (number === null || number === undefined) return "–";
  let step = 0;
  while (number >= base && step < UNITS.length - 1) { number /= base; step += 1; }
  const digits = number >= 100 || step === 0 && Number.isInteger(number) ? 0 : 1;
  const prefix = base === 1024 && step > 0 ? UNITS[step].toUpperCase() + "i" : UNITS[step];
  return `${number.toFixed(digits)} ${prefix}${unit}`.trimEnd();
}
const bytesPerSecond = (number) => short(number, "B/s");
const perSecond = (number) => short(number, "/s");
const percent = (number) => number === null || number === undefined ? "–" : `${number.toFixed(1)} %`;
const count = (number) => number === null || number === undefined ? "–" : String(number);
const size = (number) => short(number, "B", 1024);
function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const [number, unit] = seconds < 1e-3 ? [seconds * 1e6, "µs"] : seconds < 1 ? [seconds * 1e3, "ms"] : [seconds, "s"];
  return `${number.toFixed(number < 10 ? 1 : 0)} ${unit}`;
}
const clock = (milliseconds) => new Date(milliseconds).toLocaleTimeString();
function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// --- tables ------------------------------------------------------------------------

// Columns: title, value of a row, its text, and whether it is a number. The first one heads the row.
const TABLES = {
  exports: [
    ["Export", (e) => e.address, null, false],
    ["VLAN", (e) => e.vlan ?? -1, (e) => e.vlan === null ? "" : String(e.vlan), true],
    ["State", (e) => e.state, (e) => e.reason ? `${e.state}: ${e.reason}` : e.state + (e.read_only ? ", read-only" : ""), false],
    ["Bdev", (e) => e.bdev, null, false],
    ["Ports", (e) => e.ports.join(", "), null, false],
    ["Size", (e) => e.size, (e) => size(e.size), true],
    ["Read", (e) => e.rates?.read_bytes, (e) => bytesPerSecond(e.rates?.read_bytes), true],
    ["Written", (e) => e.rates?.written_bytes, (e) => bytesPerSecond(e.rates?.written_bytes), true],
    ["Reads", (e) => e.rates?.reads, (e) => perSecond(e.rates?.reads), true],
    ["Writes", (e) => e.rates?.writes, (e) => perSecond(e.rates?.writes), true],
    ["Read p99", (e) => e.rates?.read_p99, (e) => duration(e.rates?.read_p99), true],
    ["Write p99", (e) => e.rates?.write_p99, (e) => duration(e.rates?.write_p99), true],
    ["Errors", (e) => e.errors, null, true],
    ["Timeouts", (e) => e.timeouts, null, true],
    ["Drops", (e) => e.drops, null, true],
  ],
  ports: [
    ["Port", (p) => p.name, null, false],
    ["Interface", (p) => p.interface ?? "", null, false],
    ["MAC", (p) => p.mac, null, false],
    ["MTU", (p) => p.mtu, null, true],
    ["Received", (p) => p.rates?.received_bytes, (p) => `${bytesPerSecond(p.rates?.received_bytes)}, ${perSecond(p.rates?.received)}`, true],
    ["Sent", (p) => p.rates?.sent_bytes, (p) => `${bytesPerSecond(p.rates?.sent_bytes)}, ${perSecond(p.rates?.sent)}`, true],
    ["Link lost", (p) => p.link_downs, (p) => count(p.link_downs), true],
    ["Drops", (p) => 0, (p) => Object.entries(p.drops).map(([reason, drops]) => `${reason} ${drops}`).join(", ") || "none", false],
  ],
  lcores: [
    ["Lcore", (l) => l.lcore, null, false],
    ["Busy", (l) => l.busy, (l) => percent(l.busy), true],
    ["Requests in flight", (l) => l.in_flight, (l) => count(l.in_flight), true],
  ],
  initiators: [
    ["Initiator", (i) => i.mac, null, false],
    ["Export", (i) => i.export, null, false],
    ["VLAN", (i) => i.vlan ?? -1, (i) => i.vlan === null ? "" : String(i.vlan), true],
    ["Requests", (i) => i.requests, null, true],
    ["Retransmissions", (i) => i.retransmissions, null, true],
    ["In flight", (i) => i.outstanding, null, true],
    ["Too many in flight", (i) => i.export_full, null, true],
    ["Beyond a limit", (i) => i.rate_limited, null, true],
  ],
};
// More rows than a person reads would only make the browser slow.
const ROWS = 500;
const order = { column: 0, descending: false };

function heads() {
  for (const [name, columns] of Object.entries(TABLES)) {
    const row = at(name).tHead.rows[0];
    columns.forEach(([title, , , number], index) => {
      const head = document.createElement("th");
      head.scope = "col";
      if (number) head.className = "number";
      if (name === "exports") {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = title;
        button.addEventListener("click", () => {
          order.descending = order.column === index ? !order.descending : number;
          order.column = index;
          show();
        });
        head.append(button);
      } else {
        head.textContent = title;
      }
      row.append(head);
    });
  }
}

// Rows and cells stay where they are and only their text changes, so that a screen reader does not lose its place.
function fill(table, columns, rows) {
  const body = table.tBodies[0];
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((row, number) => {
    let line = body.rows[number];
    if (!line) {
      line = body.insertRow();
      columns.forEach(([title, , , isNumber], column) => {
        const cell = document.createElement(column === 0 ? "th" : "td");
        if (column === 0) cell.scope = "row";
        cell.className = isNumber ? "number" : title === "State" || title === "Drops" ? "text" : "";
        line.append(cell);
      });
    }
    columns.forEach(([, value, text], column) => set(line.cells[column], text ? text(row) : count(value(row))));
    line.toggleAttribute("data-away", "state" in row && row.state !== "online");
  });
}

function byAddress(left, right) {
  const [a, b] = [left, right].map((one) => one.split(".").map(Number));
  return a[0] - b[0] || a[1] - b[1];
}

function sorted(exports) {
  const value = TABLES.exports[order.column][1];
  const compare = (left, right) => {
    if (order.column === 0) return byAddress(left.address, right.address);
    const [a, b] = [value(left) ?? -1, value(right) ?? -1];
    return a < b ? -1 : a > b ? 1 : byAddress(left.address, right.address);
  };
  const list = [...exports].sort(compare);
  return order.descending ? list.reverse() : list;
}

function showExports(exports) {
  const wanted = at("filter").value.trim().toLowerCase();
  const has = (one) => [one.address, one.bdev, one.state, ...one.ports].some((text) => text.toLowerCase().includes(wanted));
  const found = wanted ? exports.filter(has) : exports;
  [...at("exports").tHead.rows[0].cells].forEach((head, column) => {
    if (column === order.column) head.setAttribute("aria-sort", order.descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
  fill(at("exports"), TABLES.exports, sorted(found).slice(0, ROWS));
  const cut = found.length > ROWS ? `, the first ${ROWS} of them shown` : "";
  set(at("shown"), wanted || cut ? `${found.length} of ${exports.length} exports${cut}` : `${exports.length} ${exports.length === 1 ? "export" : "exports"}`);
}

// --- curves ------------------------------------------------------------------------

// Title, text of a number, least top of the scale, and the lines: name and place in a point.
const CHARTS = [
  ["Throughput", bytesPerSecond, 1000, [["read", 1], ["written", 2]]],
  ["Requests", perSecond, 10, [["reads", 3], ["writes", 4]]],
  ["Busiest lcore", percent, 100, [["busy turns", 5]]],
  ["Latency of reads", duration, 1e-5, [["p50", 6], ["p99", 7]]],
  ["Latency of writes", duration, 1e-5, [["p50", 8], ["p99", 9]]],
];
const [WIDTH, HEIGHT, HOUR] = [360, 120, 3600000];
const svg = (name) => document.createElementNS("http://www.w3.org/2000/svg", name);

function makeCharts() {
  for (const [title, , , lines] of CHARTS) {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.append(title);
    const picture = svg("svg");
    picture.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT + 16}`);
    picture.setAttribute("role", "img");
    for (const y of [0.5, HEIGHT / 2, HEIGHT - 0.5]) {
      const axis = svg("path");
      axis.setAttribute("class", "axis");
      axis.setAttribute("d", `M0 ${y}H${WIDTH}`);
      picture.append(axis);
    }
    lines.forEach(([name], number) => {
      const kind = number === 0 ? "" : " second";
      const key = document.createElement("span");
      key.className = `key${kind}`;
      key.textContent = name;
      caption.append(key);
      const path = svg("path");
      path.setAttribute("class", `line${kind}`);
      picture.append(path);
    });
    const label = (x, y, anchor, text) => {
      const element = svg("text");
      element.setAttribute("x", x);
      element.setAttribute("y", y);
      element.setAttribute("text-anchor", anchor);
      element.textContent = text;
      picture.append(element);
    };
    label(2, 12, "start", "");
    label(0, HEIGHT + 13, "start", "");
    label(WIDTH, HEIGHT + 13, "end", "now");
    figure.append(caption, picture);
    at("charts").append(figure);
  }
}

function drawCharts(points, now) {
  // From the first point on, in whole minutes and never less than five: a young exporter has little to show.
  const minutes = Math.min(60, Math.max(5, Math.ceil((now - (points[0]?.[0] ?? now)) / 60000)));
  CHARTS.forEach(([title, words, least, lines], number) => {
    const picture = at("charts").children[number].querySelector("svg");
    const known = points.filter((point) => point.length > 1);
    const top = Math.max(least, ...known.flatMap((point) => lines.map(([, place]) => point[place] ?? 0)));
    const summary = lines.map(([name, place], index) => {
      let path = "";
      let pen = "M";
      for (const point of points) {
        if ((point[place] ?? null) === null) { pen = "M"; continue; }
        const x = WIDTH * (1 - (now - point[0]) / (minutes * 60000));
        const y = HEIGHT - point[place] / top * (HEIGHT - 2) - 1;
        path += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
        pen = "L";
      }
      picture.querySelectorAll(".line")[index].setAttribute("d", path);
      const values = known.map((point) => point[place]).filter((value) => value !== null);
      if (values.length === 0) return `${name} unknown`;
      return `${name} now ${words(values[values.length - 1])}, at most ${words(Math.max(...values))}`;
    });
    const [scale, from] = picture.querySelectorAll("text");
    scale.textContent = words(top);
    from.textContent = minutes === 60 ? "1 hour ago" : `${minutes} minutes ago`;
    picture.setAttribute("aria-label", `${title} in the last ${minutes === 60 ? "hour" : `${minutes} minutes`}: ${summary.join("; ")}`);
  });
  const means = [];
  for (let end = now; end > now - HOUR; end -= HOUR / 12) {
    const part = points.filter((point) => point.length > 1 && point[0] <= end && point[0] > end - HOUR / 12);
    const mean = (place) => {
      const values = part.map((point) => point[place]).filter((value) => value !== null);
      return values.length > 0 ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
    };
    if (part.length > 0) means.push([end, ...[1, 2, 3, 4, 5, 6, 7, 8, 9].map(mean)]);
  }
  const columns = [clock, bytesPerSecond, bytesPerSecond, perSecond, perSecond, percent, duration, duration, duration, duration];
  fill(at("hour"), columns.map((words, place) => ["", null, (row) => words(row[place]), place > 0]), means);
}

// --- the page ------------------------------------------------------------------------

const VERDICTS = { ok: "All is well", warning: "Something needs attention", failure: "Something is not served" };

function showHealth(status) {
  const { verdict, reasons } = status.health;
  at("health").dataset.verdict = verdict;
  const since = status.down_since ? ` since ${clock(status.down_since)}` : "";
  set(at("verdict"), VERDICTS[verdict] + since);
  const list = at("reasons");
  if ([...list.children].map((item) => item.textContent).join("\n") !== reasons.join("\n")) {
    list.replaceChildren(...reasons.map((reason) => {
      const item = document.createElement("li");
      item.textContent = reason;
      return item;
    }));
  }
  document.title = verdict === "ok" ? "kvblade-dpdk" : `${VERDICTS[verdict]}: kvblade-dpdk`;
}

function show() {
  if (!newest) return;
  showHealth(newest);
  const started = newest.started ? `, running since ${new Date(newest.started * 1000).toLocaleString()}` : "";
  set(at("where"), `at ${newest.socket}${started}`);
  set(at("version"), `kvblade-exporter ${newest.version}.`);
  set(at("age"), newest.taken ? `As of ${clock(newest.taken)}${paused ? ", paused" : ""}` : "No answer yet.");
  drawCharts(newest.points, newest.now);
  at("not-timed").hidden = newest.exports.length === 0 || newest.exports.some((one) => one.timed);
  showExports(newest.exports);
  // changes.js is loaded after this file.
  if (typeof showChanges === "function") showChanges(newest);
  fill(at("ports"), TABLES.ports, newest.ports ?? []);
  fill(at("lcores"), TABLES.lcores, newest.lcores);
  at("no-initiators").hidden = newest.initiators !== null || newest.taken === null;
  at("initiators-part").hidden = newest.initiators === null;
  if (newest.initiators) fill(at("initiators"), TABLES.initiators, newest.initiators.shown);
}

function lost(sentence) {
  at("health").dataset.verdict = "failure";
  set(at("verdict"), sentence);
  at("reasons").replaceChildren();
}

function askForToken(refused) {
  at("login").hidden = false;
  at("main").hidden = true;
  set(at("refused"), refused ? "That token is refused." : "");
  at("token").focus();
}

async function poll() {
  clearTimeout(timer);
  let interval = 5;
  try {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const answer = await fetch("status.json", { headers, cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (answer.status === 401) {
      const refused = token !== null;
      token = null;
      sessionStorage.removeItem(KEY);
      askForToken(refused);
      return;
    }
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    newest = await answer.json();
    interval = newest.interval;
    at("login").hidden = true;
    at("main").hidden = false;
    show();
  } catch (error) {
    lost(`kvblade-exporter does not answer (${error.message})`);
  }
  if (!paused) timer = setTimeout(poll, interval * 1000);
}

heads();
makeCharts();
at("filter").addEventListener("input", show);
at("pause").addEventListener("click", () => {
  paused = !paused;
  at("pause").setAttribute("aria-pressed", String(paused));
  if (paused) { clearTimeout(timer); show(); } else { poll(); }
});
at("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  sessionStorage.setItem(KEY, token);
  at("token").value = "";
  poll();
});
poll();
