//! A collector that takes OTLP over HTTP, as far as the tests look at it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A span that was received.
#[derive(Debug, Clone, Default)]
pub struct Span {
    pub trace: Vec<u8>,
    pub id: Vec<u8>,
    /// Empty for a root.
    pub parent: Vec<u8>,
    pub name: String,
    /// In nanoseconds.
    pub began: u64,
    pub ended: u64,
}

#[derive(Debug, Default)]
struct Received {
    spans: Vec<Span>,
    services: BTreeSet<String>,
}

/// It listens until the process ends.
pub struct Collector {
    url: String,
    received: Arc<Mutex<Received>>,
}

impl Collector {
    pub fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::<Mutex<Received>>::default();
        let taken = Arc::clone(&received);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, taken) = (stream.unwrap(), Arc::clone(&taken));
                thread::spawn(move || serve(stream, &taken));
            }
        });
        Collector { url, received }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    pub fn spans(&self) -> Vec<Span> {
        self.received.lock().unwrap().spans.clone()
    }

    pub fn service_names(&self) -> BTreeSet<String> {
        self.received.lock().unwrap().services.clone()
    }
}

/// Answers the requests of one connection.
fn serve(mut stream: TcpStream, taken: &Mutex<Received>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
        let head = head.to_ascii_lowercase();
        assert!(
            head.contains("content-type: application/x-protobuf\r\n"),
            "{head}"
        );
        let (_, length) = head.split_once("content-length: ").unwrap();
        let length = length.lines().next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        take(&body, &mut taken.lock().unwrap());
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    }
}

/// ExportTraceServiceRequest: resource_spans = 1, of resource = 1, scope_spans = 2; of those spans = 2.
fn take(body: &[u8], received: &mut Received) {
    for resource_spans in all(body, 1) {
        for attribute in all(resource_spans, 1)
            .iter()
            .flat_map(|resource| all(resource, 1))
        {
            // KeyValue: key = 1, value = 2; of that string_value = 1.
            if all(attribute, 1) == [b"service.name"] {
                let value = all(all(attribute, 2)[0], 1)[0];
                received.services.insert(text(value));
            }
        }
        for span in all(resource_spans, 2)
            .iter()
            .flat_map(|scope| all(scope, 2))
        {
            let bytes = |field| {
                all(span, field)
                    .first()
                    .map_or(vec![], |bytes| bytes.to_vec())
            };
            let time = |field| u64::from_le_bytes(all(span, field)[0].try_into().unwrap());
            received.spans.push(Span {
                trace: bytes(1),
                id: bytes(2),
                parent: bytes(4),
                name: text(&bytes(5)),
                began: time(7),
                ended: time(8),
            });
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What the fields of this number hold in a message of Protocol Buffers.
fn all(mut message: &[u8], wanted: u64) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let length = match tag & 7 {
            0 => {
                varint(&mut message);
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)).unwrap(),
            5 => 4,
            kind => panic!("a field of kind {kind}"),
        };
        let (value, rest) = message.split_at(length);
        if tag >> 3 == wanted {
            found.push(value);
        }
        message = rest;
    }
    found
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = message.split_first().expect("more bytes");
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}
