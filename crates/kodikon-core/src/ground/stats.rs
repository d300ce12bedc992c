//! Decides what is counted: every drop has a reason, every reason a counter.

use core::fmt;

use crate::ground::fair::Class;

/// Why a datagram, or a part of one, was dropped. Counted and forgotten: the network owes us nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reject {
    /// Shorter than a frame or longer than a datagram may be.
    Length,
    /// The first byte names no frame we know: another program, or a JSON datagram of the Python original.
    FrameType,
    /// Sealed under a key epoch we do not hold.
    KeyEpoch,
    /// Did not open: another mesh, a stranger, or damaged on the way.
    Seal,
    /// A counter that was seen before or is too old to tell.
    Replay,
    /// Opened, but what it holds is no message.
    Malformed,
    /// Sealed by a session nobody has proven yet, and no challenge could be afforded.
    Stranger,
    /// A signature that its author did not make.
    Signature,
    /// More signatures to check than the budget allows.
    Budget,
    /// More datagrams than one source may send.
    Rate,
    /// An epoch, life or number below one already known.
    Stale,
    /// The table of peers is full.
    Refused,
    /// A card, key or value beyond its limit.
    Limit,
    /// An answer to a question never asked: a cookie or nonce of somebody else's.
    Unasked,
    /// A letter or a receipt that does not come from whom it names, or is for another run of ours.
    Tag,
    /// Says that it becomes longer than anything may.
    Inflation,
    /// Passed all the relays that it may, and not given on to a neighbour that lacks it: raise `mesh.max_hops`.
    Hops,
}

impl Reject {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 17] = [
        Self::Length,
        Self::FrameType,
        Self::KeyEpoch,
        Self::Seal,
        Self::Replay,
        Self::Malformed,
        Self::Stranger,
        Self::Signature,
        Self::Budget,
        Self::Rate,
        Self::Stale,
        Self::Refused,
        Self::Limit,
        Self::Unasked,
        Self::Tag,
        Self::Inflation,
        Self::Hops,
    ];

    /// The name under which `stats` and the metrics show it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::FrameType => "frame_type",
            Self::KeyEpoch => "key_epoch",
            Self::Seal => "seal",
            Self::Replay => "replay",
            Self::Malformed => "malformed",
            Self::Stranger => "stranger",
            Self::Signature => "signature",
            Self::Budget => "budget",
            Self::Rate => "rate",
            Self::Stale => "stale",
            Self::Refused => "refused",
            Self::Limit => "limit",
            Self::Unasked => "unasked",
            Self::Tag => "tag",
            Self::Inflation => "inflation",
            Self::Hops => "hops",
        }
    }
}

/// What was full when something of this node's, or of those whose letters it carries, had to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crowded {
    /// The letters that wait for one neighbour, or for a way.
    Letters,
    /// The datagrams that wait for one neighbour.
    Neighbour,
    /// The datagrams that wait for all neighbours together.
    Node,
}

impl Crowded {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 3] = [Self::Letters, Self::Neighbour, Self::Node];

    /// The name under which `stats` and the metrics show it, in front of the class.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Letters => "queue_letters",
            Self::Neighbour => "queue_neighbour",
            Self::Node => "queue_node",
        }
    }
}

