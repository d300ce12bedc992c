//! A reader of the few things of CDDL (RFC 8610) that docs/kodikon.cddl uses, and whether a CBOR item follows a rule.

use std::collections::{BTreeMap, BTreeSet};

use crate::cbor::{Cbor, sequence};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Type {
    Choice(Vec<Self>),
    Number(u64),
    Rule(String),
    Bytes(Size),
    /// Bytes that hold one item of a rule.
    Inside(String),
    Text(Size),
    Uint(u64),
    Bool,
    /// Of eight bytes.
    Float,
    Array(Vec<Entry>),
    Map(Vec<Entry>),
}

/// From and to how many bytes.
type Size = (u64, u64);
const ANY: Size = (0, u64::MAX);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    optional: bool,
    repeated: bool,
    key: Option<u64>,
    what: Type,
}

/// All rules of a paper, and what of them was used.
#[derive(Debug)]
pub(crate) struct Rules {
    rules: BTreeMap<String, Type>,
    used: BTreeSet<String>,
}

impl Rules {
    pub(crate) fn read(text: &str) -> Self {
        let mut words = words(text);
        words.reverse();
        let mut reader = Reader(words);
        let mut rules = BTreeMap::new();
        while let Some(name) = reader.0.pop() {
            reader.expect("=");
            assert!(rules.insert(name.clone(), reader.choice()).is_none(), "{name} is there twice");
        }
        Self { rules, used: BTreeSet::new() }
    }

    /// What is wrong with an item under a rule, if anything.
    pub(crate) fn check(&mut self, rule: &str, item: &Cbor) -> Result<(), String> {
        self.used.insert(rule.to_owned());
        let what = self.rules.get(rule).unwrap_or_else(|| panic!("there is no rule {rule}")).clone();
        self.fits(rule, &what, item)
    }

    fn fits(&mut self, place: &str, what: &Type, item: &Cbor) -> Result<(), String> {
        let is_within = |length: usize, (from, to): Size| (from..=to).contains(&(length as u64));
        let fine = match (what, item) {
            (Type::Choice(types), _) => {
                let faults: Vec<String> = types.iter().map_while(|what| self.fits(place, what, item).err()).collect();
                return if faults.len() < types.len() { Ok(()) } else { Err(faults.join("; ")) };
            }
            (Type::Rule(name), _) => return self.check(name, item),
            (Type::Inside(name), Cbor::Bytes(bytes)) => match &sequence(bytes)[..] {
                [one] => return self.check(name, one),
                _ => false,
            },
            (Type::Array(entries), Cbor::Array(items)) => return self.array(place, entries, items),
            (Type::Map(entries), Cbor::Map(fields)) => return self.map(place, entries, fields),
            (Type::Number(number), Cbor::Uint(value)) => number == value,
            (Type::Uint(max), Cbor::Uint(value)) => value <= max,
            (Type::Bytes(size), Cbor::Bytes(bytes)) => is_within(bytes.len(), *size),
            (Type::Text(size), Cbor::Text(text)) => is_within(text.len(), *size),
            (Type::Bool, Cbor::Bool(_)) | (Type::Float, Cbor::Float(_)) => true,
            _ => false,
        };
        if fine { Ok(()) } else { Err(format!("{place}: {item:?} is not {what:?}")) }
    }

    fn array(&mut self, place: &str, entries: &[Entry], items: &[Cbor]) -> Result<(), String> {
        if let [Entry { repeated: true, what, .. }] = entries {
            return items.iter().try_for_each(|item| self.fits(place, what, item));
        }
        if entries.len() != items.len() {
            return Err(format!("{place}: {} items, {} are ruled", items.len(), entries.len()));
        }
        entries.iter().zip(items).try_for_each(|(entry, item)| self.fits(place, &entry.what, item))
    }

    fn map(&mut self, place: &str, entries: &[Entry], fields: &[(Cbor, Cbor)]) -> Result<(), String> {
        let mut left: BTreeMap<u64, &Entry> = entries.iter().map(|e| (e.key.expect("a key in a map"), e)).collect();
        let mut highest = None;
        for (key, value) in fields {
            let Cbor::Uint(key) = key else { return Err(format!("{place}: key {key:?}")) };
            if highest.replace(*key) >= Some(*key) {
                return Err(format!("{place}: key {key} is out of order"));
            }
            let entry = left.remove(key).ok_or_else(|| format!("{place}: no key {key} is ruled"))?;
            let place = format!("{place}.{key}");
            self.used.insert(place.clone());
            self.fits(&place, &entry.what, value)?;
        }
        let missing = left.values().find(|entry| !entry.optional);
        missing.map_or(Ok(()), |entry| Err(format!("{place}: key {:?} is missing", entry.key)))
    }

    /// Rules and keys that nothing has used.
    pub(crate) fn unused(&self) -> Vec<String> {
        let mut declared: BTreeSet<String> = self.rules.keys().cloned().collect();
        self.rules.iter().for_each(|(name, what)| keys(name, what, &mut declared));
        declared.difference(&self.used).cloned().collect()
    }

    /// The numbers of the messages, by the names of their rules.
    pub(crate) fn numbers(&self) -> BTreeMap<u64, String> {
        let Some(Type::Choice(messages)) = self.rules.get("message") else { panic!("message is a choice") };
        let number = |message: &Type| {
            let Type::Rule(name) = message else { panic!("a message is a rule, not {message:?}") };
            let Some(Type::Array(entries)) = self.rules.get(name) else { panic!("{name} is an array") };
            let Type::Number(number) = entries[0].what else { panic!("{name} begins with its number") };
            (number, name.clone())
        };
        messages.iter().map(number).collect()
    }
}

