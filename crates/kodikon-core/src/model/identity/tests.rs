//! What is signed, and that a batch and single checks never disagree about it.

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;

use super::*;

#[test]
fn a_signature_holds_for_its_bytes_and_its_signer_alone() {
    let [a, b] = [1, 2].map(|n| Identity::from_secret(&[n; 32]));
    let signature = a.sign(b"seen");
    let mut verifier = Zip215Verifier::default();
    assert!(verifier.verify(&a.public_key(), b"seen", &signature));
    assert!(!verifier.verify(&a.public_key(), b"Seen", &signature));
    assert!(!verifier.verify(&b.public_key(), b"seen", &signature));
    assert!(!verifier.verify(&[0; 32], b"seen", &[0; 64]), "the all-zero key signs nothing");
}

#[test]
fn more_signers_than_are_kept_unpacked_sign_as_the_first_did_and_a_refused_key_stays_refused() {
    let signers: Vec<Identity> = (0..2 * KEYS_KEPT).map(|n| Identity::from_secret(&[n as u8 + 1; 32])).collect();
    let mut verifier = Zip215Verifier::default();
    for _ in 0..2 {
        for (signer, next) in signers.iter().zip(signers.iter().cycle().skip(1)) {
            let signature = signer.sign(b"seen");
            assert!(verifier.verify(&signer.public_key(), b"seen", &signature));
            assert!(!verifier.verify(&next.public_key(), b"seen", &signature));
            assert!(!verifier.verify(&[0; 32], b"seen", &[0; 64]));
        }
    }
    assert_eq!(verifier.keys.len(), KEYS_KEPT);
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

#[test]
fn a_batch_and_single_checks_hold_of_the_same_signatures() {
    let mut cases = honest_cases();
    cases.extend(forged_cases());
    cases.extend(torsion_cases());
    cases.extend(encoding_cases());
    let others =
        [Said::by(&Identity::from_secret(&[1; 32]), b"before"), Said::by(&Identity::from_secret(&[2; 32]), b"after")];
    for (name, said, holds) in &cases {
        let claims = [others[0].claim(), said.claim(), others[1].claim()];
        let single = Zip215Verifier::default().verify(&said.public_key, &said.message, &said.signature);
        assert_eq!(single, *holds, "{name}, alone");
        assert_eq!(holds_as_batch(&claims), *holds, "{name}, in a batch");
        assert_eq!(Zip215Verifier::default().verify_all(&claims), [true, *holds, true], "{name}, among others");
    }
    // What holds must hold in one batch as well, parts of small order and all.
    let held: Vec<Claim<'_>> = cases.iter().filter(|(_, _, holds)| *holds).map(|(_, said, _)| said.claim()).collect();
    assert!(held.len() > 60 && holds_as_batch(&held));
    let all: Vec<Claim<'_>> = cases.iter().map(|(_, said, _)| said.claim()).collect();
    assert_eq!(
        Zip215Verifier::default().verify_all(&all),
        cases.iter().map(|(_, _, holds)| *holds).collect::<Vec<_>>()
    );
}

#[test]
fn false_claims_do_not_cancel_each_other_out_in_a_batch() {
    // Added up without factors the two errors are nothing.
    let identity = Identity::from_secret(&[1; 32]);
    let [mut more, mut less] = [Said::by(&identity, b"one"), Said::by(&identity, b"two")];
    more.add_to_s(Scalar::ONE);
    less.add_to_s(-Scalar::ONE);
    let claims = [more.claim(), less.claim()];
    assert!(!holds_as_batch(&claims));
    assert_eq!(Zip215Verifier::default().verify_all(&claims), [false, false]);
}

#[test]
fn the_factors_of_a_batch_follow_from_every_bit_of_it() {
    let said = [Said::by(&Identity::from_secret(&[1; 32]), b"one"), Said::by(&Identity::from_secret(&[2; 32]), b"two")];
    let seed = batch_seed(&[said[0].claim(), said[1].claim()]);
    assert_eq!(seed, batch_seed(&[said[0].claim(), said[1].claim()]), "the same for the same");
    assert_ne!(seed, batch_seed(&[said[1].claim(), said[0].claim()]), "the order");
    for changed in flipped(&said[1]) {
        assert_ne!(seed, batch_seed(&[said[0].claim(), changed.claim()]), "{changed:?}");
    }
}

#[test]
fn no_key_of_small_order_signs_and_every_other_may() {
    let encodings: Vec<[u8; 32]> = SMALL_ORDER
        .iter()
        .flat_map(|y| [0, 0x80].map(|sign| [&y[..31], &[y[31] | sign]].concat().try_into().expect("32 bytes")))
        .collect();
    for point in EIGHT_TORSION {
        assert!(encodings.contains(&point.compress().to_bytes()), "{point:?}");
    }
    for encoding in &encodings {
        let point = CompressedEdwardsY(*encoding).decompress().expect("a point");
        assert!(point.is_small_order(), "{encoding:?}");
        // R is the neutral point and s is zero: without the rule it would hold for every message.
        let mut signature = [0; 64];
        signature[0] = 1;
        let said = Said { public_key: *encoding, message: b"anything".to_vec(), signature };
        assert!(!Zip215Verifier::default().verify(&said.public_key, &said.message, &said.signature), "{encoding:?}");
        assert!(!holds_as_batch(&[said.claim(), said.claim()]), "{encoding:?}");
    }
    for n in 0..=255 {
        assert!(!is_of_small_order(&Identity::from_secret(&[n; 32]).public_key()), "{n}");
    }
}

/// A claim that owns its bytes.
#[derive(Debug, Clone)]
struct Said {
    public_key: [u8; 32],
    message: Vec<u8>,
    signature: Signature,
}

impl Said {
    fn by(identity: &Identity, message: &[u8]) -> Self {
        Self { public_key: identity.public_key(), message: message.to_vec(), signature: identity.sign(message) }
    }

    /// Signed by whoever knows the key, with parts of small order in the key and in R, and R encoded as given if it is.
    fn twisted(r: Scalar, key_part: EdwardsPoint, r_part: EdwardsPoint, r_encoding: Option<[u8; 32]>) -> Self {
        let (a, message) = (Scalar::from(0xdead_beef_u64), b"twisted".to_vec());
        let public_key = (ED25519_BASEPOINT_POINT * a + key_part).compress().to_bytes();
        let r_bytes = r_encoding.unwrap_or_else(|| (ED25519_BASEPOINT_POINT * r + r_part).compress().to_bytes());
        let hash = ring::digest::digest(&ring::digest::SHA512, &[&r_bytes[..], &public_key, &message].concat());
        let k = Scalar::from_bytes_mod_order_wide(hash.as_ref().try_into().expect("64 bytes"));
        let signature = [r_bytes, (r + k * a).to_bytes()].concat().try_into().expect("64 bytes");
        Self { public_key, message, signature }
    }

    fn claim(&self) -> Claim<'_> {
        Claim { public_key: &self.public_key, message: self.message.clone(), signature: &self.signature }
    }

    fn add_to_s(&mut self, more: Scalar) {
        let s = Scalar::from_bytes_mod_order(self.signature[32..].try_into().expect("32 bytes")) + more;
        self.signature[32..].copy_from_slice(s.as_bytes());
    }
}