/// Counters since the node started.
#[derive(Debug, Clone, Default)]
#[doc(alias = "get_network_stats")]
#[non_exhaustive]
pub struct Stats {
    /// Datagrams handed to the driver.
    pub datagrams_sent: u64,
    /// Their bytes, frame included, headers of UDP and below not.
    pub bytes_sent: u64,
    /// Datagrams that opened.
    pub datagrams_received: u64,
    /// Bytes of all datagrams that arrived, good or bad.
    pub bytes_received: u64,
    /// Messages sent, several of which may share a datagram.
    pub messages_sent: u64,
    /// Messages understood.
    pub messages_received: u64,
    /// Heartbeats and beacons sent.
    pub heartbeats_sent: u64,
    /// Peers met for the first time in this run.
    pub peers_discovered: u64,
    /// Messages of a type from a later version, skipped.
    pub unknown_messages: u64,
    /// Challenges sent to sessions nobody had proven.
    pub challenges_sent: u64,
    /// Signatures checked.
    pub signatures_checked: u64,
    /// Probe trains begun after a missed turn.
    pub probes_started: u64,
    /// Verdicts of FAILED this node reached by itself.
    pub verdicts: u64,
    /// Times this node refuted a suspicion about itself.
    pub refutations: u64,
    /// Ops accepted into the live lane.
    pub ops_applied: u64,
    /// Ops of a number that its author had signed before with other words.
    pub equivocations: u64,
    /// Ops of the log that were held and bore no signature of their author: spoilt on a disk.
    pub log_rotten: u64,
    /// Comparisons of what is held begun, where nothing was lacked and the roots differed.
    pub contents_compared: u64,
    /// Digests sent because a foreign root differed.
    pub syncs_started: u64,
    /// Peers that asked to be held and were refused.
    pub peers_refused: u64,
    /// Own stalls over half a second, after which nobody is judged for a while.
    pub stalls: u64,
    /// Letters that the application here wanted sent.
    pub letters_sent: u64,
    /// Attempts of them that left packed.
    pub letters_packed: u64,
    /// Letters handed to the application here.
    pub letters_received: u64,
    /// Letters of this node's that their destination acknowledged.
    pub letters_delivered: u64,
    /// Letters of this node's that were not acknowledged in time, and others' whose time ended here.
    pub letters_expired: u64,
    /// Letters of others that this node brought further.
    pub letters_relayed: u64,
    /// Carryings sent again because nobody took them in time.
    pub letters_retransmitted: u64,
    /// Letters that were here before: dropped, and answered again.
    pub letters_repeated: u64,
    /// Letters given back because no way leads on.
    pub letters_returned: u64,
    /// Letters that made room for more urgent or newer ones.
    pub letters_evicted: u64,
    /// Neighbours that took no letter and answered no probe.
    pub links_doubted: u64,
    /// Casts that this node said to all.
    pub casts_sent: u64,
    /// Casts of the application that were not said: too much waited, or the identity was given up before their turn.
    pub casts_refused: u64,
    /// Casts of others that arrived here for the first time.
    pub casts_received: u64,
    /// Casts, or pieces of them, given to a segment or a neighbour: payload datagrams.
    pub cast_datagrams: u64,
    /// Times a cast was given again to those who did not acknowledge it.
    pub casts_repeated: u64,
    /// Casts that were here before: acknowledged again.
    pub casts_repeated_here: u64,
    /// Times this node gave a cast in the place of a forwarder that it did not hear.
    pub casts_stood_in: u64,
    /// Offers of casts to a segment or a neighbour.
    pub casts_offered: u64,
    /// Acknowledgements of this node's own casts by its neighbours.
    pub casts_acknowledged: u64,
    /// Neighbours that did not acknowledge a cast before its deadline.
    pub casts_unacknowledged: u64,
    /// Casts that made room for more urgent or newer ones before their deadline.
    pub casts_evicted: u64,
    /// Messages that waited before they left, since their neighbour or the link to it takes no more at once.
    pub messages_queued: u64,
    /// Facts told to all about this node's links and the segments that it names.
    pub links_told: u64,
    /// Alerts that this node raised.
    pub alerts_sent: u64,
    /// Alerts of others that were shown to the application here.
    pub alerts_received: u64,
    /// Alerts and acknowledgements that the application wanted told beyond what a node may.
    pub alerts_refused: u64,
    /// Alerts told once more to somebody who had not shown them.
    pub alerts_repeated: u64,
    /// Times this node told an author what it has of its log.
    pub receipts_sent: u64,
    /// Ops accepted into the log.
    pub log_applied: u64,
    /// Ops of the log that made room for others before their time was over.
    pub log_evicted: u64,
    /// Sightings that this node added, and updates of them.
    pub records_added: u64,
    /// Sightings of others that arrived here, and updates of them.
    pub records_received: u64,
    /// Sightings that a delete took back.
    pub records_deleted: u64,
    /// Sightings and deletes that the application wanted and this node refused.
    pub records_refused: u64,
    /// Sightings and deletes of this node's that were not told at once, being more than one may push.
    pub records_unpushed: u64,
    /// Questions for more of the log right after an answer that brought news.
    pub pulls_continued: u64,
    /// Bytes of ops of the log that were pushed here, or told unasked.
    pub log_bytes_pushed: u64,
    /// Bytes of ops of the log that this node asked for and got in datagrams.
    pub log_bytes_pulled: u64,
    /// Bytes of ops of the log that this node asked for and got by a stream.
    pub log_bytes_piped: u64,
    /// Of what this node asked for, bytes of what was here before.
    pub log_bytes_repeated: u64,
    /// Bytes of digests sent, of both lanes.
    pub digest_bytes: u64,
    /// Bytes of frames sent on streams that bring much of the log.
    pub pipe_bytes_sent: u64,
    /// Streams by which this node pulled much of the log.
    pub pipes_taken: u64,
    /// Streams by which this node gave much of the log.
    pub pipes_given: u64,
    /// Streams that this node wanted to pull by and could not have, or that broke.
    pub pipes_failed: u64,
    /// Transactions that the log's store could not carry out.
    pub commits_failed: u64,
    /// Passes over the embeddings, each for one search or several.
    pub scans: u64,
    /// Searches that have ended, with an answer or without.
    pub searches: u64,
    /// Of these, those without an answer in their time.
    pub searches_unanswered: u64,
    /// Searches that could not be answered, or were one too many.
    pub searches_refused: u64,
    /// Questions of this node's searches to others, one for each that was asked.
    pub searches_asked: u64,
    /// Searches handed over to a peer that scans in the place of this node.
    pub searches_handed: u64,
    /// Of these, taken back: declined, not answered in time, or not whole.
    pub searches_taken_back: u64,
    /// Searches of peers that this node did not take over.
    pub searches_declined: u64,
    /// Searches of others that this node answered.
    pub searches_answered: u64,
    /// How long all searches together took that have ended, in microseconds.
    pub search_micros: u64,
    dropped: [u64; Reject::ALL.len()],
    crowded_out: [[u64; Class::ALL.len()]; Crowded::ALL.len()],
}

