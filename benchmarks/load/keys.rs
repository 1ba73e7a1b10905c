//! Which key is next.

use crate::arguments::{Order, Run};

/// The numbers of keys, in the order of the run.
pub(crate) struct Keys {
    order: Order,
    first: u64,
    step: u64,
    count: u64,
    /// Once: how many were handed out, the number of the next, and the stride.
    taken: u64,
    at: u64,
    stride: u64,
    random: fastrand::Rng,
}

impl Keys {
    pub(crate) fn new(run: &Run) -> Self {
        Self {
            order: run.order,
            first: run.first_key,
            step: run.key_step,
            count: run.num_keys,
            taken: 0,
            at: 0,
            stride: stride(run.num_keys),
            random: fastrand::Rng::new(),
        }
    }

    /// None: every key had its turn.
    pub(crate) fn next(&mut self) -> Option<u64> {
        let number = match self.order {
            Order::Hot => 0,
            Order::Random => self.random.u64(..self.count),
            Order::Once if self.taken == self.count => return None,
            Order::Once => {
                self.taken += 1;
                let number = self.at;
                self.at = (self.at + self.stride) % self.count;
                number
            }
        };
        Some(self.first + number * self.step)
    }
}

/// A step that comes to every number below `count` before it comes back: it has no divisor in common with it. Near the
/// golden section, so that successive keys are far apart, in the table as in the index.
fn stride(count: u64) -> u64 {
    let mut stride = (count as f64 * 0.618) as u64;
    while divisor(stride, count) != 1 {
        stride += 1;
    }
    stride
}

/// The greatest one in common.
fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}
