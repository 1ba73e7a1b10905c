//! A TCP proxy between two parts of a deployment, which does what networks do: it cuts, refuses, delays, and goes
//! silent in one direction while the other one works.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::ports::free_port;

/// How connections are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// As when a process closes its socket.
    Close,
    /// As when a host has forgotten the connection.
    Reset,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From who connected.
    ToServer,
    /// From who was connected to.
    ToClient,
}

/// What becomes of bytes that do not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// They arrive once the proxy is healed.
    Hold,
    /// They never arrive. As TCP loses no bytes within a connection, such a connection is reset when the proxy is
    /// healed.
    Swallow,
}

/// What happens to connections now.
#[derive(Clone, Copy, Debug)]
struct Weather {
    target: SocketAddr,
    is_listening: bool,
    /// How often, and how the last time, everything was cut.
    cuts: u64,
    cut: Cut,
    heals: u64,
    delay: [Duration; 2],
    silence: [Option<Silence>; 2],
}

impl Weather {
    fn fair(target: SocketAddr) -> Weather {
        Weather {
            target,
            is_listening: true,
            cuts: 0,
            cut: Cut::Close,
            heals: 0,
            delay: [Duration::ZERO; 2],
            silence: [None; 2],
        }
    }
}

/// A running proxy. Dropping it closes its connections.
pub struct FaultProxy {
    addr: SocketAddr,
    weather: watch::Sender<Weather>,
    ports: Ports,
}

/// The ports from which it is connected to the server.
type Ports = Arc<Mutex<HashSet<u16>>>;

impl FaultProxy {
    /// Listens on a free port, for connections to `target`, which is `host:port` with the host as a number.
    pub fn start(target: &str) -> FaultProxy {
        let (weather, changes) = watch::channel(Weather::fair(parse(target)));
        let ports = Ports::default();
        for _attempt in 0..10 {
            // Not one of the system's choice: it must be free again after it was refusing.
            let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
            if let Ok(listener) = runtime().block_on(TcpListener::bind(addr)) {
                runtime().spawn(accept(addr, listener, changes, ports.clone()));
                return FaultProxy {
                    addr,
                    weather,
                    ports,
                };
            }
        }
        panic!("no port for a fault proxy");
    }

    /// Where it listens: `host:port`.
    pub fn addr(&self) -> String {
        self.addr.to_string()
    }

    /// The ports from which it is connected to the server now: by them the server knows whose connections they are.
    pub fn ports_at_server(&self) -> Vec<u16> {
        let ports = self.ports.lock().expect("nobody panics here");
        ports.iter().copied().collect()
    }

    /// Connections made from now on go to another server.
    pub fn redirect(&self, target: &str) {
        let target = parse(target);
        self.weather.send_modify(|weather| weather.target = target);
    }

    /// Cuts all connections that there are now.
    pub fn cut(&self, cut: Cut) {
        self.weather.send_modify(|weather| {
            weather.cuts += 1;
            weather.cut = cut;
        });
    }

    /// Refuses new connections until it is healed.
    pub fn refuse(&self) {
        self.weather
            .send_modify(|weather| weather.is_listening = false);
    }

    /// Lets bytes of one direction arrive later.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.weather
            .send_modify(|weather| weather.delay[direction as usize] = delay);
    }

    /// Lets no byte of one direction arrive, while connections stay open and are made.
    pub fn silence(&self, direction: Direction, silence: Silence) {
        self.weather
            .send_modify(|weather| weather.silence[direction as usize] = Some(silence));
    }

    /// Everything works again.
    pub fn heal(&self) {
        self.weather.send_modify(|weather| {
            *weather = Weather {
                heals: weather.heals + 1,
                cuts: weather.cuts,
                cut: weather.cut,
                ..Weather::fair(weather.target)
            };
        });
    }
}

fn parse(target: &str) -> SocketAddr {
    target.parse().expect("an address and a port, as numbers")
}

