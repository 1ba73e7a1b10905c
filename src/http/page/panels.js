// The panels: each takes a snapshot and shows its part.
const peak = (of) => format.rate(Math.max(0, ...points.map(of)));

const TILES = [
  { title: "Reads", name: "reads", of: (point) => point.reads, show: format.rate, least: 10, note: () => `peak ${peak((point) => point.reads)}` },
  { title: "Writes", name: "writes", of: (point) => point.writes, show: format.rate, least: 10, note: () => `peak ${peak((point) => point.writes)}` },
  { title: "Hit rate", name: "hits", of: (point) => point.hit_rate, show: format.percent, least: 1, top: 1, note: ({ cache }) => `${format.rate(cache.misses)} misses` },
  { title: "Read p99", name: "reads", of: (point) => point.read?.p99 ?? null, show: format.time, least: 10, note: ({ now }) => `p50 ${format.time(now.read?.p50)}` },
  { title: "Write p99", name: "writes", of: (point) => point.write?.p99 ?? null, show: format.time, least: 10, note: ({ now }) => `p50 ${format.time(now.write?.p50)}` },
  { title: "Errors", name: "errors", of: (point) => point.errors, show: format.rate, least: 1, note: ({ now }) => `queue p99 ${format.time(now.queue)}` },
];

const percentiles = (of) => [
  { name: "p50", label: "p50", area: true, of: (point) => of(point)?.p50 ?? null },
  { name: "p95", label: "p95", of: (point) => of(point)?.p95 ?? null },
  { name: "p99", label: "p99", of: (point) => of(point)?.p99 ?? null },
];

const CHARTS = [
  { title: "Throughput", show: format.rate, least: 10, series: [
    { name: "reads", label: "Reads", area: true, of: (point) => point.reads },
    { name: "writes", label: "Writes", area: true, of: (point) => point.writes },
  ] },
  { title: "Read latency", tone: "reads", show: format.time, least: 10, series: percentiles((point) => point.read) },
  { title: "Write latency", tone: "writes", show: format.time, least: 10, series: percentiles((point) => point.write) },
];

function buildTiles() {
  for (const tile of TILES) {
    tile.value = el("strong", "", NONE);
    tile.small = el("span", "quiet");
    const root = el("div", "tile", el("h2", "", tile.title), tile.value, tile.small);
    $("tiles").append(root);
    new Chart(root, { ...tile, series: [{ name: tile.name, area: true, of: tile.of }], height: 34 });
  }
}

function buildCharts() {
  for (const { title, tone, series, ...options } of CHARTS) {
    const when = el("span", "quiet");
    const legend = el("ul", "legend");
    const root = el("figure", `panel chart ${tone ?? ""}`, el("figcaption", "title", el("h2", "", title), when), legend);
    const values = series.map(({ name, label }) => {
      const value = el("b", "", NONE);
      const sample = shape("svg", { class: "sample", viewBox: "0 0 18 4", "aria-hidden": "true" });
      sample.append(shape("path", { class: `line ${name}`, d: "M0 2H18" }));
      legend.append(el("li", "", sample, label, " ", value));
      return value;
    });
    $("charts").append(root);
    const chart = new Chart(root, { ...options, series, height: 168, axes: true });
    chart.onDraw = (point) => {
      say(when, cursor ? format.clock(cursor.at) : "");
      series.forEach(({ of }, at) => {
        const value = point ? of(point) : null;
        say(values[at], value === null ? NONE : options.show(value));
      });
    };
  }
}

function showTiles(snapshot) {
  for (const tile of TILES) {
    const value = tile.of(snapshot.now);
    say(tile.value, value === null ? NONE : tile.show(value));
    say(tile.small, tile.note(snapshot));
  }
}

// Where a shard is, without what is the same everywhere.
const place = (what) => what.replace(/^postgres(ql)?:\/\/([^@/]*@)?/, "").replace(/\?.*$/, "");

// More than half as much again as its fair part among those that are up, of more than a trickle.
function isHot(shard, up) {
  return up > 1 && shard.share !== null && shard.share * up > 1.5 && shard.reads.rate + shard.writes.rate > 5;
}

function stateOf(shard, hot) {
  if (!shard.up) return ["bad", "Down"];
  if (!shard.cached) return ["warn", "Up, not cached"];
  return hot ? ["hot", "Up, hot"] : ["good", "Up"];
}

const SHARD_TERMS = ["Reads", "Writes", "Rows", "Failed", "Read p99", "Commit p99", "Queue p99", "Batch"];

