//! Drop reasons: one name, one sentence and one counter for each.

/// Declares [`DropReason`] from one list of variant, counter name and sentence.
macro_rules! drop_reasons {
    ( $( $variant:ident, $name:literal, $sentence:literal; )+ ) => {
        /// The reason for which a frame was dropped, or a reply not sent.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason {
            $( #[doc = $sentence] $variant, )+
        }

        impl DropReason {
            /// Every reason, in the order of a frame's way.
            pub const ALL: [Self; [$( $name ),+].len()] = [$( Self::$variant ),+];

            /// Name of the counter, as it appears in statistics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            /// The sentence for readers of the statistics.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $( Self::$variant => $sentence, )+ }
            }
        }
    };
}

drop_reasons! {
    RingFull, "ring_full", "The ring to the lcore that serves the export was full.";
    Runt, "runt", "The frame ends inside its Ethernet header or VLAN tag.";
    NotAoe, "not_aoe", "The EtherType, behind the VLAN tag if there is one, is not AoE's 0x88a2.";
    DoubleTagged, "double_tagged", "The frame has more than one VLAN tag, or a service tag (0x88a8).";
    TooShort, "too_short", "The frame ends inside the fixed part its AoE command needs.";
    BadVersion, "bad_version", "The AoE version is not 1.";
    IsResponse, "is_response", "The frame is another target's answer or advertisement.";
    SourceNotUnicast, "source_not_unicast", "The source address is a group address, which no sender has.";
    NotOurMac, "not_our_mac", "The frame is addressed to another MAC address; seen on promiscuous ports.";
    UnknownShelfSlot, "unknown_shelf_slot", "No export has this shelf and slot on this port, in this VLAN or outside of any.";
    WildcardRefused, "wildcard_refused", "A wildcard request is neither a config query nor IDENTIFY, and no other may reach several exports.";
    Denied, "denied", "The operator's allow or deny list keeps the sender off the export.";
    Masked, "masked", "The export's MAC mask list does not name the sender; the protocol demands silence.";
    StateUnknown, "state_unknown", "The export is closed: its stored mask and reservation are damaged or not yet known.";
    MaskReserved, "mask_reserved", "The reserved byte of a MAC mask message is not zero.";
    ConfigMismatch, "config_mismatch", "A config test named another string; the protocol demands silence.";
    ConfigTooLong, "config_too_long", "A config string is longer than 1024 bytes or than its frame.";
    ConfigSplit, "config_split", "A config string or a list that is needed is spread over several buffer segments.";
    DeferredFull, "deferred_full", "Too many requests that may change an export's initiator state are deferred at once.";
    NotStored, "not_stored", "A change of an export's initiator state could not be written to disk, so it was not made.";
    ExportFull, "export_full", "The export has as many requests in flight as its bdev and its initiators may hold mbufs.";
    ExportHeld, "export_held", "The export's bdev or options are being exchanged; the initiator repeats the request.";
    RateLimited, "rate_limited", "The request is beyond a limit on the rate of its export or initiator, and as many of its initiator wait as may.";
    CopyInFlight, "copy_in_flight", "A later copy of the request arrived before it was answered: that one is answered.";
    OrderFull, "order_full", "More requests are in flight on this lcore than it can keep in order.";
    NotFenced, "not_fenced", "A change of a mask or reservation waits for requests from before it that the bdev has not completed.";
    FanoutFull, "fanout_full", "Too many wildcard requests are being answered at once.";
    NoMbuf, "no_mbuf", "No mbuf was free for a further answer to a wildcard request.";
    NoRoom, "no_room", "The mbuf has no room for the reply.";
    TxLinkDown, "tx_link_down", "The port took a reply and could not send it: commonly its link was down.";
}

/// A count for each [`DropReason`]. Belongs to one lcore; the reader sums over lcores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropCounters([u64; DropReason::ALL.len()]);

impl Default for DropCounters {
    fn default() -> Self {
        Self([0; DropReason::ALL.len()])
    }
}

impl DropCounters {
    /// Counts one drop.
    #[inline]
    pub fn count(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }

    /// Counts drops that the PMD reported.
    pub fn add(&mut self, reason: DropReason, drops: u64) {
        self.0[reason as usize] += drops;
    }

    /// Drops for this reason so far.
    #[must_use]
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Drops for any reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds the counts of another lcore.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// What was counted after `before`, an earlier state of these counters.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut since = *self;
        for (count, before) in since.0.iter_mut().zip(before.0) {
            *count = count.saturating_sub(before);
        }
        since
    }

    /// Reason and count, zeroes included, in the order of [`DropReason::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().zip(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_fit_for_json_keys() {
        for (i, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i, "the counters are indexed by it");
            assert!(reason.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
            assert!(reason.describe().ends_with('.'));
            assert!(DropReason::ALL[..i].iter().all(|earlier| earlier.name() != reason.name()));
        }
    }

    #[test]
    fn counts_by_reason_and_merges() {
        let mut one = DropCounters::default();
        one.count(DropReason::TooShort);
        one.count(DropReason::TooShort);
        let mut two = DropCounters::default();
        two.count(DropReason::TooShort);
        two.count(DropReason::TxLinkDown);
        one.merge(&two);
        assert_eq!(one.get(DropReason::TooShort), 3);
        assert_eq!(one.total(), 4);
        let seen: Vec<_> = one.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(seen, [(DropReason::TooShort, 3), (DropReason::TxLinkDown, 1)]);
    }
}
