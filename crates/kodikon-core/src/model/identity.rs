//! Decides how a node proves that its words are its own: Ed25519 keys, and the door through which signatures are checked.

use core::fmt;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use x25519_dalek::{PublicKey as ExchangeKey, StaticSecret};
use zeroize::Zeroizing;

use crate::ground::id::NodeId;

/// An Ed25519 signature.
pub type Signature = [u8; 64];

/// A node's secret: made at first start, kept in a file only its owner reads.
pub struct Identity {
    signing: SigningKey,
    exchange: StaticSecret,
    id: NodeId,
}

impl Identity {
    /// The identity that belongs to a 32-byte secret.
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        let signing = SigningKey::from_bytes(secret);
        // A key of its own for the exchange, so that no secret serves two algorithms.
        let exchange = Zeroizing::new(blake3::derive_key("kodikon mesh 2026-11 exchange key", secret));
        Self { id: NodeId::of(signing.verifying_key().as_bytes()), exchange: StaticSecret::from(*exchange), signing }
    }

    /// Who this is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The Ed25519 public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.signing.verifying_key().to_bytes()
    }

    /// The X25519 public key that rides in the card.
    #[must_use]
    pub fn exchange_key(&self) -> [u8; 32] {
        ExchangeKey::from(&self.exchange).to_bytes()
    }

    /// The secret that this node shares with the holder of another exchange key; `None` for a key of low order, with which
    /// everybody would share it.
    #[must_use]
    pub fn shared_secret(&self, theirs: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        let secret = self.exchange.diffie_hellman(&ExchangeKey::from(*theirs));
        secret.was_contributory().then(|| Zeroizing::new(secret.to_bytes()))
    }

    /// Signs bytes; every use prefixes its own purpose, so that no signature serves two.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.signing.sign(message).to_bytes()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.id)
    }
}

/// Checks signatures. Passed in, so that the simulator can check each one once for a thousand receivers.
pub trait Verifier: Send + fmt::Debug {
    /// Whether the holder of `public_key` signed `message`.
    fn verify(&mut self, public_key: &[u8; 32], message: &[u8], signature: &Signature) -> bool;
}

/// The verifier of real nodes: every signature is checked, by the strict rules (RFC 8032 and no small-order keys).
#[derive(Debug, Clone, Copy, Default)]
pub struct StrictVerifier;

impl Verifier for StrictVerifier {
    fn verify(&mut self, public_key: &[u8; 32], message: &[u8], signature: &Signature) -> bool {
        VerifyingKey::from_bytes(public_key)
            .is_ok_and(|key| key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_bytes_and_its_signer_alone() {
        let [a, b] = [1, 2].map(|n| Identity::from_secret(&[n; 32]));
        let signature = a.sign(b"seen");
        let mut verifier = StrictVerifier;
        assert!(verifier.verify(&a.public_key(), b"seen", &signature));
        assert!(!verifier.verify(&a.public_key(), b"Seen", &signature));
        assert!(!verifier.verify(&b.public_key(), b"seen", &signature));
        assert!(!verifier.verify(&[0; 32], b"seen", &[0; 64]), "the all-zero key signs nothing");
    }

    #[test]
    fn two_nodes_share_a_secret_and_a_key_of_low_order_shares_none() {
        let [a, b, c] = [1, 2, 3].map(|n| Identity::from_secret(&[n; 32]));
        let ours = a.shared_secret(&b.exchange_key());
        assert!(ours.is_some());
        assert_eq!(ours, b.shared_secret(&a.exchange_key()));
        assert_ne!(ours, a.shared_secret(&c.exchange_key()));
        for low in [[0; 32], {
            let mut one = [0; 32];
            one[0] = 1;
            one
        }] {
            assert_eq!(a.shared_secret(&low), None, "{low:?}");
        }
    }

    #[test]
    fn the_two_keys_of_an_identity_share_no_bytes() {
        let identity = Identity::from_secret(&[3; 32]);
        assert_ne!(identity.public_key(), identity.exchange_key());
        assert_eq!(identity.id(), NodeId::of(&identity.public_key()));
    }
}
