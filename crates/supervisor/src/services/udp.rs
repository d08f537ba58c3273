//! Datagrams passed on: each sender gets a socket of its own towards the container, by which answers find back to it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::net::SocketType;

use super::ports::connect;

/// How long a sender may be silent before it is forgotten.
pub(super) const SILENCE: Duration = Duration::from_secs(90);
/// How many senders are remembered.
const MOST: usize = 1024;
/// How many datagrams are moved before others have their turn.
const ROUNDS: u32 = 64;
/// The largest datagram.
const LARGEST: usize = 64 << 10;

#[derive(Debug)]
struct Flow {
    client: SocketAddr,
    socket: UdpSocket,
    used: Instant,
}

/// The senders of one port.
#[derive(Debug, Default)]
pub(super) struct Flows(Vec<Flow>);

impl Flows {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = (usize, &UdpSocket)> {
        self.0.iter().enumerate().map(|(number, flow)| (number, &flow.socket))
    }

    /// From the senders to the container. What cannot be sent is lost, as datagrams are.
    pub(super) fn forward(&mut self, from: &UdpSocket, target: SocketAddr) {
        let mut buffer = vec![0; LARGEST];
        for _ in 0..ROUNDS {
            let Ok((length, client)) = from.recv_from(&mut buffer) else { return };
            if let Ok(flow) = self.of(client, target) {
                flow.used = Instant::now();
                let _ = flow.socket.send(&buffer[..length]);
            }
        }
    }

    /// From the container to the sender of that number.
    pub(super) fn back(&mut self, to: &UdpSocket, number: usize) {
        let Some(flow) = self.0.get_mut(number) else { return };
        let mut buffer = vec![0; LARGEST];
        for _ in 0..ROUNDS {
            match flow.socket.recv(&mut buffer) {
                Ok(length) => {
                    flow.used = Instant::now();
                    let _ = to.send_to(&buffer[..length], flow.client);
                }
                Err(_) => return,
            }
        }
    }

    fn of(&mut self, client: SocketAddr, target: SocketAddr) -> io::Result<&mut Flow> {
        let known = self.0.iter().position(|flow| flow.client == client);
        let place = match known {
            Some(place) => place,
            None => {
                if self.0.len() >= MOST
                    && let Some((oldest, _)) = self.0.iter().enumerate().min_by_key(|(_, flow)| flow.used)
                {
                    self.0.swap_remove(oldest);
                }
                let socket = UdpSocket::from(connect(SocketType::DGRAM, target)?);
                self.0.push(Flow { client, socket, used: Instant::now() });
                self.0.len() - 1
            }
        };
        Ok(&mut self.0[place])
    }

    /// Forgets who was silent too long.
    pub(super) fn expire(&mut self) {
        self.0.retain(|flow| flow.used.elapsed() < SILENCE);
    }
}
