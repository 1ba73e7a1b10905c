// Numbers as people read them.
const NONE = "–";

function significant(number) {
  if (number === 0) return "0";
  if (number >= 99.95) return String(Math.round(number));
  return number >= 9.995 ? number.toFixed(1) : number.toFixed(number >= 0.995 ? 1 : 2);
}

function scaled(number, units, step) {
  let unit = 0;
  while (number >= step * 0.9995 && unit < units.length - 1) {
    number /= step;
    unit += 1;
  }
  return (unit === 0 && Number.isInteger(number) ? String(number) : significant(number)) + units[unit];
}

const format = {
  rate: (number) => scaled(number < 100 ? Math.round(number * 10) / 10 : Math.round(number), ["", " k", " M"], 1000) + "/s",
  count: (number) => (number === null ? NONE : number < 1e6 ? number.toLocaleString("en").replaceAll(",", "\u202f") : scaled(number, ["", " k", " M", " G"], 1000)),
  // From microseconds.
  time: (micros) => (micros === null || micros === undefined ? NONE : micros < 1000 ? `${significant(micros)} µs` : micros < 1e6 ? `${significant(micros / 1000)} ms` : `${significant(micros / 1e6)} s`),
  percent: (part) => (part === null ? NONE : part >= 0.9995 ? "100 %" : `${(100 * part).toFixed(part < 0.0995 ? 1 : part > 0.99 ? 2 : 1)} %`),
  bytes: (number) => scaled(number, [" B", " KiB", " MiB", " GiB", " TiB"], 1024),
  span: (seconds) => {
    const whole = Math.max(0, Math.floor(seconds));
    const [d, h, m, s] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60, whole % 60];
    if (d > 0) return `${d} d ${h} h`;
    if (h > 0) return `${h} h ${m} min`;
    return m > 0 ? `${m} min ${s} s` : `${s} s`;
  },
  clock: (millis) => new Date(millis).toLocaleTimeString("en-GB"),
};
