//! Connections that did something once, and are held.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Result;
use crate::arguments::{FirstCommand, Idle, Operation};
use crate::wire::{self, Replies};

/// Until standard input ends.
pub(crate) async fn hold(idle: Idle) -> Result<()> {
    let mut held = Vec::with_capacity(idle.connections);
    for number in 0..idle.connections {
        let mut stream = wire::connect(&idle.address).await?;
        begin(&mut stream, &idle, number as u64).await?;
        held.push(stream);
    }
    println!("{}", serde_json::json!({ "connections": held.len() }));
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}

async fn begin(stream: &mut TcpStream, idle: &Idle, key: u64) -> Result<()> {
    let mut commands = Vec::new();
    match idle.first_command {
        FirstCommand::PingGet => {
            ask(stream, b"PING\r\n").await?;
            wire::put_command(&mut commands, Operation::Get, key, &[]);
        }
        FirstCommand::Set => {
            let value = wire::value(idle.value_bytes);
            wire::put_command(&mut commands, Operation::Set, key, &value);
        }
    }
    ask(stream, &commands).await
}

/// One command, and its reply.
async fn ask(stream: &mut TcpStream, command: &[u8]) -> Result<()> {
    let mut replies = Replies::new();
    stream.write_all(command).await?;
    while replies.next()?.is_none() {
        replies.receive(stream).await?;
    }
    Ok(())
}