function makeShard({ name }) {
  const parts = {
    state: el("span", "tag"), what: el("p", "what"), reason: el("p", "reason"),
    load: bar(["load"]), share: el("b"), pool: bar(["used", "idle"]), connections: el("span"), waits: el("span", "quiet"),
    terms: SHARD_TERMS.map((term) => ({ term, value: el("dd") })),
  };
  const card = el("article", "panel card",
    el("div", "title", el("h3", "", name), parts.state), parts.what, parts.reason,
    el("div", "meter", el("span", "", "Load"), parts.load, parts.share),
    el("dl", "grid", ...parts.terms.map(({ term, value }) => el("div", "", el("dt", "", term), value))),
    el("div", "meter", el("span", "", "Pool"), parts.pool, parts.connections),
    parts.waits);
  card.setAttribute("aria-label", name);
  parts.load.append(el("u", "fair"));
  card.parts = parts;
  return card;
}

function updateShard(card, { shard, count, up }) {
  const { parts } = card;
  const { reads, writes, pool } = shard;
  const hot = isHot(shard, up);
  const [level, word] = stateOf(shard, hot);
  mark(card, "level", level);
  mark(parts.state, "level", level);
  say(parts.state, word);
  say(parts.what, place(shard.what));
  parts.what.title = shard.what;
  parts.state.title = shard.what;
  parts.reason.hidden = shard.up;
  say(parts.reason, shard.up ? "" : `${shard.reason}${shard.breaker_open ? ". Its keys are refused at once until it answers again." : ""}`);
  fill(parts.load, [shard.share ?? 0]);
  parts.load.lastChild.style.left = `${100 / count}%`;
  say(parts.share, format.percent(shard.share));
  const worst = [reads.queue?.p99, writes.queue?.p99].filter((time) => time !== undefined);
  const batches = [reads.batch, writes.batch].map((batch) => (batch === null ? NONE : batch.toFixed(1)));
  [
    format.rate(reads.rate), format.rate(writes.rate), format.count(shard.rows), format.rate(reads.failed + writes.failed),
    format.time(reads.statement?.p99), format.time(writes.statement?.p99),
    worst.length ? format.time(Math.max(...worst)) : NONE, batches.join(" / "),
  ].forEach((text, at) => {
    say(parts.terms[at].value, text);
    mark(parts.terms[at].value, "zero", String(isNothing(text)));
  });
  mark(parts.terms[3].value, "level", reads.failed + writes.failed > 0 ? "bad" : "none");
  fill(parts.pool, [pool.used / pool.max, pool.idle / pool.max]);
  say(parts.connections, `${pool.used} of ${pool.max}`);
  say(parts.waits, `${pool.used} in use, ${pool.idle} idle, ${pool.waiting} waiting · waits ${format.rate(pool.waits)}${pool.wait ? `, p99 ${format.time(pool.wait.p99)}` : ""}`);
}

// So many cards; of more shards those that matter most.
const CARDS_MAX = 48;
// Of more than so many, each shows what tells them apart: the rest is in /metrics.
const WHOLE_CARDS_MAX = 12;

function showShards({ shards }) {
  const count = shards.length;
  const up = shards.filter((shard) => shard.up).length;
  const all = shards.map((shard, number) => ({ shard, name: `shard_${number}`, number, count, up }));
  const known = shards.filter(({ rows }) => rows !== null);
  const rows = known.length ? known.reduce((sum, shard) => sum + shard.rows, 0) : null;
  const weight = ({ shard }) => (shard.up ? 0 : 2) + (shard.share ?? 0);
  const shown = count <= CARDS_MAX ? all : [...all].sort((one, other) => weight(other) - weight(one)).slice(0, CARDS_MAX).sort((one, other) => one.number - other.number);
  const rest = count > shown.length ? ` · the ${shown.length} that are down or busiest are shown` : "";
  say($("shards-sum"), `${up} of ${count} up · ${format.count(rows)} rows${rest}`);
  mark($("shards"), "compact", String(count > WHOLE_CARDS_MAX));
  keyed($("shards"), shown, ({ name }) => name, makeShard, updateShard);
}

// Text that a client sent; what is not UTF-8 comes as base64.
const sent = ({ text, encoding }) => (encoding ? `base64:${text}` : text === "" ? "(empty)" : text);

