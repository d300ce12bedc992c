//! Decides whether a signature holds: each is really checked once, and remembered for all other receivers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kodikon_core::model::identity::{Signature, Verifier, Zip215Verifier};

/// Verdicts of one generation; two generations are kept, so a verdict in use is never forgotten.
const GENERATION: usize = 32_768;

/// A verifier that all nodes of a run share. A verdict holds for these very bytes: key, message and signature.
#[derive(Debug, Clone, Default)]
pub struct SharedVerifier(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    young: HashMap<[u8; 16], (Box<[u8]>, bool)>,
    old: HashMap<[u8; 16], (Box<[u8]>, bool)>,
    checked: u64,
    verifier: Zip215Verifier,
}

impl SharedVerifier {
    /// How many signatures were really checked.
    #[must_use]
    pub fn checked(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).checked
    }
}

impl Verifier for SharedVerifier {
    fn verify(&mut self, public_key: &[u8; 32], message: &[u8], signature: &Signature) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).verify(public_key, message, signature)
    }
}

impl Memory {
    fn verify(&mut self, public_key: &[u8; 32], message: &[u8], signature: &Signature) -> bool {
        // The middle of a signature is as good as random where it is honest; a forger who repeats it makes us check again.
        let short: [u8; 16] = signature[8..24].try_into().expect("sixteen bytes");
        if let Some((whole, verdict)) = self.young.get(&short)
            && is_same(whole, public_key, message, signature)
        {
            return *verdict;
        }
        let known = self.old.remove(&short).filter(|(whole, _)| is_same(whole, public_key, message, signature));
        let entry = known.unwrap_or_else(|| {
            self.checked += 1;
            let verdict = self.verifier.verify(public_key, message, signature);
            ([public_key, &signature[..], message].concat().into_boxed_slice(), verdict)
        });
        let verdict = entry.1;
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(short, entry);
        verdict
    }
}

fn is_same(whole: &[u8], public_key: &[u8; 32], message: &[u8], signature: &Signature) -> bool {
    whole.len() == 96 + message.len()
        && whole[..32] == public_key[..]
        && whole[32..96] == signature[..]
        && whole[96..] == *message
}

#[cfg(test)]
mod tests {
    use super::*;
    use kodikon_core::model::identity::Identity;

    #[test]
    fn a_signature_is_checked_once_and_no_other_bytes_profit() {
        let identity = Identity::from_secret(&[1; 32]);
        let signature = identity.sign(b"seen");
        let shared = SharedVerifier::default();
        let mut first = shared.clone();
        let mut second = shared.clone();
        assert!(first.verify(&identity.public_key(), b"seen", &signature));
        assert!(second.verify(&identity.public_key(), b"seen", &signature));
        assert_eq!(shared.checked(), 1);
        assert!(!second.verify(&identity.public_key(), b"lied", &signature), "another message");
        assert!(!second.verify(&[9; 32], b"seen", &signature), "another key");
        assert!(second.verify(&identity.public_key(), b"seen", &signature), "and still the true one");
    }
}