impl Stats {
    /// Counts a drop.
    pub fn drop(&mut self, reason: Reject) {
        self.dropped[reason as usize] += 1;
    }

    /// How often something was dropped for this reason.
    #[must_use]
    pub fn dropped(&self, reason: Reject) -> u64 {
        self.dropped[reason as usize]
    }

    /// Counts what made room.
    pub fn crowd_out(&mut self, by: Crowded, class: Class) {
        self.crowded_out[by as usize][class as usize] += 1;
    }

    /// How much of a class made room there.
    #[must_use]
    pub fn crowded_out(&self, by: Crowded, class: Class) -> u64 {
        self.crowded_out[by as usize][class as usize]
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        let mut stats = Stats::default();
        for (n, reason) in Reject::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, n, "{reason}");
            stats.drop(reason);
        }
        assert!(Reject::ALL.iter().all(|&reason| stats.dropped(reason) == 1));
        let names: std::collections::BTreeSet<_> = Reject::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reject::ALL.len());
    }

    #[test]
    fn what_makes_room_is_counted_by_what_was_full_and_by_its_class() {
        let mut stats = Stats::default();
        let all = || Crowded::ALL.into_iter().flat_map(|by| Class::ALL.map(|class| (by, class)));
        for (n, (by, class)) in all().enumerate() {
            (0..=n).for_each(|_| stats.crowd_out(by, class));
        }
        for (n, (by, class)) in all().enumerate() {
            assert_eq!(stats.crowded_out(by, class), n as u64 + 1, "{} {}", by.name(), class.name());
        }
    }
}
