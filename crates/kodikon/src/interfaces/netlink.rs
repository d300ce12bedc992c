//! Decides what the kernel's route netlink messages say about links and addresses. Total: any bytes give facts or
//! nothing.
//!
//! Layouts: linux/netlink.h, rtnetlink.h, if_link.h, if_addr.h. Numbers are in the host's byte order, addresses in the
//! network's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kodikon_core::effect::InterfaceAddress;
use kodikon_core::ground::id::InterfaceIndex;

const HEADER: usize = 16;
/// `ifinfomsg`: family, type, index, flags, change mask.
const LINK_HEAD: usize = 16;
/// `ifaddrmsg`: family, prefix length, flags, scope, index.
const ADDRESS_HEAD: usize = 8;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const DELETED_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DELETED_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;

/// `NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH`: all of them.
const DUMP: u16 = 0x301;
/// `NLM_F_DUMP_INTR`: the table changed while it was being dumped.
const INTERRUPTED: u16 = 0x10;
/// The two top bits of an attribute's type are flags.
const ATTRIBUTE_TYPE: u16 = 0x3fff;

/// `IFF_UP | IFF_RUNNING`.
const CARRIER: u32 = 0x1 | 0x40;
const FLAG_BROADCAST: u32 = 0x2;
const FLAG_LOOPBACK: u32 = 0x8;
const FLAG_MULTICAST: u32 = 0x1000;

/// `IFA_F_TENTATIVE | IFA_F_DADFAILED`: addresses that cannot be sent from, yet or ever.
const NOT_USABLE: u32 = 0x40 | 0x08;

const IPV4: u8 = libc::AF_INET as u8;
const IPV6: u8 = libc::AF_INET6 as u8;
/// The longest name the kernel gives a link, its final zero not counted (`IFNAMSIZ`).
const NAME_MAX: usize = 15;

/// A table the kernel can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// All links.
    Links,
    /// All addresses.
    Addresses,
}

/// One thing a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// A link is there and looks like this.
    Link(Link),
    /// A link is gone, with its addresses.
    LinkGone(InterfaceIndex),
    /// An interface has this address and may use it.
    Address(InterfaceIndex, InterfaceAddress),
    /// An interface has lost this address, or may not use it.
    AddressGone(InterfaceIndex, IpAddr),
    /// A dump has come to its end.
    Done,
    /// The dump that is going on is worth nothing: the tables have changed meanwhile.
    Torn,
    /// The kernel refused the dump; nothing more of it will come.
    Refused,
}

/// A link as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: InterfaceIndex,
    pub(super) name: String,
    pub(super) mtu: u32,
    pub(super) carrier: bool,
    pub(super) loopback: bool,
    /// It reaches more than one other: by broadcast or by multicast.
    pub(super) many: bool,
    /// The bridge, bond or VRF it is a port of.
    pub(super) master: Option<InterfaceIndex>,
    /// The kernel's word for a link that is made by software (`veth`, `bridge`, `tun`); none for a device.
    pub(super) kind: Option<String>,
}

/// The request for a whole table.
pub(super) fn request(table: Table) -> [u8; 20] {
    let kind = match table {
        Table::Links => GET_LINK,
        Table::Addresses => GET_ADDRESS,
    };
    let mut message = [0; 20];
    message[..4].copy_from_slice(&20u32.to_ne_bytes());
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&DUMP.to_ne_bytes());
    message
}

/// Reads all messages of one received datagram; ends at the first that does not fit.
pub(super) fn facts(mut bytes: &[u8]) -> impl Iterator<Item = Fact> {
    std::iter::from_fn(move || {
        let (message, rest) = split_message(bytes)?;
        bytes = rest;
        Some(message)
    })
    .flat_map(|message| {
        let torn = (message.flags & INTERRUPTED != 0).then_some(Fact::Torn);
        torn.into_iter().chain(message.fact())
    })
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    body: &'a [u8],
}

fn split_message(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let len = usize::try_from(u32::from_ne_bytes(at(bytes, 0)?)).ok()?;
    let message = Message {
        kind: u16::from_ne_bytes(at(bytes, 4)?),
        flags: u16::from_ne_bytes(at(bytes, 6)?),
        body: bytes.get(HEADER..len)?,
    };
    Some((message, bytes.get(len.next_multiple_of(4)..).unwrap_or_default()))
}

