//! Decides how much of what an application says may wait until it is known what became of it: so many messages, and so many bytes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::SendError;

/// Messages of one node that wait for what becomes of them; one more is refused.
pub const SENDS_WAITING: usize = 4_096;
/// Bytes of them at most: what all queues of a node may hold together. A peer that is gone silent costs no more, however long the
/// messages to it are.
pub const SEND_BYTES_WAITING: usize = 16 << 20;
/// What a message takes beside its text: a byte or a few for each of its fields.
const OVERHEAD: usize = 16;

/// The room for what waits.
#[derive(Debug)]
pub(crate) struct Room {
    places: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// A message's part of the room; free again when dropped.
#[derive(Debug)]
pub(crate) struct Part {
    _place: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Room {
    pub(crate) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(SENDS_WAITING)), bytes: Arc::new(Semaphore::new(SEND_BYTES_WAITING)) }
    }

    /// Takes the part of a message of so many bytes.
    ///
    /// # Errors
    /// [`SendError::Busy`] and [`SendError::Full`]; nothing is taken then.
    pub(crate) fn take(&self, bytes: usize) -> Result<Part, SendError> {
        let busy = SendError::Busy { limit: SENDS_WAITING };
        let full = SendError::Full { limit: SEND_BYTES_WAITING };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| busy)?;
        // What exceeds even this type exceeds the room.
        let bytes = u32::try_from(bytes.saturating_add(OVERHEAD)).unwrap_or(u32::MAX);
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(bytes).map_err(|_| full)?;
        Ok(Part { _place: place, _bytes: bytes })
    }

    /// How many messages wait.
    pub(crate) fn messages(&self) -> usize {
        SENDS_WAITING - self.places.available_permits()
    }

    /// How many bytes of them.
    pub(crate) fn bytes(&self) -> usize {
        SEND_BYTES_WAITING - self.bytes.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_says_which_of_both_limits_is_reached_and_what_is_settled_makes_room() {
        let room = Room::new();
        let mut small: Vec<Part> = (0..SENDS_WAITING).map(|_| room.take(0).unwrap()).collect();
        assert_eq!(room.take(0).err(), Some(SendError::Busy { limit: 4_096 }));
        small.pop();
        assert!(room.take(0).is_ok());
        drop(small);
        assert_eq!((room.messages(), room.bytes()), (0, 0));

        let each = 65_536;
        let mut large: Vec<Part> = Vec::new();
        let refusal = loop {
            match room.take(each) {
                Ok(part) => large.push(part),
                Err(error) => break error,
            }
        };
        assert_eq!(refusal, SendError::Full { limit: 16_777_216 });
        assert_eq!((room.messages(), large.len()), (255, 255), "the refused one keeps no place");
        assert_eq!(room.bytes(), 255 * (each + OVERHEAD));
        assert!(room.take(1_000).is_ok(), "a shorter one may still fit");
        large.pop();
        assert!(room.take(each).is_ok());
        assert_eq!(room.take(usize::MAX - OVERHEAD).err(), Some(SendError::Full { limit: 16_777_216 }));
    }
}
