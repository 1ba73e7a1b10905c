// What a program that uses ioredis does with its server.
//
//     node ioredis.js PACKAGE HOST PORT [SECTION ...]
//
// PACKAGE is ioredis-5 or -6. Every section is run with auto-pipelining off and on. The server is emptied.
'use strict';

const assert = require('node:assert/strict');
const { ANY_BYTES, awaited, commandLine, numbers, runSections, sleep, toItsEnd } = require('./common');

const options = commandLine();
const { Redis } = require(options.name);
const { version } = require(`${options.name}/package.json`);

/** All keys of a scan. */
async function allKeys(client, scanOptions) {
  const keys = [];
  for await (const page of client.scanStream(scanOptions)) keys.push(...page);
  return keys;
}

const sections = {
  async connect(client, open) {
    assert.equal(await client.ping(), 'PONG');
    assert.match(await client.info(), /redis_version:7\./);
    assert.ok((await client.client('ID')) > 0);
    assert.equal(await client.select(0), 'OK');
    assert.deepEqual((await client.config('GET', 'maxmemory')).slice(0, 1), ['maxmemory']);
    const named = open({ connectionName: 'worker' });
    assert.equal(await named.client('GETNAME'), 'worker');
    await named.quit();
    // Who connects before it is needed, and is told when it is ready.
    const lazy = open({ lazyConnect: true });
    await lazy.connect();
    assert.equal(lazy.status, 'ready');
    lazy.disconnect();
  },

  async errors(client) {
    await client.set('word', 'one');
    await assert.rejects(client.call('NOSUCH', 'a'), /unknown command 'NOSUCH'/);
    await assert.rejects(client.call('GET'), /wrong number of arguments for 'get' command/);
    await assert.rejects(client.incr('word'), /value is not an integer or out of range/);
    assert.equal(await client.get('word'), 'one');
  },

  async strings(client, open) {
    assert.equal(await client.set('key', 'välue'), 'OK');
    assert.equal(await client.get('key'), 'välue');
    assert.equal(await client.get('nosuch'), null);
    assert.equal(await client.set('key', 'other', 'NX'), null);
    assert.equal(await client.set('key', 'second', 'GET'), 'välue');
    assert.equal(await client.append('key', ' time'), 11);
    assert.equal(await client.strlen('key'), 11);
    assert.equal(await client.setnx('key', 'x'), 0);
    assert.equal(await client.exists('key', 'nosuch', 'key'), 2);
    assert.equal(await client.type('key'), 'string');
    assert.equal(await client.getdel('key'), 'second time');
    const prefixed = open({ keyPrefix: 'app:' });
    await prefixed.set('key', 'value');
    assert.equal(await client.get('app:key'), 'value');
    assert.equal(await prefixed.del('key'), 1);
    await prefixed.quit();
  },

  async binary(client) {
    const big = Buffer.concat(Array(4096).fill(ANY_BYTES));
    for (const value of [Buffer.alloc(0), Buffer.from('\r\n'), ANY_BYTES, big]) {
      await client.set(ANY_BYTES, value);
      assert.deepEqual(await client.getBuffer(ANY_BYTES), value);
    }
    assert.deepEqual(await client.mgetBuffer(ANY_BYTES, 'nosuch'), [big, null]);
  },

  async expiry(client) {
    await client.set('short', 'x', 'PX', 60);
    await client.setex('long', 1000, 'x');
    const ttl = await client.ttl('long');
    assert.ok(ttl > 990 && ttl <= 1000, ttl);
    assert.equal(await client.ttl('nosuch'), -2);
    assert.equal(await client.expire('long', 2000), 1);
    assert.ok((await client.pttl('long')) > 1_990_000);
    assert.equal(await client.persist('long'), 1);
    assert.equal(await client.ttl('long'), -1);
    await sleep(80);
    assert.equal(await client.get('short'), null);
  },

  async counters(client) {
    assert.equal(await client.incr('n'), 1);
    assert.equal(await client.incrby('n', 41), 42);
    assert.equal(await client.decrby('n', 50), -8);
    assert.equal(await client.incrbyfloat('f', 0.25), '0.25');
    await Promise.all(numbers(100).map(() => client.incr('shared')));
    assert.equal(await client.get('shared'), '100');
  },

  async many(client) {
    await client.mset(Object.fromEntries(numbers(100).map((n) => [`key:${n}`, n])));
    assert.deepEqual(await client.mget('key:1', 'nosuch', 'key:99'), ['1', null, '99']);
    assert.equal(await client.dbsize(), 100);
    assert.equal(await client.unlink(numbers(100).map((n) => `key:${n}`)), 100);
  },

  async pipeline(client) {
    const pipeline = client.pipeline();
    for (const n of numbers(100)) pipeline.set(`key:${n}`, n).get(`key:${n}`);
    pipeline.call('NOSUCH').get('key:1');
    const answers = await pipeline.exec();
    const [error, last] = answers.splice(-2);
    assert.deepEqual(
      answers,
      numbers(100).flatMap((n) => [[null, 'OK'], [null, `${n}`]]),
    );
    assert.match(error[0].message, /unknown command/);
    assert.deepEqual(last, [null, '1']);
    // With auto-pipelining, what one tick asks for travels as one pipeline.
    const values = await Promise.all(numbers(100).map((n) => client.get(`key:${n}`)));
    assert.deepEqual(values, numbers(100).map(String));
  },

  async transaction(client) {
    assert.deepEqual(await client.multi().set('key', '1').incr('key').get('key').exec(), [
      [null, 'OK'],
      [null, 2],
      [null, '2'],
    ]);
    const [, error] = await client.multi().set('key', 'word').incr('key').append('key', 's').exec();
    assert.match(error[0].message, /value is not an integer/);
    assert.equal(await client.get('key'), 'words');
    await assert.rejects(client.multi().set('key', 'x').call('NOSUCH').exec(), /EXECABORT/);
    assert.equal(await client.get('key'), 'words');
    // Command by command, each sent on its own: ioredis has this without auto-pipelining alone.
    if (client.options.enableAutoPipelining) return;
    await client.multi({ pipeline: false });
    assert.equal(await client.append('key', '!'), 'QUEUED');
    assert.equal(await client.get('key'), 'QUEUED');
    assert.deepEqual(await client.exec(), [
      [null, 6],
      [null, 'words!'],
    ]);
  },

  async watch(client, open) {
    const other = open();
    await client.set('key', '1');
    await client.watch('key');
    assert.equal(await client.get('key'), '1');
    await other.set('key', '2');
    assert.equal(await client.multi().set('key', 'mine').exec(), null);
    assert.equal(await client.get('key'), '2');

    await client.watch('key');
    assert.deepEqual(await client.multi().set('key', 'mine').exec(), [[null, 'OK']]);
    await client.watch('key');
    await other.set('key', 'theirs');
    await client.unwatch();
    assert.deepEqual(await client.multi().get('key').exec(), [[null, 'theirs']]);
    await other.quit();
  },

  async scan(client) {
    await client.mset(Object.fromEntries(numbers(1000).map((n) => [`user:${n}`, 'x'])));
    await client.set('other', 'x');
    const users = numbers(1000)
      .map((n) => `user:${n}`)
      .sort();
    const found = await allKeys(client, { match: 'user:*', count: 100 });
    assert.deepEqual([...new Set(found)].sort(), users);
    assert.equal(new Set(await allKeys(client, { type: 'string' })).size, 1001);
    assert.deepEqual(await allKeys(client, { match: 'nosuch*' }), []);
  },

  async pubsub(client, open) {
    const listener = open();
    const bytes = awaited('message');
    const matching = awaited('message of a pattern');
    listener.on('messageBuffer', (channel, message) => bytes.resolve([channel.toString(), message]));
    listener.on('pmessage', (pattern, channel, message) => matching.resolve([pattern, channel, message]));
    assert.equal(await listener.subscribe('news'), 1);
    assert.equal(await listener.psubscribe('sport.*'), 2);
    assert.equal(await client.publish('news', ANY_BYTES), 1);
    assert.equal(await client.publish('sport.chess', 'e4'), 1);
    assert.deepEqual(await bytes.promise, ['news', ANY_BYTES]);
    assert.deepEqual(await matching.promise, ['sport.*', 'sport.chess', 'e4']);
    assert.equal(await listener.unsubscribe('news'), 1);
    assert.equal(await client.publish('news', 'nobody hears it'), 0);
    await listener.quit();
  },
};

async function main() {
  // Version 5 has RESP2 alone; 6 takes RESP3 by itself.
  for (const protocol of version.startsWith('5.') ? [2] : [2, 3]) {
    for (const enableAutoPipelining of [false, true]) {
      const open = (more = {}) => {
        const client = new Redis({
          host: options.host,
          port: options.port,
          enableAutoPipelining,
          retryStrategy: null,
          ...(version.startsWith('5.') ? {} : { protocol }),
          ...more,
        });
        client.on('error', (error) => console.error('connection:', error.message));
        return client;
      };
      const pipelining = enableAutoPipelining ? 'auto-pipelining' : 'no auto-pipelining';
      const name = `ioredis ${version}, RESP${protocol}, ${pipelining}`;
      await runSections(name, sections, options.sections, async (section) => {
        const client = open();
        try {
          await client.flushdb();
          await section(client, open);
        } finally {
          await client.quit();
        }
      });
    }
  }
}

toItsEnd(main);
