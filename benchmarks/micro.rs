//! What the proxy does with each command, without sockets: cutting requests, understanding them,
//! routing keys, writing replies. Beside cutting and writing, what redis-protocol does with the same
//! bytes.
//!
//!     cargo bench --bench micro

use bytes::{Bytes, BytesMut};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use redis_protocol::resp2;
use respgres::budget::Budget;
use respgres::command::Command;
use respgres::command::table;
use respgres::resp::{Args, Limits, Reply, Scanned, Scanner, Version};
use respgres::routing::shard_of;

/// Commands of one read buffer.
const DEPTH: usize = 16;

const LIMITS: Limits = Limits {
    argument_max: 16 << 20,
    request_max: 64 << 20,
};

fn main() {
    divan::main();
}

fn key(n: usize) -> String {
    format!("key:{n:012}")
}

fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn gets() -> Vec<u8> {
    (0..DEPTH)
        .flat_map(|n| request(&[b"GET", key(n).as_bytes()]))
        .collect()
}

fn sets(value_bytes: usize) -> Vec<u8> {
    let value = vec![b'x'; value_bytes];
    (0..DEPTH)
        .flat_map(|n| request(&[b"SET", key(n).as_bytes(), &value]))
        .collect()
}

/// Cuts all of `bytes`; `take` gets each request.
fn scan(bytes: BytesMut, mut take: impl FnMut(Args)) {
    let mut buffer = bytes;
    let mut scanner = Scanner::new(LIMITS, &Budget::new(usize::MAX));
    while let Ok(Some(Scanned::Request(words))) = scanner.next(&mut buffer) {
        take(words);
    }
    assert!(buffer.is_empty());
}

fn decode(mut bytes: BytesMut) {
    while let Ok(Some((frame, _, _))) = resp2::decode::decode_bytes_mut(&mut bytes) {
        black_box(frame);
    }
    assert!(bytes.is_empty());
}

#[divan::bench_group]
mod cut {
    use super::*;

    fn each(bencher: Bencher, bytes: &[u8], cut: impl Fn(BytesMut) + Sync) {
        bencher
            .counter(ItemsCount::new(DEPTH))
            .with_inputs(|| BytesMut::from(bytes))
            .bench_values(cut);
    }

    #[divan::bench]
    fn gets_by_our_scanner(bencher: Bencher) {
        each(bencher, &gets(), |bytes| {
            scan(bytes, |words| drop(black_box(words)))
        });
    }

    #[divan::bench]
    fn gets_by_redis_protocol(bencher: Bencher) {
        each(bencher, &gets(), decode);
    }

    #[divan::bench(args = [100, 10_000])]
    fn sets_by_our_scanner(bencher: Bencher, value_bytes: usize) {
        each(bencher, &sets(value_bytes), |bytes| {
            scan(bytes, |words| drop(black_box(words)));
        });
    }

    #[divan::bench(args = [100, 10_000])]
    fn sets_by_redis_protocol(bencher: Bencher, value_bytes: usize) {
        each(bencher, &sets(value_bytes), decode);
    }
}

#[divan::bench_group]
mod understand {
    use super::*;

    fn each(bencher: Bencher, bytes: &[u8]) {
        let mut requests = Vec::new();
        scan(BytesMut::from(bytes), |words| requests.push(words));
        bencher.counter(ItemsCount::new(DEPTH)).bench(|| {
            for words in &requests {
                let _ = black_box(Command::parse(black_box(words), 1 << 24));
            }
        });
    }

    #[divan::bench]
    fn gets(bencher: Bencher) {
        each(bencher, &super::gets());
    }

    #[divan::bench]
    fn sets(bencher: Bencher) {
        each(bencher, &super::sets(100));
    }

    #[divan::bench(args = ["GET", "set", "pexpireat"])]
    fn a_name(name: &str) -> bool {
        table::find(black_box(name.as_bytes())).is_some()
    }
}

#[divan::bench(args = [16, 100, 1000])]
fn route(bencher: Bencher, key_bytes: usize) {
    let key = vec![b'k'; key_bytes];
    bencher.bench(|| shard_of(black_box(&key), 3));
}

#[divan::bench_group]
mod reply {
    use super::*;

    const SIZES: [usize; 3] = [16, 100, 10_000];

    #[divan::bench(args = SIZES)]
    fn a_value(bencher: Bencher, value_bytes: usize) {
        let reply = Reply::Bulk(Bytes::from(vec![b'x'; value_bytes]));
        let mut out = BytesMut::with_capacity(value_bytes + 64);
        bencher.bench_local(|| {
            out.clear();
            reply.encode(Version::Resp2, &mut out);
        });
    }

    #[divan::bench(args = SIZES)]
    fn a_value_by_redis_protocol(bencher: Bencher, value_bytes: usize) {
        let value = vec![b'x'; value_bytes];
        let mut out = BytesMut::with_capacity(value_bytes + 64);
        bencher.bench_local(|| {
            out.clear();
            let frame = resp2::types::BorrowedFrame::BulkString(&value);
            resp2::encode::extend_encode_borrowed(&mut out, &frame, false)
        });
    }

    #[divan::bench]
    fn ok(bencher: Bencher) {
        let mut out = BytesMut::with_capacity(64);
        bencher.bench_local(|| {
            out.clear();
            Reply::OK.encode(Version::Resp2, &mut out);
        });
    }
}
