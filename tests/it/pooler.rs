//! A pooler between a proxy and PostgreSQL, which can hand out its sessions by the transaction: here,
//! by the round trip, another one each time.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Has two sessions for each client. Its threads end with the clients.
pub struct Pooler {
    url: String,
    alternates: Arc<AtomicBool>,
}

impl Pooler {
    /// A pooler before the database at `url`; each client keeps one session until it is told
    /// otherwise.
    pub fn start(url: &str) -> Pooler {
        let (user, rest) = url.split_once('@').unwrap();
        let (server, database) = rest.split_once('/').unwrap();
        let server = server.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{user}@{}/{database}", listener.local_addr().unwrap());
        let alternates = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&alternates);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (server, alternates) = (server.clone(), Arc::clone(&shared));
                thread::spawn(move || serve(client?, &server, &alternates));
            }
        });
        Pooler { url, alternates }
    }

    /// The URL for its clients.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Whether the next transactions go to changing sessions.
    pub fn hand_out_by_transaction(&self, whether: bool) {
        self.alternates.store(whether, Ordering::SeqCst);
    }
}

/// Moves one round trip after the other.
fn serve(mut client: TcpStream, server: &str, alternates: &AtomicBool) -> io::Result<()> {
    let mut startup = read_startup(&mut client)?;
    if startup[4..] == SSL_REQUEST {
        client.write_all(b"N")?;
        startup = read_startup(&mut client)?;
    }
    let mut sessions = [TcpStream::connect(server)?, TcpStream::connect(server)?];
    let mut hello = Vec::new();
    for session in &mut sessions {
        session.write_all(&startup)?;
        hello = read_until_ready(session)?;
    }
    client.write_all(&hello)?;
    // Statements that are prepared on one session are prepared on the other, as good poolers do.
    let mut prepared = [Vec::new(), Vec::new()];
    let mut turn = 0;
    loop {
        let mut request = Vec::new();
        loop {
            let message = read_message(&mut client)?;
            request.extend_from_slice(&message);
            match message[0] {
                b'P' => prepared[1 - turn].extend_from_slice(&message),
                b'Q' | b'S' => break,
                b'X' => return Ok(()),
                _ => {}
            }
        }
        let missing = std::mem::take(&mut prepared[turn]);
        if !missing.is_empty() {
            sessions[turn].write_all(&missing)?;
            sessions[turn].write_all(b"S\0\0\0\x04")?;
            read_until_ready(&mut sessions[turn])?;
        }
        sessions[turn].write_all(&request)?;
        client.write_all(&read_until_ready(&mut sessions[turn])?)?;
        if alternates.load(Ordering::SeqCst) {
            turn = 1 - turn;
        }
    }
}

/// What a client asks that would like TLS.
const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();

fn read_startup(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    client.read_exact(&mut length)?;
    let mut startup = length.to_vec();
    startup.resize(u32::from_be_bytes(length) as usize, 0);
    client.read_exact(&mut startup[4..])?;
    Ok(startup)
}

fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; 5];
    stream.read_exact(&mut message)?;
    let length = u32::from_be_bytes([message[1], message[2], message[3], message[4]]);
    message.resize(length as usize + 1, 0);
    stream.read_exact(&mut message[5..])?;
    Ok(message)
}

fn read_until_ready(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    loop {
        let message = read_message(stream)?;
        answer.extend_from_slice(&message);
        if message[0] == b'Z' {
            return Ok(answer);
        }
    }
}
