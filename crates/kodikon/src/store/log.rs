//! Decides what the log's store is: one transaction after the other, what was found at the start, and an end in order.

use std::fmt;

use kodikon_core::effect::log::{Batch, Committed, ReadRows, SavedLog};

use crate::store::StoreError;

/// Where the log lies. Only one thread writes it.
pub(crate) trait LogStore: Send + fmt::Debug {
    /// Finds what the last run left, but for the rows.
    ///
    /// # Errors
    /// When it cannot be read, or was written by a later version.
    fn begin(&mut self) -> Result<SavedLog, StoreError>;

    /// Hands over the rows, some at a time and in any order, and notes on disk that a run has begun. `false`: they are damaged, lie
    /// aside now, and the log begins anew; what was handed over counts for nothing.
    ///
    /// # Errors
    /// When it cannot be read, put aside or begun.
    fn rows(&mut self, hand: &mut dyn FnMut(ReadRows)) -> Result<bool, StoreError>;

    /// Looks at all that is on disk, also at what no row shows, and makes the log anew out of its rows where that is damaged.
    ///
    /// # Errors
    /// When it is damaged and could not be made anew: what is committed from now on may be lost.
    fn check(&mut self) -> Result<(), StoreError>;

    /// Looks whether what is written is where the next run looks for it, and writes it there anew where it was removed.
    ///
    /// # Errors
    /// When it is not, and could not be written there.
    fn look(&mut self) -> Result<(), StoreError>;

    /// Carries out several transactions as one: all of it is durable when this returns, or nothing was changed.
    ///
    /// # Errors
    /// When it cannot be made durable.
    fn commit(&mut self, batches: &[Batch]) -> Result<Committed, StoreError>;

    /// Notes that the run ended in order: everything that was shown is on disk.
    ///
    /// # Errors
    /// When it cannot be made durable; the next run then takes this one for cut off.
    fn end(&mut self) -> Result<(), StoreError>;
}

/// A log that ends with the process, for `--in-memory` and tests.
#[derive(Debug, Default)]
pub(crate) struct MemoryLog;

impl LogStore for MemoryLog {
    fn begin(&mut self) -> Result<SavedLog, StoreError> {
        Ok(SavedLog::default())
    }

    fn rows(&mut self, _: &mut dyn FnMut(ReadRows)) -> Result<bool, StoreError> {
        Ok(true)
    }

    fn check(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn look(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn commit(&mut self, _: &[Batch]) -> Result<Committed, StoreError> {
        Ok(Committed::InMemory)
    }

    fn end(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
