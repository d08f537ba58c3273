//! Forgetting flows: entries of the connection tracking table that belong to a published port without connections
//! (`<linux/netfilter/nfnetlink_conntrack.h>`).

use std::net::IpAddr;

use rustix::io::Errno;

use crate::Error;
use crate::netlink::{Message, Socket, attribute};
use crate::publish::Publish;

const GET: u16 = 1 << 8 | 1; // subsystem conntrack, get
const DELETE: u16 = 1 << 8 | 2;
const HEADER: usize = 4; // struct nfgenmsg

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const FILTER: u16 = 25;
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
const FILTER_BY_PROTOCOL_AND_PORT: u32 = 1 << 3 | 1 << 5;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IP_SOURCE: [u16; 2] = [1, 3]; // IPv4, IPv6
const IP_DESTINATION: [u16; 2] = [2, 4];
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_DESTINATION_PORT: u16 = 3;

/// Forgets the flows to each of the host's ports: those that lead to the container, and those to an address of the
/// host (`local`) that lead nowhere because they began before the port was published.
pub(crate) fn forget(socket: &mut Socket, ports: &[&Publish], local: &[IpAddr]) -> Result<(), Error> {
    let failed = |source| Error::io("list tracked flows", source);
    for port in ports {
        for flow in socket.dump(flows_to(port)).map_err(failed)? {
            let Some(flow) = flow.get(HEADER..).and_then(Flow::parse) else { continue };
            if !flow.concerns(port, local) {
                continue;
            }
            let mut delete = Message::new(DELETE, 0, &header(port)).bytes(TUPLE_ORIGINAL, flow.original);
            if let Some(id) = flow.id {
                delete = delete.bytes(ID, id);
            }
            match socket.request(vec![delete]) {
                Err(refused) if refused.errno != Errno::NOENT => {
                    return Err(Error::refused(
                        format!("forget flows to port {}/{}", port.host_port, port.protocol),
                        refused,
                    ));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Asks for the flows of that protocol and port. Kernels before 5.8 answer with all flows, hence [`Flow::concerns`].
fn flows_to(port: &Publish) -> Message {
    Message::new(GET, 0, &header(port))
        .nest(TUPLE_ORIGINAL, |tuple| {
            tuple.nest(TUPLE_PROTOCOL, |protocol| {
                protocol
                    .bytes(PROTOCOL_NUMBER, &[port.protocol.number()])
                    .bytes(PROTOCOL_DESTINATION_PORT, &port.host_port.to_be_bytes())
            })
        })
        .nest(FILTER, |filter| filter.u32(FILTER_ORIGINAL, FILTER_BY_PROTOCOL_AND_PORT).u32(FILTER_REPLY, 0))
}

fn header(port: &Publish) -> [u8; HEADER] {
    [if port.host_ip.is_ipv6() { 10 } else { 2 }, 0, 0, 0]
}

struct Flow<'a> {
    original: &'a [u8],
    id: Option<&'a [u8]>,
    protocol: u8,
    port: u16,
    destination: IpAddr,
    answers_from: IpAddr,
}

impl<'a> Flow<'a> {
    fn parse(entry: &'a [u8]) -> Option<Self> {
        let original = attribute(entry, TUPLE_ORIGINAL)?;
        let protocol = attribute(original, TUPLE_PROTOCOL)?;
        let address = |tuple, which: [u16; 2]| {
            let ip = attribute(tuple, TUPLE_IP)?;
            match attribute(ip, which[0]) {
                Some(bytes) => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
                None => <[u8; 16]>::try_from(attribute(ip, which[1])?).ok().map(IpAddr::from),
            }
        };
        Some(Self {
            original,
            id: attribute(entry, ID),
            protocol: *attribute(protocol, PROTOCOL_NUMBER)?.first()?,
            port: u16::from_be_bytes(attribute(protocol, PROTOCOL_DESTINATION_PORT)?.try_into().ok()?),
            destination: address(original, IP_DESTINATION)?,
            answers_from: address(attribute(entry, TUPLE_REPLY)?, IP_SOURCE)?,
        })
    }

    fn concerns(&self, port: &Publish, local: &[IpAddr]) -> bool {
        let to_port = self.protocol == port.protocol.number() && self.port == port.host_port;
        let untranslated = self.answers_from == self.destination && local.contains(&self.destination);
        let on_address = port.host_ip.is_unspecified() || port.host_ip == self.destination;
        to_port && on_address && (untranslated || self.answers_from == port.container_ip)
    }
}
