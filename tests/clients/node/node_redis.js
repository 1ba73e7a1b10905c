// What a program that uses node-redis does with its server.
//
//     node node_redis.js PACKAGE HOST PORT [SECTION ...]
//
// PACKAGE is node-redis-4, -5 or -6. Every section is run over each protocol that the release has. The server is emptied.
'use strict';

const assert = require('node:assert/strict');
const { ANY_BYTES, awaited, commandLine, numbers, runSections, sleep, toItsEnd } = require('./common');

const options = commandLine();
const library = require(options.name);
const { version } = require(`${options.name}/package.json`);
const major = Number(version.split('.')[0]);

/** Answers as buffers: version 4 wants it said for each command, later ones for a client. */
const withBuffers = (client) =>
  major === 4
    ? {
        get: (key) => client.get(library.commandOptions({ returnBuffers: true }), key),
        mGet: (keys) => client.mGet(library.commandOptions({ returnBuffers: true }), keys),
      }
    : client.withTypeMapping({ [library.RESP_TYPES.BLOB_STRING]: Buffer });

/** All keys of a scan: version 4 gives them one by one, later ones page by page. */
async function allKeys(client, scanOptions) {
  const keys = [];
  for await (const page of client.scanIterator(scanOptions)) keys.push(...[page].flat());
  return keys;
}

