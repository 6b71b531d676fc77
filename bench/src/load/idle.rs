//! Connections that have had one answer and now only stay.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::connection::{Answer, Exchange};
use crate::Result;

/// Open keep-alive connections that ask for nothing any more.
pub struct Idle {
    connections: Vec<TcpStream>,
}

impl Idle {
    /// Opens `count` connections, one after the other, each with one exchange.
    pub fn open(address: SocketAddr, exchange: &Exchange, count: usize) -> Result<Self> {
        let mut connections = Vec::with_capacity(count);
        let mut buffer = [0; 16 * 1024];
        for _ in 0..count {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(exchange.request())?;
            let mut answer = Answer::default();
            loop {
                let length = stream.read(&mut buffer)?;
                if length == 0 {
                    return Err("the server closed a connection before it answered".into());
                }
                if answer.take(&buffer[..length], exchange)? {
                    break;
                }
            }
            connections.push(stream);
        }
        Ok(Self { connections })
    }

    /// Fails when the server closed one of them in the meantime.
    pub fn check(&self) -> Result<()> {
        for stream in &self.connections {
            stream.set_nonblocking(true)?;
            match stream.peek(&mut [0]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                other => return Err(format!("an idle connection did not stay as it was: {other:?}").into()),
            }
        }
        Ok(())
    }
}