/// One thread for all fault proxies of the process.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be started")
    })
}

/// Ends when the proxy has been dropped, as everything here does.
async fn accept(
    addr: SocketAddr,
    listener: TcpListener,
    mut weather: watch::Receiver<Weather>,
    ports: Ports,
) {
    let mut listener = Some(listener);
    loop {
        if weather
            .wait_for(|weather| weather.is_listening)
            .await
            .is_err()
        {
            return;
        }
        let listening = match listener.take() {
            Some(listener) => listener,
            None => match TcpListener::bind(addr).await {
                Ok(listener) => listener,
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
        };
        loop {
            tokio::select! {
                accepted = listening.accept() => {
                    if let Ok((client, _)) = accepted {
                        tokio::spawn(connect(client, weather.clone(), ports.clone()));
                    }
                }
                changed = refuses(weather.clone()) => {
                    if !changed {
                        return;
                    }
                    break;
                }
            }
        }
    }
}

/// False if the proxy has been dropped.
async fn refuses(mut weather: watch::Receiver<Weather>) -> bool {
    weather
        .wait_for(|weather| !weather.is_listening)
        .await
        .is_ok()
}

/// A port is known while its connection is there.
struct Known<'a>(&'a Ports, u16);

impl<'a> Known<'a> {
    fn add(ports: &'a Ports, port: u16) -> Known<'a> {
        ports.lock().expect("nobody panics here").insert(port);
        Known(ports, port)
    }
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        self.0.lock().expect("nobody panics here").remove(&self.1);
    }
}

async fn connect(mut client: TcpStream, weather: watch::Receiver<Weather>, ports: Ports) {
    let Weather {
        target,
        cuts,
        heals,
        ..
    } = *weather.borrow();
    let Ok(mut server) = TcpStream::connect(target).await else {
        client.set_zero_linger().ok();
        return;
    };
    let _known = server
        .local_addr()
        .map(|addr| Known::add(&ports, addr.port()));
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let has_lost = AtomicBool::new(false);
    let mut end = weather.clone();
    let is_over = |weather: &Weather| {
        weather.cuts != cuts || (weather.heals != heals && has_lost.load(Ordering::Relaxed))
    };
    let cut = {
        let (client_reads, client_writes) = client.split();
        let (server_reads, server_writes) = server.split();
        let there = pump(
            client_reads,
            server_writes,
            Direction::ToServer,
            weather.clone(),
            &has_lost,
        );
        let back = pump(
            server_reads,
            client_writes,
            Direction::ToClient,
            weather,
            &has_lost,
        );
        tokio::select! {
            done = async { tokio::try_join!(there, back) } => match done {
                Ok(_) => Cut::Close,
                Err(_) => Cut::Reset,
            },
            over = end.wait_for(is_over) => match over {
                Ok(weather) if weather.cuts != cuts => weather.cut,
                Ok(_) => Cut::Reset,
                Err(_) => Cut::Close,
            },
        }
    };
    if cut == Cut::Reset {
        client.set_zero_linger().ok();
        server.set_zero_linger().ok();
    }
}

/// Carries the bytes of one direction until there are no more.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    mut weather: watch::Receiver<Weather>,
    has_lost: &AtomicBool,
) -> std::io::Result<()> {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut chunk).await?;
        let is_held =
            |weather: &Weather| weather.silence[direction as usize] == Some(Silence::Hold);
        let now = weather.wait_for(|weather| !is_held(weather)).await;
        let Ok(now) = now.map(|now| *now) else {
            return Ok(());
        };
        if now.silence[direction as usize] == Some(Silence::Swallow) {
            has_lost.store(true, Ordering::Relaxed);
            if count == 0 {
                std::future::pending::<()>().await;
            }
            continue;
        }
        tokio::time::sleep(now.delay[direction as usize]).await;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..count]).await?;
    }
}
