//! Decides which UDP datagrams a capture file holds: classic pcap, as `tcpdump -w` writes it, down to IPv4, IPv6 and UDP.
//!
//! The format is small and every length in it is checked here, so that no file can do more than end early.
//! (draft-ietf-opsawg-pcap; link types from tcpdump.org/linktypes.html.)

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Magic numbers of pcap as the writer's own byte order has them: times in microseconds, in nanoseconds.
const MICROS: u32 = 0xa1b2_c3d4;
const NANOS: u32 = 0xa1b2_3c4d;
/// How pcapng begins, which is another format.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
/// No packet is captured longer than this (libpcap's MAXIMUM_SNAPLEN).
const MAX_RECORD: u32 = 262_144;
/// IPv6 extension headers in a row, beyond which a packet is a joke.
const MAX_EXTENSIONS: usize = 8;
/// VLAN tags in a row.
const MAX_TAGS: usize = 4;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPES_VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
const UDP: u8 = 17;

/// A capture file.
#[derive(Clone, Debug)]
pub(crate) struct Capture<'a> {
    rest: &'a [u8],
    big_endian: bool,
    fraction: f64,
    link: Link,
}

/// What stands in front of the IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Ethernet,
    /// Nothing.
    Raw,
    /// Four bytes with the address family: a BSD's loopback.
    Null,
    /// Linux "cooked", as `tcpdump -i any` wrote it.
    Cooked,
    /// The same, as it writes it now.
    Cooked2,
}

/// What one packet holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Packet<'a> {
    /// A whole datagram.
    Datagram(Datagram<'a>),
    /// A piece of a datagram that was cut into several IP packets.
    Fragment,
    /// A datagram of which the capture kept only the beginning.
    Cut,
    /// No UDP.
    Other,
}

/// A UDP datagram.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Datagram<'a> {
    /// When it was seen, in seconds since 1970.
    pub(crate) captured: f64,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) payload: &'a [u8],
}

/// Why a file is no capture that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Pcapng,
    /// A link type that is not known.
    Link(u32),
    /// It ends within its header or within a packet.
    Ends,
    /// A packet longer than any capture has.
    Record(u32),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pcapng => f.write_str("is a pcapng file: make it a pcap with `tcpdump -r FILE -w OTHER`"),
            Self::Link(link) => {
                write!(f, "has link type {link}, and only Ethernet, raw IP, null and Linux cooked are known")
            }
            Self::Ends => f.write_str("ends within a packet"),
            Self::Record(length) => write!(f, "is damaged: it claims a packet of {length} bytes"),
        }
    }
}

/// Whether a file begins like a capture.
pub(crate) fn is_capture(bytes: &[u8]) -> bool {
    magic_of(bytes).is_some() || bytes.starts_with(&PCAPNG)
}

/// Byte order and fraction of a second.
fn magic_of(bytes: &[u8]) -> Option<(bool, f64)> {
    let magic = [*bytes.first()?, *bytes.get(1)?, *bytes.get(2)?, *bytes.get(3)?];
    [(MICROS, 1e-6), (NANOS, 1e-9)].into_iter().find_map(|(number, fraction)| match magic {
        _ if magic == number.to_be_bytes() => Some((true, fraction)),
        _ if magic == number.to_le_bytes() => Some((false, fraction)),
        _ => None,
    })
}

impl<'a> Capture<'a> {
    /// Reads the file's header.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, Broken> {
        let (big_endian, fraction) = magic_of(bytes).ok_or(Broken::Pcapng)?;
        let rest = bytes.get(FILE_HEADER..).ok_or(Broken::Ends)?;
        // The upper bits say whether frames bear a checksum behind them, which nothing here looks at.
        let number = u32_at(bytes, 20, big_endian).ok_or(Broken::Ends)? & 0xffff;
        let link = match number {
            0 | 108 => Link::Null,
            1 => Link::Ethernet,
            12 | 14 | 101 | 228 | 229 => Link::Raw,
            113 => Link::Cooked,
            276 => Link::Cooked2,
            other => return Err(Broken::Link(other)),
        };
        Ok(Self { rest, big_endian, fraction, link })
    }

    fn record(&mut self) -> Result<Packet<'a>, Broken> {
        let field = |at| u32_at(self.rest, at, self.big_endian).ok_or(Broken::Ends);
        let captured = f64::from(field(0)?) + f64::from(field(4)?) * self.fraction;
        let (kept, whole) = (field(8)?, field(12)?);
        if kept > MAX_RECORD {
            return Err(Broken::Record(kept));
        }
        let body = self.rest.get(RECORD_HEADER..).ok_or(Broken::Ends)?;
        let (bytes, rest) = body.split_at_checked(kept as usize).ok_or(Broken::Ends)?;
        self.rest = rest;
        Ok(packet(self.link, bytes, kept < whole, captured).unwrap_or(Packet::Other))
    }
}

