//! The wire end, VLAN tags: the kernel takes the tag out of a frame it receives and tells of it beside the frame
//! (packet(7), PACKET_AUXDATA), but only to sockets for all protocols: to those for one it forgets a tag that belongs
//! to no interface of its own. Frames are sent with the tag in their bytes. No VLAN interface is needed for either.

use super::Link;
use crate::error::Result;
use crate::wire::ETHERTYPE;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{self, ControlMessageOwned, MsgFlags};
use std::io::IoSliceMut;
use std::time::Instant;

/// Set in `tpacket_auxdata`'s status when its tag is valid (linux/if_packet.h).
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;

/// Where `tpacket_auxdata` has the tag's priority and VLAN.
const VLAN_TCI: usize = 16;

/// The option that has the kernel tell of tags.
#[derive(Clone, Copy, Debug)]
struct AuxData;

/// The option that keeps what this host sends from coming back, as it would to a socket for all protocols.
#[derive(Clone, Copy, Debug)]
struct IgnoreOutgoing;

nix::setsockopt_impl!(AuxData, libc::SOL_PACKET, libc::PACKET_AUXDATA, bool, socket::sockopt::SetBool);
nix::setsockopt_impl!(
    IgnoreOutgoing,
    libc::SOL_PACKET,
    libc::PACKET_IGNORE_OUTGOING,
    bool,
    socket::sockopt::SetBool
);

/// Every protocol (linux/if_ether.h, ETH_P_ALL).
const EVERY_PROTOCOL: u16 = 3;

impl Link {
    /// As [`Link::open`], for [`Link::receive_tagged`]. The other ways to receive give frames of every protocol.
    ///
    /// # Errors
    /// As [`Link::open`].
    pub fn open_tagged(interface: &str) -> Result<Self> {
        let link = Self::open_for(interface, EVERY_PROTOCOL)?;
        let options = [
            socket::setsockopt(&link.socket, AuxData, &true),
            socket::setsockopt(&link.socket, IgnoreOutgoing, &true),
        ];
        for result in options {
            result.map_err(|source| link.failed("setting the socket's options", source))?;
        }
        link.drop_early_frames()?;
        Ok(link)
    }

    /// As [`Link::receive_until`]: a frame's length, and priority and VLAN of the tag that the kernel took out of it, as
    /// they stood in it. A second tag is still in the frame.
    ///
    /// # Errors
    /// As [`Link::receive_now`].
    pub fn receive_tagged(
        &self,
        buffer: &mut [u8],
        deadline: Instant,
    ) -> Result<Option<(usize, Option<u16>)>> {
        self.repeat_until(deadline, || self.receive_tagged_now(buffer))
    }

    /// Takes the next AoE frame if there is one; frames of other protocols go by.
    fn receive_tagged_now(&self, buffer: &mut [u8]) -> Result<Option<(usize, Option<u16>)>> {
        let mut beside = vec![0; 64];
        loop {
            let mut room = [IoSliceMut::new(buffer)];
            let received =
                socket::recvmsg::<()>(self.fd(), &mut room, Some(&mut beside), MsgFlags::MSG_DONTWAIT);
            let (length, tag) = match received {
                Ok(message) => {
                    let told = message.cmsgs().map_err(|source| self.failed("receive", source))?;
                    let tag = told.filter_map(|one| match one {
                        ControlMessageOwned::Unknown(unknown) => tag_in(&unknown.data_bytes),
                        _ => None,
                    });
                    (message.bytes, tag.last())
                }
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
                Err(source) => return Err(self.failed("receive", source)),
            };
            let protocol = buffer.get(12..14).filter(|_| length >= 14);
            if protocol.is_some_and(|protocol| protocol == ETHERTYPE.to_be_bytes()) {
                return Ok(Some((length, tag)));
            }
        }
    }
}

/// The tag that a `tpacket_auxdata` tells of.
fn tag_in(auxdata: &[u8]) -> Option<u16> {
    let status = u32::from_ne_bytes(*auxdata.first_chunk()?);
    let tci = u16::from_ne_bytes(*auxdata.get(VLAN_TCI..)?.first_chunk()?);
    (status & TP_STATUS_VLAN_VALID != 0).then_some(tci)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_tag_is_one() {
        let mut auxdata = [0; 20];
        auxdata[16..18].copy_from_slice(&0x6064_u16.to_ne_bytes());
        assert_eq!(tag_in(&auxdata), None);
        auxdata[..4].copy_from_slice(&0x11_u32.to_ne_bytes());
        assert_eq!(tag_in(&auxdata), Some(0x6064));
        assert_eq!(tag_in(&auxdata[..17]), None);
    }
}
