// The command line of the scripts beside this, and how sections are run.
'use strict';

const ANY_BYTES = Buffer.from(Array.from({ length: 256 }, (_, n) => n));

/** PACKAGE HOST PORT [SECTION ...] */
function commandLine() {
  const [name, host, port, ...sections] = process.argv.slice(2);
  if (port === undefined) {
    console.error('usage: node SCRIPT PACKAGE HOST PORT [SECTION ...]');
    process.exit(2);
  }
  return { name, host, port: Number(port), sections };
}

/** Runs a program to its end. */
async function toItsEnd(main) {
  // Node ends with 0 where nothing is left that could still happen, though something is waited for.
  process.exitCode = 3;
  try {
    await main();
  } catch (error) {
    console.error(error);
    process.exit(1);
  }
  process.exit(0);
}

/** Runs the sections named, or all; the program ends with 1 if one has failed. */
async function runSections(client, sections, wanted, run) {
  const unknown = wanted.filter((name) => !(name in sections));
  if (unknown.length > 0) throw new Error(`no such section: ${unknown}`);
  const names = Object.keys(sections).filter((name) => wanted.length === 0 || wanted.includes(name));
  const failed = [];
  for (const name of names) {
    try {
      await run(sections[name]);
    } catch (error) {
      failed.push(name);
      console.error(`--- ${client}: ${name}\n`, error);
    }
  }
  if (failed.length > 0) {
    console.error(`${client}: failed: ${failed.join(', ')}`);
    process.exit(1);
  }
  console.log(`${client}: ${names.length} sections passed`);
}

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const numbers = (count) => Array.from({ length: count }, (_, n) => n);

/** A promise, and what resolves it; it is rejected when nothing has come for 30 s. */
function awaited(what) {
  let resolve;
  const promise = new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`no ${what} came`)), 30_000);
    resolve = (value) => {
      clearTimeout(timer);
      done(value);
    };
  });
  // Who waits for it may not be there yet.
  promise.catch(() => {});
  return { promise, resolve };
}

module.exports = { ANY_BYTES, awaited, commandLine, numbers, runSections, sleep, toItsEnd };
