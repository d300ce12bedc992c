//! Decides nothing beyond the trait: a store that ends with the process, for `--in-memory` and tests.

use std::collections::BTreeMap;

use super::{IdentitySeed, Store, StoreError, check_name, epoch_after};
use crate::sys;

/// Keeps everything in memory.
///
/// It grows with the number of names, which the program fixes, not the network.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    identity: Option<IdentitySeed>,
    epoch: u32,
    files: BTreeMap<String, Vec<u8>>,
}

impl MemoryStore {
    /// Makes an empty store; its identity is drawn when it is first asked for.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }
}

impl Store for MemoryStore {
    fn identity(&mut self) -> Result<IdentitySeed, StoreError> {
        if let Some(identity) = &self.identity {
            return Ok(identity.clone());
        }
        let mut seed = [0; 32];
        sys::random(&mut seed).map_err(|source| StoreError::from_io("getrandom", source))?;
        Ok(self.identity.insert(IdentitySeed(seed)).clone())
    }

    fn replace_identity(&mut self, seed: &IdentitySeed) -> Result<(), StoreError> {
        self.identity = Some(seed.clone());
        Ok(())
    }

    fn next_epoch(&mut self) -> Result<u32, StoreError> {
        self.epoch = epoch_after(self.epoch)?;
        Ok(self.epoch)
    }

    fn raise_epoch(&mut self, used: u32) -> Result<(), StoreError> {
        self.epoch = self.epoch.max(used);
        Ok(())
    }

    fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        check_name(name, bytes.len())?;
        self.files.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn load(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        check_name(name, 0)?;
        Ok(self.files.get(name).cloned())
    }
}
