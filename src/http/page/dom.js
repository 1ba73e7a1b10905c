// Elements. What comes with the data is only ever set as text.
const $ = (id) => document.getElementById(id);

function el(tag, name, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...children);
  return element;
}

function shape(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// Leaves what is the same alone, so that it can be selected and copied.
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function mark(element, name, value) {
  if (element.dataset[name] !== value) element.dataset[name] = value;
}

// One child for each item, which is kept as long as its key is there.
function keyed(parent, items, keyOf, make, update) {
  const known = parent.known ?? (parent.known = new Map());
  const seen = new Set();
  let at = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    if (seen.has(key)) continue;
    seen.add(key);
    let child = known.get(key);
    if (!child) {
      child = make(item);
      known.set(key, child);
    }
    if (child === at) at = at.nextSibling;
    else parent.insertBefore(child, at);
    update(child, item);
  }
  for (const [key, child] of known) {
    if (seen.has(key)) continue;
    child.remove();
    known.delete(key);
  }
}

// What need not be looked at.
const isNothing = (text) => text === "0" || text === "0/s" || text === NONE || text === `${NONE} / ${NONE}`;

// Rows of cells; the first cell is the row's header.
function table(id, items, keyOf, cells) {
  const body = $(id).tBodies[0];
  const columns = [...$(id).tHead.rows[0].cells];
  const make = () => el("tr", "", ...columns.map((column, at) => {
    const cell = el(at === 0 ? "th" : "td", column.className);
    if (at === 0) cell.scope = "row";
    return cell;
  }));
  keyed(body, items, keyOf, make, (row, item) => cells(item).forEach((value, at) => {
    const cell = row.cells[at];
    if (typeof value === "function") value(cell);
    else {
      say(cell, value);
      mark(cell, "zero", String(isNothing(value)));
    }
  }));
  $(id).hidden = items.length === 0;
}

function terms(id, pairs) {
  const make = () => el("div", "", el("dt"), el("dd"));
  keyed($(id), pairs, ([term]) => term, make, (pair, [term, value]) => {
    say(pair.firstChild, term);
    say(pair.lastChild, value);
  });
}

// A bar whose parts are shares of the whole, from 0 to 1.
function bar(parts) {
  const whole = el("span", "bar");
  whole.setAttribute("aria-hidden", "true");
  for (const name of parts) whole.append(el("i", name));
  return whole;
}

function fill(whole, shares) {
  shares.forEach((share, at) => {
    whole.children[at].style.width = `${(100 * Math.min(1, Math.max(0, share))).toFixed(1)}%`;
  });
}
