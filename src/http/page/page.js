// The connection to the proxy, and what is said of it.
const WORDS = { ready: ["good", "Ready"], degraded: ["warn", "Degraded"], starting: ["warn", "Starting"], draining: ["warn", "Draining"], unreachable: ["bad", "No shard"] };
// There is a snapshot every second: after so much silence the connection is taken for lost.
const SILENCE = 6000;
// A page that nobody looks at lets the proxy alone after a minute.
const HIDDEN = 60000;
const LOST = "The connection to the proxy is lost.";
const DELAYS = [500, 1000, 2000, 4000, 5000];

// Beside the page, so that it works below any path. What the browser knows of the user goes along by itself, and
// must not be in the address, as it may be in that of the page.
const EVENTS = new URL("events", `${location.origin}${location.pathname}`);

let lost = null;
let problems = [];
let failures = 0;
let latestAt = null;
let connection = null;
let retry = null;

function showNotices() {
  const notices = lost ? [{ level: "bad", text: lost }, ...problems] : problems;
  keyed($("notices"), notices, ({ text }) => text, ({ level, text }) => {
    const notice = el("p", "notice", text);
    notice.dataset.level = level;
    return notice;
  }, () => {});
  mark($("main"), "stale", String(lost !== null));
}

function showLink(level, text) {
  mark($("link"), "level", level);
  say($("link").lastElementChild, text);
}

function showState({ state, shards, cache, now }) {
  const [level, word] = WORDS[state.state] ?? ["warn", state.state];
  mark($("state"), "level", level);
  say($("state"), word);
  $("state").title = state.reason;
  problems = [];
  if (state.state === "draining") problems.push({ level: "warn", text: "Draining: it is stopping, takes no new clients, and answers what was read." });
  if (state.state === "starting") problems.push({ level: "warn", text: "Starting: no shard was reached yet." });
  const down = shards.flatMap((shard, number) => (shard.up ? [] : [`shard_${number}`]));
  if (down.length) {
    const named = down.length > 5 ? `${down.slice(0, 5).join(", ")} and ${down.length - 5} more` : down.join(", ");
    problems.push({ level: "bad", text: `${named} ${down.length > 1 ? "are" : "is"} down: ${down.length > 1 ? "their" : "its"} keys are refused, the others are served.` });
  }
  if (!cache.up) problems.push({ level: "warn", text: "The cache is not in use: everything is read from the shards." });
  const busy = now.reads + now.writes;
  document.title = `${level === "good" ? format.rate(busy) : word} · respgres`;
}

function show(snapshot) {
  latestAt = snapshot.now.at;
  append(snapshot.now);
  for (const panel of [showState, showTiles, showShards, showHotKeys, showSlowLog, showCommands, showFacts]) panel(snapshot);
  drawAll();
}

function receive(text) {
  let [name, data] = ["", ""];
  for (const line of text.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    if (line.startsWith("data: ")) data += line.slice(6);
  }
  if (data === "") return;
  const value = JSON.parse(data);
  if (name === "hello") {
    remember(value.history);
    showConfiguration(value.configuration);
  } else if (name === "configuration") showConfiguration(value);
  else {
    show(value);
    failures = 0;
    lost = null;
    showLink("good", "Live");
    showNotices();
  }
}

async function read(stream, onSign) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    onSign();
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    events.forEach(receive);
  }
}

async function refusal(response) {
  // That is a reverse proxy's.
  if (response.status === 502 || response.status === 504) return LOST;
  if (response.status === 401 || response.status === 403) return "The proxy wants a token: load the page again and sign in.";
  const detail = await response.json().then(({ detail }) => detail, () => response.statusText);
  return `The proxy refuses to show its figures: ${detail}.`;
}

// One connection, from its beginning to its end.
async function connect() {
  const abort = new AbortController();
  connection = abort;
  let silence = null;
  const sign = () => {
    clearTimeout(silence);
    silence = setTimeout(() => abort.abort(), SILENCE);
  };
  sign();
  let reason = LOST;
  try {
    const response = await fetch(EVENTS, { headers: { accept: "text/event-stream" }, cache: "no-store", signal: abort.signal });
    if (response.ok) await read(response.body, sign);
    else reason = await refusal(response);
  } catch (error) {
    if (error instanceof SyntaxError) reason = "The proxy sent what this page does not understand: load it again.";
  }
  clearTimeout(silence);
  if (connection !== abort) return;
  connection = null;
  const delay = DELAYS[Math.min(failures, DELAYS.length - 1)];
  failures += 1;
  const since = latestAt ? ` The figures are those of ${format.clock(latestAt)}.` : "";
  lost = `${reason}${since} Trying again.`;
  showLink("bad", "Disconnected");
  mark($("state"), "level", "none");
  say($("state"), "Unknown");
  document.title = "Disconnected · respgres";
  showNotices();
  retry = setTimeout(connect, delay);
}

function pause() {
  clearTimeout(retry);
  const abort = connection;
  connection = null;
  abort?.abort();
  showLink("none", "Paused");
}

let hiding = null;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(pause, HIDDEN);
  else if (connection === null) { clearTimeout(retry); connect(); }
});

const THEMES = ["auto", "light", "dark"];

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  say($("theme"), `Theme: ${theme}`);
}

// A browser may keep nothing for this page.
const stored = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
let theme = THEMES.includes(stored) ? stored : "auto";
$("theme").addEventListener("click", () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  try { localStorage.setItem("theme", theme); } catch { /* it holds until the page is left */ }
  setTheme(theme);
});

setTheme(theme);
say($("address"), location.host);
buildTiles();
buildCharts();
connect();