type Case = (String, Said, bool);

fn honest_cases() -> Vec<Case> {
    let identity = Identity::from_secret(&[3; 32]);
    [&b""[..], b"x", &[7; 2_000]]
        .map(|message| (format!("{} bytes", message.len()), Said::by(&identity, message), true))
        .into()
}

fn forged_cases() -> Vec<Case> {
    let (identity, other) = (Identity::from_secret(&[3; 32]), Identity::from_secret(&[4; 32]));
    let said = Said::by(&identity, b"said");
    let mut wrong_key = said.clone();
    wrong_key.public_key = other.public_key();
    let mut of_another = said.clone();
    of_another.signature = identity.sign(b"else");
    let mut other_s = said.clone();
    other_s.add_to_s(Scalar::ONE);
    let nothing = Said { signature: [0; 64], ..said.clone() };
    let mut cases = vec![
        ("another key".into(), wrong_key, false),
        ("another message".into(), of_another, false),
        ("another s".into(), other_s, false),
        ("no signature".into(), nothing, false),
    ];
    cases.extend(flipped(&said).into_iter().map(|changed| (format!("a flipped bit: {changed:?}"), changed, false)));
    cases
}

/// The same with one bit of each byte flipped.
fn flipped(said: &Said) -> Vec<Said> {
    let (key, message, signature) = (said.public_key.len(), said.message.len(), said.signature.len());
    let flip = |at: usize| {
        let mut changed = said.clone();
        let mut bytes = changed.public_key.iter_mut().chain(&mut changed.message).chain(&mut changed.signature);
        *bytes.nth(at).expect("a byte") ^= 1 << (at % 8);
        changed
    };
    (0..key + message + signature).map(flip).collect()
}

/// Where the strict rules of RFC 8032 say no, and a batch without the factor 8 says yes by chance.
fn torsion_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (i, key_part) in EIGHT_TORSION.into_iter().enumerate() {
        for (j, r_part) in EIGHT_TORSION.into_iter().enumerate() {
            let said = Said::twisted(Scalar::from(7_u64 + (i * 8 + j) as u64), key_part, r_part, None);
            let mut forged = said.clone();
            forged.add_to_s(Scalar::ONE);
            cases.push((format!("parts {i} and {j} of small order"), said, true));
            cases.push((format!("forged, with parts {i} and {j} of small order"), forged, false));
        }
    }
    cases
}

fn encoding_cases() -> Vec<Case> {
    // The neutral point as y = 2^255 - 18, the same as 1: an encoding that nobody's library makes.
    let neutral = SMALL_ORDER[4];
    let (none, one) = (EIGHT_TORSION[0], Scalar::ONE);
    let said = Said::by(&Identity::from_secret(&[3; 32]), b"said");
    let mut long_s = said.clone();
    // The order of the group, little-endian: s + order is the same number to the equation, and refused.
    let order = (-Scalar::ONE).to_bytes();
    let mut carry = 1_u16;
    for (to, add) in long_s.signature[32..].iter_mut().zip(order) {
        carry += u16::from(*to) + u16::from(add);
        *to = carry as u8;
        carry >>= 8;
    }
    let no_point = (2..).map(|y: u8| [&[y][..], &[0; 31]].concat().try_into().expect("32 bytes"));
    let no_point: [u8; 32] =
        no_point.into_iter().find(|y| CompressedEdwardsY(*y).decompress().is_none()).expect("half are none");
    let mut no_r = said.clone();
    no_r.signature[..32].copy_from_slice(&no_point);
    let no_key = Said { public_key: no_point, ..said };
    vec![
        ("R in its other encoding".into(), Said::twisted(Scalar::ZERO, none, none, Some(neutral)), true),
        ("R in its other encoding, of another point".into(), Said::twisted(one, none, none, Some(neutral)), false),
        ("s beyond the order".into(), long_s, false),
        ("R is no point".into(), no_r, false),
        ("the key is no point".into(), no_key, false),
    ]
}
