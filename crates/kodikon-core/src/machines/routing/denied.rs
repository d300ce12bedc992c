//! Decides who is named for links of which their other ends know nothing. Such links are in no map; but whoever says them for minutes either
//! lies, or hears many who do not hear it.

use std::collections::BTreeSet;

use crate::effect::context::Context;
use crate::ground::excess::Excess;
use crate::ground::id::NodeId;
use crate::ground::time::{Duration, Instant};
use crate::machines::routing::map::Map;

/// How often that is looked at. What changes is told by both ends within seconds.
const EVERY: Duration = Duration::from_secs(60);
/// Fewer may be those who just went.
const MANY: usize = 8;

/// Who said so many when it was looked at last.
#[derive(Debug, Default)]
pub(super) struct Denied {
    next: Option<Instant>,
    before: BTreeSet<NodeId>,
}

impl Denied {
    /// Names whoever says for a minute what others deny, for each minute once.
    pub(super) fn look(&mut self, now: Instant, map: &Map, ctx: &mut Context) {
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        self.next = Some(now + EVERY);
        let denied = map.denied();
        let many: BTreeSet<NodeId> =
            denied.into_iter().filter(|(id, count)| *count >= MANY && *id != ctx.me.id).map(|(id, _)| id).collect();
        many.intersection(&self.before).for_each(|id| ctx.offenders.note(id, Excess::Links));
        self.before = many;
    }
}