function showHotKeys({ hot_keys: keys }) {
  const most = Math.max(0.0001, ...keys.map(({ share }) => share));
  table("hot", keys, ({ key, shard }) => `${shard} ${key.encoding} ${key.text}`, (hot) => [
    (cell) => {
      const text = sent(hot.key) + (hot.key.more ? ` … (${format.bytes(hot.key.more)} more)` : "");
      if (!cell.firstChild) cell.append(el("code"));
      say(cell.firstChild, text);
      cell.title = text;
    },
    `shard_${hot.shard}`, format.rate(hot.reads), format.rate(hot.writes),
    (cell) => {
      if (!cell.firstChild) cell.append(bar(["load"]), el("b"));
      fill(cell.firstChild, [hot.share / most]);
      say(cell.lastChild, format.percent(hot.share));
    },
  ]);
  $("hot-empty").hidden = keys.length > 0;
}

function makeSlow() {
  const parts = { took: el("b"), words: el("code"), split: bar(["queue", "cache", "shard", "rest"]), about: el("span", "quiet") };
  const entry = el("li", "", el("div", "line", parts.took, parts.words), parts.split, parts.about);
  entry.parts = parts;
  return entry;
}

function updateSlow({ parts }, slow) {
  const { took, queue, cache, shard } = slow;
  say(parts.took, format.time(took));
  say(parts.words, slow.words.map(sent).join(" "));
  parts.words.title = parts.words.textContent;
  const rest = Math.max(0, took - queue - cache - shard);
  fill(parts.split, [queue, cache, shard, rest].map((part) => part / Math.max(1, took)));
  const name = slow.name.text === "" ? "" : `${sent(slow.name)} `;
  const together = slow.commands > 1 ? ` · ${slow.commands} commands together` : "";
  say(parts.about, `${format.clock(slow.at)} · ${name}${slow.address}${together} · queue ${format.time(queue)}, cache ${format.time(cache)}, shard ${format.time(shard)}`);
}

function showSlowLog({ slow_log: entries }) {
  keyed($("slow"), entries, ({ id, at }) => `${id} ${at}`, makeSlow, updateSlow);
  $("slow-empty").hidden = entries.length > 0;
  $("slow").parentElement.hidden = entries.length === 0;
}

const flagged = (count, text) => (cell) => {
  say(cell, text);
  mark(cell, "level", count > 0 ? "bad" : "none");
  mark(cell, "zero", String(count === 0));
};

function showCommands({ commands, stages, errors }) {
  table("commands", commands, ({ name }) => name, ({ name, rate, times, errors: failed }) => [
    name.toUpperCase(), format.rate(rate), format.time(times?.p50), format.time(times?.p99), flagged(failed, format.count(failed)),
  ]);
  $("commands-empty").hidden = commands.length > 0;
  table("stages", stages, ({ name }) => name, ({ name, rate, times }) => [
    name[0].toUpperCase() + name.slice(1), format.rate(rate), format.time(times?.p50), format.time(times?.p95), format.time(times?.p99),
  ]);
  table("errors", errors, ({ command, kind }) => `${command} ${kind}`, ({ command, kind, rate, count }) => [
    command.toUpperCase(), kind, flagged(rate, format.rate(rate)), format.count(count),
  ]);
  $("errors-part").hidden = errors.length === 0;
}

function showFacts({ cache, clients, process, now }) {
  say($("cache-state"), cache.up ? "In use" : "Not in use");
  mark($("cache-state"), "level", cache.up ? "good" : "bad");
  const entries = cache.entries === null ? [] : [["Entries", format.count(cache.entries)], ["Size", format.bytes(cache.bytes)]];
  terms("cache", [
    ["Where", cache.what], ["Hits", format.rate(cache.hits)], ["Misses", format.rate(cache.misses)], ...entries,
    ["View changes", format.count(cache.view_changes)],
  ]);
  terms("clients", [
    ["Connected", `${format.count(clients.connected)} of ${format.count(clients.max)}`], ["New", format.rate(clients.opened)],
    ["Turned away", format.count(clients.rejected)], ["In", `${format.bytes(clients.input)}/s`], ["Out", `${format.bytes(clients.output)}/s`],
  ]);
  terms("process", [
    ["Memory", format.bytes(process.memory)], ["At most", format.bytes(process.memory_peak)],
    ["Processor", `${process.cpu.toFixed(2)} cores`], ["HTTP", format.rate(process.http_requests)],
    ["Started", new Date(1000 * process.started).toLocaleString("en-GB")],
  ]);
  say($("uptime"), `${process.version} · up ${format.span(now.at / 1000 - process.started)}`);
}

function showConfiguration(configuration) {
  table("configuration", configuration, ({ name }) => name, ({ name, value, source }) => [
    name, value, (cell) => { say(cell, source); mark(cell.parentElement, "set", String(source !== "default")); },
  ]);
  const set = configuration.filter(({ source }) => source !== "default").length;
  say($("configuration-sum"), `${set} set, ${configuration.length - set} by default`);
}