const sections = {
  async connect(client, open) {
    assert.equal(await client.ping(), 'PONG');
    assert.equal(await client.echo('hello'), 'hello');
    assert.ok((await client.clientId()) > 0);
    assert.match(await client.info(), /redis_version:7\./);
    await client.select(0);
    assert.ok('maxmemory' in (await client.configGet('maxmemory')));
    const named = await open({ name: 'worker', database: 0 });
    assert.equal(await named.clientGetName(), 'worker');
    assert.equal((await named.clientInfo()).name, 'worker');
    await named.quit();
  },

  async errors(client) {
    await client.set('word', 'one');
    await assert.rejects(client.sendCommand(['NOSUCH', 'a']), /unknown command 'NOSUCH'/);
    await assert.rejects(client.sendCommand(['GET']), /wrong number of arguments for 'get' command/);
    await assert.rejects(client.incr('word'), /value is not an integer or out of range/);
    assert.equal(await client.get('word'), 'one');
  },

  async strings(client) {
    assert.equal(await client.set('key', 'välue'), 'OK');
    assert.equal(await client.get('key'), 'välue');
    assert.equal(await client.get('nosuch'), null);
    assert.equal(await client.set('key', 'other', { NX: true }), null);
    assert.equal(await client.set('key', 'second', { GET: true }), 'välue');
    assert.equal(await client.append('key', ' time'), 11);
    assert.equal(await client.strLen('key'), 11);
    assert.equal(await client.getRange('key', 0, 5), 'second');
    assert.equal(Number(await client.setNX('key', 'x')), 0);
    assert.equal(await client.exists(['key', 'nosuch', 'key']), 2);
    assert.equal(await client.type('key'), 'string');
    assert.equal(await client.getDel('key'), 'second time');
    assert.equal(await client.del('key'), 0);
  },

  async binary(client) {
    const big = Buffer.concat(Array(4096).fill(ANY_BYTES));
    for (const value of [Buffer.alloc(0), Buffer.from('\r\n'), ANY_BYTES, big]) {
      assert.equal(await client.set(ANY_BYTES, value), 'OK');
      assert.deepEqual(await withBuffers(client).get(ANY_BYTES), value);
    }
    assert.deepEqual(await withBuffers(client).mGet([ANY_BYTES, 'nosuch']), [big, null]);
  },

  async expiry(client) {
    await client.set('short', 'x', { PX: 60 });
    await client.set('long', 'x', { EX: 1000 });
    const ttl = await client.ttl('long');
    assert.ok(ttl > 990 && ttl <= 1000, ttl);
    assert.equal(await client.ttl('nosuch'), -2);
    assert.equal(Number(await client.expire('long', 2000)), 1);
    assert.ok((await client.pTTL('long')) > 1_990_000);
    assert.equal(Number(await client.persist('long')), 1);
    assert.equal(await client.ttl('long'), -1);
    assert.equal(await client.setEx('long', 100, 'y'), 'OK');
    assert.equal(await client.getEx('long', { type: 'EX', value: 500, EX: 500 }), 'y');
    assert.ok((await client.ttl('long')) > 490);
    await sleep(80);
    assert.equal(await client.get('short'), null);
  },

  async counters(client) {
    assert.equal(await client.incr('n'), 1);
    assert.equal(await client.incrBy('n', 41), 42);
    assert.equal(await client.decrBy('n', 50), -8);
    assert.equal(await client.decr('n'), -9);
    assert.equal(Number(await client.incrByFloat('f', 0.25)), 0.25);
    await Promise.all(numbers(100).map(() => client.incr('shared')));
    assert.equal(await client.get('shared'), '100');
  },

  async many(client) {
    assert.equal(await client.mSet(numbers(100).map((n) => [`key:${n}`, `${n}`])), 'OK');
    assert.deepEqual(await client.mGet(['key:1', 'nosuch', 'key:99']), ['1', null, '99']);
    assert.equal(Number(await client.mSetNX({ 'key:0': 'x' })), 0);
    assert.equal(await client.dbSize(), 100);
    assert.equal(await client.unlink(numbers(100).map((n) => `key:${n}`)), 100);
  },

  // Commands of one tick travel together.
  async pipeline(client) {
    const answers = await Promise.all(
      numbers(100).flatMap((n) => [client.set(`key:${n}`, `${n}`), client.get(`key:${n}`)]),
    );
    assert.deepEqual(
      answers,
      numbers(100).flatMap((n) => ['OK', `${n}`]),
    );
    const multi = client.multi();
    for (const n of numbers(100)) multi.get(`key:${n}`);
    assert.deepEqual(
      await multi.execAsPipeline(),
      numbers(100).map((n) => `${n}`),
    );
  },

  async transaction(client) {
    const answers = await client.multi().set('key', '1').incr('key').get('key').exec();
    assert.deepEqual(answers, ['OK', 2, '2']);
    // One that fails in the middle: the others are done all the same.
    await assert.rejects(client.multi().set('key', 'word').incr('key').append('key', 's').exec());
    assert.equal(await client.get('key'), 'words');
    // One that can't be queued: nothing is done.
    await assert.rejects(client.multi().set('key', 'x').addCommand(['NOSUCH']).exec());
    assert.equal(await client.get('key'), 'words');
  },

  async watch(client, open) {
    const other = await open();
    await client.set('key', '1');
    await client.watch('key');
    assert.equal(await client.get('key'), '1');
    await other.set('key', '2');
    await assert.rejects(client.multi().set('key', 'mine').exec(), library.WatchError);
    assert.equal(await client.get('key'), '2');

    await client.watch('key');
    assert.deepEqual(await client.multi().set('key', 'mine').exec(), ['OK']);
    assert.equal(await client.get('key'), 'mine');

    await client.set('sum', '0');
    const add = async () => {
      const own = await open();
      for (let done = 0; done < 5; ) {
        await own.watch('sum');
        const now = Number(await own.get('sum'));
        try {
          await own.multi().set('sum', `${now + 1}`).exec();
          done += 1;
        } catch (error) {
          if (!(error instanceof library.WatchError)) throw error;
        }
      }
      await own.quit();
    };
    await Promise.all(numbers(4).map(add));
    assert.equal(await client.get('sum'), '20');
    await other.quit();
  },

  async scan(client) {
    await client.mSet(numbers(1000).map((n) => [`user:${n}`, 'x']));
    await client.set('other', 'x');
    const users = numbers(1000)
      .map((n) => `user:${n}`)
      .sort();
    const found = await allKeys(client, { MATCH: 'user:*', COUNT: 100 });
    assert.deepEqual([...new Set(found)].sort(), users);
    assert.equal(new Set(await allKeys(client, { TYPE: 'string' })).size, 1001);
    assert.deepEqual(await allKeys(client, { MATCH: 'nosuch*' }), []);
  },

  async pubsub(client, open) {
    const listener = await open();
    const text = awaited('message');
    const bytes = awaited('message of bytes');
    const matching = awaited('message of a pattern');
    await listener.subscribe('news', (message, channel) => text.resolve([channel, message]));
    await listener.subscribe('raw', (message) => bytes.resolve(message), true);
    await listener.pSubscribe('sport.*', (message, channel) => matching.resolve([channel, message]));
    assert.equal(await client.publish('news', 'rain'), 1);
    assert.equal(await client.publish('raw', ANY_BYTES), 1);
    assert.equal(await client.publish('sport.chess', 'e4'), 1);
    assert.deepEqual(await text.promise, ['news', 'rain']);
    assert.deepEqual(await bytes.promise, ANY_BYTES);
    assert.deepEqual(await matching.promise, ['sport.chess', 'e4']);
    await listener.unsubscribe('news');
    assert.equal(await client.publish('news', 'nobody hears it'), 0);
    await listener.quit();
  },
};

async function main() {
  for (const RESP of major === 4 ? [2] : [2, 3]) {
    const open = (more = {}) => {
      const client = library.createClient({
        socket: { host: options.host, port: options.port, reconnectStrategy: false },
        ...(major === 4 ? {} : { RESP }),
        ...more,
      });
      client.on('error', (error) => console.error('connection:', error.message));
      return client.connect();
    };
    await runSections(`node-redis ${version}, RESP${RESP}`, sections, options.sections, async (section) => {
      const client = await open();
      try {
        await client.flushDb();
        await section(client, open);
      } finally {
        await client.quit();
      }
    });
  }
}

toItsEnd(main);
