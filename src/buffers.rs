//! Buffers between a task and its socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;

/// A buffer of more bytes than this is given back when it is empty.
pub const KEEP_MAX: usize = 256 * 1024;

/// Gives the memory of a buffer back if it is empty and large.
pub fn release(buffer: &mut BytesMut) {
    if buffer.is_empty() && buffer.capacity() > KEEP_MAX {
        *buffer = BytesMut::new();
    }
}

/// Writes what is in `buffer` as far as the socket takes it now. If some is left, the task of
/// `context` is woken when the socket takes more, and has to call this again: also with an empty
/// buffer, since a stream of TLS has one of its own.
///
/// # Errors
///
/// Those of the socket.
pub fn poll_flush(
    stream: &mut (impl AsyncWrite + Unpin),
    context: &mut Context<'_>,
    buffer: &mut BytesMut,
) -> io::Result<()> {
    while !buffer.is_empty() {
        match Pin::new(&mut *stream).poll_write(context, buffer) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(written)) => buffer.advance(written),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => return Ok(()),
        }
    }
    release(buffer);
    match Pin::new(stream).poll_flush(context) {
        Poll::Ready(flushed) => flushed,
        Poll::Pending => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, BufWriter, duplex};

    /// As a stream of TLS does, this one keeps what its socket does not take yet.
    #[tokio::test]
    async fn what_the_stream_keeps_leaves_too() {
        let (here, mut there) = duplex(4);
        let mut stream = BufWriter::with_capacity(1024, here);
        let mut buffer = BytesMut::from(&b"0123456789"[..]);
        let mut flush = async || {
            poll_fn(|context| Poll::Ready(poll_flush(&mut stream, context, &mut buffer))).await
        };
        let mut arrived = Vec::new();
        for expected in ["0123", "4567", "89"] {
            flush().await.unwrap();
            let mut part = vec![0; expected.len()];
            let reading = there.read_exact(&mut part);
            let limit = std::time::Duration::from_secs(10);
            tokio::time::timeout(limit, reading).await.unwrap().unwrap();
            arrived.extend(part);
        }
        assert_eq!(arrived, b"0123456789");
        assert!(buffer.is_empty());
    }
}
