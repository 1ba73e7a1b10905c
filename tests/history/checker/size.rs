//! The search is quick enough for what a run records.

use std::time::{Duration, Instant};

use super::{Does, Nanos, Op, Saw, Value, check};

/// A register's history with clients that each call without pause, for long, and lose an answer now and then.
fn long_history(clients: usize, count: usize) -> Vec<Op> {
    let mut random = fastrand::Rng::with_seed(5);
    let mut free_at: Vec<Nanos> = vec![0; clients];
    let mut spans: Vec<(Nanos, usize, Nanos, Nanos)> = Vec::new();
    for _ in 0..count {
        let client = (0..clients).min_by_key(|client| free_at[*client]).unwrap();
        let call = free_at[client] + random.u64(1..1_000_000);
        let instant = call + random.u64(0..1_000_000);
        let answer = instant + random.u64(0..1_000_000);
        free_at[client] = answer;
        spans.push((instant, client, call, answer));
    }
    spans.sort();
    let mut held: Option<Value> = None;
    let mut history = Vec::new();
    for (number, (_, client, call, answer)) in spans.into_iter().enumerate() {
        let saw = held.map_or(Saw::Nothing, Saw::This);
        let is_lost = random.u32(0..500) == 0;
        let (saw, does) = match random.u32(0..10) {
            0..=5 => (saw, Does::Keep),
            6..=8 => (Saw::Whatever, Does::Put(number as Value + 1, None)),
            _ if held.is_some() => (Saw::Something, Does::Clear),
            _ => (Saw::Nothing, Does::Keep),
        };
        if !is_lost || random.bool() {
            match does {
                Does::Put(value, _) => held = Some(value),
                Does::Clear => held = None,
                Does::Keep => {}
            }
        }
        let is_lost = is_lost && does != Does::Keep;
        history.push(Op {
            client,
            call,
            answer: (!is_lost).then_some(answer),
            saw,
            does,
        });
    }
    history
}

#[test]
fn a_hundred_thousand_calls_are_checked_in_seconds() {
    for clients in [3, 8] {
        let mut history = long_history(clients, 100_000);
        let start = Instant::now();
        check(&history).unwrap_or_else(|violation| panic!("refused: {violation}"));
        let took = start.elapsed();
        println!("{clients} clients: {took:?}");
        assert!(
            took < Duration::from_secs(30),
            "{took:?} with {clients} clients"
        );

        // One stale read far into it is found.
        let at = (90_000..)
            .find(|index| matches!(history[*index].saw, Saw::This(_)))
            .unwrap();
        let old = history[..at - 1000]
            .iter()
            .rev()
            .find_map(Op::puts)
            .unwrap();
        history[at].saw = Saw::This(old);
        let found = check(&history).expect_err("a stale read was not found");
        assert!(found.to_string().contains(&old.to_string()));
    }
}