impl<'a> Iterator for Capture<'a> {
    type Item = Result<Packet<'a>, Broken>;

    /// The next packet; nothing follows an error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.record();
        if record.is_err() {
            self.rest = &[];
        }
        Some(record)
    }
}

/// `None` for what is no UDP, or not even a packet.
fn packet(link: Link, bytes: &[u8], is_cut: bool, captured: f64) -> Option<Packet<'_>> {
    let ip = ip_packet(link, bytes)?;
    let carried = match ip.first()? >> 4 {
        4 => ipv4(ip)?,
        6 => ipv6(ip)?,
        _ => return None,
    };
    if carried.is_fragment {
        return Some(Packet::Fragment);
    }
    let udp = carried.body;
    let length = usize::from(be16(udp, 4)?);
    let from = SocketAddr::new(carried.from, be16(udp, 0)?);
    let to = SocketAddr::new(carried.to, be16(udp, 2)?);
    match udp.get(8..length) {
        Some(payload) => Some(Packet::Datagram(Datagram { captured, from, to, payload })),
        None if is_cut && length >= 8 => Some(Packet::Cut),
        None => None,
    }
}

/// The IP packet in a frame of the link.
fn ip_packet(link: Link, bytes: &[u8]) -> Option<&[u8]> {
    let (mut kind, mut rest) = match link {
        Link::Raw => return Some(bytes),
        // The family is in the writer's byte order; the packet itself says the same.
        Link::Null => return bytes.get(4..),
        Link::Ethernet => (be16(bytes, 12)?, bytes.get(14..)?),
        Link::Cooked => (be16(bytes, 14)?, bytes.get(16..)?),
        Link::Cooked2 => (be16(bytes, 0)?, bytes.get(20..)?),
    };
    for _ in 0..MAX_TAGS {
        if !ETHERTYPES_VLAN.contains(&kind) {
            break;
        }
        (kind, rest) = (be16(rest, 2)?, rest.get(4..)?);
    }
    matches!(kind, ETHERTYPE_IPV4 | ETHERTYPE_IPV6).then_some(rest)
}

/// What an IP packet of UDP carries.
struct Carried<'a> {
    from: IpAddr,
    to: IpAddr,
    is_fragment: bool,
    body: &'a [u8],
}

fn ipv4(ip: &[u8]) -> Option<Carried<'_>> {
    let header = usize::from(ip.first()? & 15) * 4;
    let address = |at: usize| Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?)));
    if header < 20 || *ip.get(9)? != UDP {
        return None;
    }
    // More fragments follow, or some came before.
    let is_fragment = be16(ip, 6)? & 0x3fff != 0;
    Some(Carried { from: address(12)?, to: address(16)?, is_fragment, body: ip.get(header..)? })
}

fn ipv6(ip: &[u8]) -> Option<Carried<'_>> {
    let address = |at: usize| Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(ip.get(at..at + 16)?).ok()?)));
    let (from, to) = (address(8)?, address(24)?);
    let (mut next, mut body, mut is_fragment) = (*ip.get(6)?, ip.get(40..)?, false);
    for _ in 0..MAX_EXTENSIONS {
        let length = match next {
            UDP => return Some(Carried { from, to, is_fragment, body }),
            // Hop-by-hop options, routing, destination options (RFC 8200, section 4).
            0 | 43 | 60 => 8 + usize::from(*body.get(1)?) * 8,
            44 => {
                is_fragment |= be16(body, 2)? & 0xfff9 != 0;
                8
            }
            _ => return None,
        };
        (next, body) = (*body.first()?, body.get(length..)?);
    }
    None
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn u32_at(bytes: &[u8], at: usize, big_endian: bool) -> Option<u32> {
    let field = <[u8; 4]>::try_from(bytes.get(at..at.checked_add(4)?)?).ok()?;
    Some(if big_endian { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) })
}

#[cfg(test)]
mod tests;
