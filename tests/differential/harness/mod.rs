//! The parts of the integration tests' harness that start servers. Not the whole of it: one file there uses the
//! library, which this binary does not link.
#![allow(dead_code, unused_imports)]

#[path = "../../it/harness/certificates.rs"]
mod certificates;
#[path = "../../it/harness/deployment.rs"]
mod deployment;
#[path = "../../it/harness/guardian.rs"]
mod guardian;
#[path = "../../it/harness/http.rs"]
mod http;
#[path = "../../it/harness/keys.rs"]
mod keys;
#[path = "../../it/harness/ports.rs"]
mod ports;
#[path = "../../it/harness/postgres_server.rs"]
mod postgres_server;
#[path = "../../it/harness/process_tree.rs"]
mod process_tree;
#[path = "../../it/harness/proxy.rs"]
mod proxy;
#[path = "../../it/harness/redis_server.rs"]
mod redis_server;
#[path = "../../it/harness/resp.rs"]
mod resp;
#[path = "../../it/harness/scratch.rs"]
mod scratch;
#[path = "../../it/harness/shards.rs"]
mod shards;
#[path = "../../it/harness/wait.rs"]
mod wait;

pub use deployment::{Deployment, Setup};
pub use guardian::Guardian;
pub use keys::{key_on, shard_of};
pub use ports::free_port;
pub use resp::encode;
pub use scratch::Scratch;
pub use wait::{DEADLINE, eventually};