impl Message<'_> {
    fn fact(&self) -> Option<Fact> {
        match self.kind {
            NEW_LINK => link(self.body).map(Fact::Link),
            DELETED_LINK => link_head(self.body).map(|(index, _)| Fact::LinkGone(index)),
            NEW_ADDRESS => address(self.body).map(|(index, address, usable)| {
                if usable { Fact::Address(index, address) } else { Fact::AddressGone(index, address.address) }
            }),
            DELETED_ADDRESS => address(self.body).map(|(index, address, _)| Fact::AddressGone(index, address.address)),
            DONE => Some(Fact::Done),
            // Error 0 is an acknowledgement, which nobody asked for.
            ERROR => (i32::from_ne_bytes(at(self.body, 0)?) != 0).then_some(Fact::Refused),
            _ => None,
        }
    }
}

/// Index and flags of a link message.
fn link_head(body: &[u8]) -> Option<(InterfaceIndex, u32)> {
    // A bridge reports that a port left it as a deleted link of family AF_BRIDGE; the link itself is still there.
    if *body.first()? != libc::AF_UNSPEC as u8 {
        return None;
    }
    Some((InterfaceIndex(u32::from_ne_bytes(at(body, 4)?)), u32::from_ne_bytes(at(body, 8)?)))
}

fn link(body: &[u8]) -> Option<Link> {
    const NAME: u16 = 3;
    const MTU: u16 = 4;
    const MASTER: u16 = 10;
    const LINK_INFO: u16 = 18;
    const INFO_KIND: u16 = 1;

    let (index, flags) = link_head(body)?;
    let mut link = Link {
        index,
        name: String::new(),
        mtu: 0,
        carrier: flags & CARRIER == CARRIER,
        loopback: flags & FLAG_LOOPBACK != 0,
        many: flags & (FLAG_BROADCAST | FLAG_MULTICAST) != 0,
        master: None,
        kind: None,
    };
    for (kind, data) in attributes(body.get(LINK_HEAD..)?) {
        match kind {
            NAME => link.name = text(data),
            MTU => link.mtu = u32::from_ne_bytes(at(data, 0)?),
            MASTER => link.master = Some(InterfaceIndex(u32::from_ne_bytes(at(data, 0)?))),
            LINK_INFO => {
                link.kind = attributes(data).find(|&(kind, _)| kind == INFO_KIND).map(|(_, data)| text(data));
            }
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

/// The interface, its address, and whether the address may be used.
fn address(body: &[u8]) -> Option<(InterfaceIndex, InterfaceAddress, bool)> {
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    const BROADCAST: u16 = 4;
    const FLAGS: u16 = 8;

    let family = *body.first()?;
    let prefix = *body.get(1)?;
    let mut flags = u32::from(*body.get(2)?);
    let index = InterfaceIndex(u32::from_ne_bytes(at(body, 4)?));
    let (mut network_end, mut own, mut broadcast) = (None, None, None);
    for (kind, data) in attributes(body.get(ADDRESS_HEAD..)?) {
        match kind {
            ADDRESS => network_end = ip(family, data),
            LOCAL => own = ip(family, data),
            BROADCAST => broadcast = at::<4>(data, 0).map(Ipv4Addr::from),
            FLAGS => flags = u32::from_ne_bytes(at(data, 0)?),
            _ => {}
        }
    }
    // On a point-to-point link ADDRESS is the other end's and LOCAL ours; IPv6 elsewhere has only ADDRESS.
    let address = InterfaceAddress { address: own.or(network_end)?, prefix, broadcast };
    Some((index, address, flags & NOT_USABLE == 0))
}

fn ip(family: u8, data: &[u8]) -> Option<IpAddr> {
    match family {
        IPV4 => Some(Ipv4Addr::from(at::<4>(data, 0)?).into()),
        IPV6 => Some(Ipv6Addr::from(at::<16>(data, 0)?).into()),
        _ => None,
    }
}

/// Type and data of each attribute; ends at the first that does not fit.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(at(bytes, 0)?));
        let kind = u16::from_ne_bytes(at(bytes, 2)?) & ATTRIBUTE_TYPE;
        let data = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, data))
    })
}

/// A text up to its zero, at most as long as the kernel makes it.
fn text(data: &[u8]) -> String {
    let end = data.iter().position(|&byte| byte == 0).unwrap_or(data.len()).min(NAME_MAX);
    String::from_utf8_lossy(&data[..end]).into_owned()
}

fn at<const N: usize>(bytes: &[u8], from: usize) -> Option<[u8; N]> {
    bytes.get(from..)?.first_chunk::<N>().copied()
}

#[cfg(test)]
mod tests;
