//! Decides how a node proves that its words are its own: Ed25519 keys, and the door through which signatures are checked.

use core::fmt;

use ed25519_zebra::{SigningKey, VerificationKey, VerificationKeyBytes, batch};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use x25519_dalek::{PublicKey as ExchangeKey, StaticSecret};
use zeroize::Zeroizing;

use crate::ground::id::NodeId;

/// An Ed25519 signature.
pub type Signature = [u8; 64];

/// A node's secret: made at first start, kept in a file only its owner reads.
pub struct Identity {
    signing: Zeroizing<SigningKey>,
    exchange: StaticSecret,
    id: NodeId,
}

impl Identity {
    /// The identity that belongs to a 32-byte secret.
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        let signing = Zeroizing::new(SigningKey::from_bytes(secret));
        // A key of its own for the exchange, so that no secret serves two algorithms.
        let exchange = Zeroizing::new(blake3::derive_key("kodikon mesh 2026-11 exchange key", secret));
        Self { id: NodeId::of(&signing.verification_key().into()), exchange: StaticSecret::from(*exchange), signing }
    }

    /// Who this is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The Ed25519 public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.signing.verification_key().into()
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

/// What is said to be signed: by whom, which bytes, and the signature. Not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The key that is said to have signed.
    pub public_key: &'a [u8; 32],
    /// What is said to be signed.
    pub message: Vec<u8>,
    /// What is said to be its signature.
    pub signature: &'a Signature,
}

/// Checks signatures. Passed in, so that the simulator can check each one once for a thousand receivers.
pub trait Verifier: Send + fmt::Debug {
    /// Whether the holder of `public_key` signed `message`.
    fn verify(&mut self, public_key: &[u8; 32], message: &[u8], signature: &Signature) -> bool;

    /// Whether each claim holds, in their order: what [`Verifier::verify`] says of each, and maybe sooner.
    fn verify_all(&mut self, claims: &[Claim<'_>]) -> Vec<bool> {
        claims.iter().map(|claim| self.verify(claim.public_key, &claim.message, claim.signature)).collect()
    }
}

/// The verifier of real nodes: every signature is checked, by the rules of ZIP 215, and no key of small order signs anything.
///
/// ZIP 215 asks whether `[8][s]B = [8]R + [8][k]A`, with `s` below the order of the group and with any encoding of the points. The factor
/// 8 takes the parts of small order out of both sides, so that a batch and a single check hold of the very same signatures. Under the
/// rules of RFC 8032 they do not, and nodes that disagree about what is signed never agree again.
#[derive(Debug, Default)]
pub struct Zip215Verifier {
    /// Keys that were used last, unpacked, which is a tenth of a check; the newest is last.
    keys: Vec<VerificationKey>,
}

/// Keys that are kept unpacked, 250 bytes each: those who say something together, as the fleet does at a start.
const KEYS_KEPT: usize = 32;

impl Zip215Verifier {
    fn key(&mut self, public_key: &[u8; 32]) -> Option<VerificationKey> {
        if let Some(key) = self.keys.iter().rev().find(|key| key.as_ref() == public_key) {
            return Some(*key);
        }
        let key = VerificationKey::try_from(*public_key).ok().filter(|_| !is_of_small_order(public_key))?;
        if self.keys.len() >= KEYS_KEPT {
            self.keys.remove(0);
        }
        self.keys.push(key);
        Some(key)
    }
}

impl Verifier for Zip215Verifier {
    fn verify(&mut self, public_key: &[u8; 32], message: &[u8], signature: &Signature) -> bool {
        self.key(public_key).is_some_and(|key| key.verify(&(*signature).into(), message).is_ok())
    }

    /// Checks all as one batch. Where that fails each is checked alone, and not by halves: whoever puts a forged one into each batch
    /// makes us pay once more for the batch, a third of what the single checks cost without it.
    fn verify_all(&mut self, claims: &[Claim<'_>]) -> Vec<bool> {
        if claims.len() > 1 && holds_as_batch(claims) {
            return vec![true; claims.len()];
        }
        claims.iter().map(|claim| self.verify(claim.public_key, &claim.message, claim.signature)).collect()
    }
}

/// Whether all hold, which one that does not makes false but for a chance of 2^-128.
fn holds_as_batch(claims: &[Claim<'_>]) -> bool {
    if claims.iter().any(|claim| is_of_small_order(claim.public_key)) {
        return false;
    }
    let mut batch = batch::Verifier::new();
    for claim in claims {
        let key = VerificationKeyBytes::from(*claim.public_key);
        batch.queue((key, (*claim.signature).into(), &claim.message[..]));
    }
    batch.verify(ChaCha8Rng::from_seed(batch_seed(claims))).is_ok()
}

/// From what the factors of a batch are drawn, by which false claims would have to cancel each other out.
///
/// They need not be secret, but nobody may know them before all claims stand. Here they follow from a hash of all of them: whoever
/// changes one bit of one has other factors for all, and would have to try 2^128 batches. So the core needs no chance for it.
fn batch_seed(claims: &[Claim<'_>]) -> [u8; 32] {
    let mut hash = blake3::Hasher::new_derive_key("kodikon mesh 2026-11 batch of signatures");
    for claim in claims {
        hash.update(&(claim.message.len() as u64).to_le_bytes());
        hash.update(claim.public_key);
        hash.update(claim.signature);
        hash.update(&claim.message);
    }
    *hash.finalize().as_bytes()
}

/// Whether everybody could sign for a key: it encodes one of the eight points whose order divides 8, in one of fourteen ways.
fn is_of_small_order(public_key: &[u8; 32]) -> bool {
    let mut y = *public_key;
    y[31] &= 0x7f;
    SMALL_ORDER.contains(&y)
}

/// The `y` of the points whose order divides 8, little-endian: the sign of `x` is left out, and those below 19 stand once more with
/// 2^255 - 19 added, which is the same number.
const SMALL_ORDER: [[u8; 32]; 7] = [
    filled(0x00, 0x00, 0x00),
    filled(0x01, 0x00, 0x00),
    filled(0xec, 0xff, 0x7f),
    filled(0xed, 0xff, 0x7f),
    filled(0xee, 0xff, 0x7f),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// Bytes of which all are the same but the first and the last.
const fn filled(first: u8, others: u8, last: u8) -> [u8; 32] {
    let mut bytes = [others; 32];
    (bytes[0], bytes[31]) = (first, last);
    bytes
}

#[cfg(test)]
mod tests;