fn keys(place: &str, what: &Type, found: &mut BTreeSet<String>) {
    match what {
        Type::Map(entries) => {
            for entry in entries {
                let place = format!("{place}.{}", entry.key.expect("a key in a map"));
                keys(&place, &entry.what, found);
                found.insert(place);
            }
        }
        Type::Array(entries) => entries.iter().for_each(|entry| keys(place, &entry.what, found)),
        Type::Choice(types) => types.iter().for_each(|what| keys(place, what, found)),
        Type::Number(_)
        | Type::Rule(_)
        | Type::Bytes(_)
        | Type::Inside(_)
        | Type::Text(_)
        | Type::Uint(_)
        | Type::Bool
        | Type::Float => {}
    }
}

/// Names, numbers, and signs one by one; comments left out.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for line in text.lines().map(|line| line.split(';').next().unwrap_or_default()) {
        let mut word = String::new();
        for c in line.chars().chain([' ']) {
            if c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_') {
                word.push(c);
                continue;
            }
            words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
            words.extend(Some(c.to_string()).filter(|_| !c.is_whitespace()));
        }
    }
    words
}

/// The words that are left, the next one last.
struct Reader(Vec<String>);

impl Reader {
    fn next(&mut self) -> String {
        self.0.pop().expect("a rule goes on")
    }

    fn takes(&mut self, word: &str) -> bool {
        let there = self.0.last().is_some_and(|next| next == word);
        if there {
            self.0.pop();
        }
        there
    }

    fn expect(&mut self, word: &str) {
        let next = self.next();
        assert_eq!(next, word, "before {:?}", self.0.last());
    }

    fn choice(&mut self) -> Type {
        let mut types = vec![self.one()];
        while self.takes("/") {
            types.push(self.one());
        }
        if types.len() == 1 { types.remove(0) } else { Type::Choice(types) }
    }

    fn one(&mut self) -> Type {
        let word = self.next();
        match word.as_str() {
            "{" => Type::Map(self.entries("}")),
            "[" => Type::Array(self.entries("]")),
            "bool" => Type::Bool,
            "float64" => Type::Float,
            "bstr" if self.takes(".cbor") => Type::Inside(self.next()),
            "bstr" => Type::Bytes(self.size()),
            "tstr" => Type::Text(self.size()),
            "uint" => {
                let (_, bytes) = self.size();
                Type::Uint(if bytes >= 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 })
            }
            _ => word.parse().map_or(Type::Rule(word), Type::Number),
        }
    }

    /// `.size 4` or `.size (1..64)`, or nothing.
    fn size(&mut self) -> Size {
        if !self.takes(".size") {
            return ANY;
        }
        let is_range = self.takes("(");
        let size = self.next();
        if is_range {
            self.expect(")");
        }
        let (from, to) = size.split_once("..").unwrap_or((&size, &size));
        (from.parse().expect("a number"), to.parse().expect("a number"))
    }

    fn entries(&mut self, end: &str) -> Vec<Entry> {
        let mut entries = Vec::new();
        while !self.takes(end) {
            let (optional, repeated) = (self.takes("?"), self.takes("*"));
            let mut what = self.choice();
            let mut key = None;
            if self.takes(":") {
                let Type::Number(number) = what else { panic!("{what:?} is no key") };
                key = Some(number);
                what = self.choice();
            }
            entries.push(Entry { optional, repeated, key, what });
            assert!(self.takes(",") || self.0.last().is_some_and(|next| next == end), "before {:?}", self.0.last());
        }
        entries
    }
}

#[test]
fn a_rule_is_read_and_what_breaks_it_is_found() {
    let mut rules = Rules::read(
        "a = [1, { 0: n, ? 1: [* b], }] ; comment = x\nb = bstr .size 2 / tstr .size (1..3)\nn = uint .size 1",
    );
    let map = |fields: &[(u64, Cbor)]| {
        let fields = fields.iter().map(|(key, value)| (Cbor::Uint(*key), value.clone())).collect();
        Cbor::Array(vec![Cbor::Uint(1), Cbor::Map(fields)])
    };
    let text = |text: &str| Cbor::Text(text.to_owned());
    let list = |items: &[Cbor]| Cbor::Array(items.to_vec());
    let table = [
        (map(&[(0, Cbor::Uint(255))]), true),
        (map(&[(0, Cbor::Uint(256))]), false),
        (map(&[]), false),
        (map(&[(0, Cbor::Uint(1)), (1, list(&[text("abc"), Cbor::Bytes(vec![1, 2])]))]), true),
        (map(&[(0, Cbor::Uint(1)), (1, list(&[text("abcd")]))]), false),
        (map(&[(0, Cbor::Uint(1)), (1, list(&[Cbor::Bytes(vec![1])]))]), false),
        (map(&[(1, list(&[])), (0, Cbor::Uint(1))]), false),
        (map(&[(0, Cbor::Uint(1)), (2, Cbor::Uint(1))]), false),
        (list(&[Cbor::Uint(1)]), false),
        (Cbor::Bool(true), false),
    ];
    for (item, fits) in table {
        assert_eq!(rules.check("a", &item).is_ok(), fits, "{item:?}: {:?}", rules.check("a", &item));
    }
    assert_eq!(rules.unused(), [""; 0]);
}
