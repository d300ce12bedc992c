//! A rule as far as it concerns one probe: whether it fits, and what it does then.

use super::probe::Lies;

/// Whether a rule's conditions are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fits {
    No,
    /// The text does not tell.
    Perhaps,
    Yes,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// It counts, logs or marks.
    Nothing,
    Accept,
    /// Silently or with an answer.
    Drop,
    Return,
    Jump(String),
    Goto(String),
    /// What follows is not in the text: a queue of another program, a map by something that is not known.
    Unclear,
}

/// A rule, read for a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) fits: Fits,
    /// Whether it names a port or the group of the mesh: then the mesh was meant, whatever else it asks for.
    pub(super) names: bool,
    pub(super) deed: Deed,
    /// Whether it names another port of the mesh alone.
    beside: bool,
}

impl Fits {
    pub(super) fn sure(fits: bool) -> Self {
        if fits { Self::Yes } else { Self::No }
    }

    /// Turns it round if the condition is negated.
    pub(super) fn unless(self, negated: bool) -> Self {
        match self {
            Self::No if negated => Self::Yes,
            Self::Yes if negated => Self::No,
            Self::No | Self::Perhaps | Self::Yes => self,
        }
    }
}

impl Rule {
    pub(super) fn new() -> Self {
        Self { fits: Fits::Yes, names: false, deed: Deed::Nothing, beside: false }
    }

    /// Adds a condition.
    pub(super) fn and(&mut self, fits: Fits) {
        self.fits = self.fits.min(fits);
    }

    /// Adds a condition on the port it is for.
    pub(super) fn and_port(&mut self, lies: Lies, negated: bool) {
        match lies {
            Lies::On => self.and(Fits::sure(!negated)),
            Lies::Beside => self.beside |= !negated,
            Lies::Hidden => self.and(Fits::Perhaps),
            Lies::Off => self.and(Fits::sure(negated)),
        }
        self.names |= !negated && matches!(lies, Lies::On | Lies::Beside);
    }

    /// The rule once all is read: one that lets in another port of the mesh does not let in this one, and one that keeps out another
    /// keeps out the next node of this machine.
    pub(super) fn read(mut self) -> Self {
        if self.beside && self.deed != Deed::Drop {
            self.fits = Fits::No;
        }
        self
    }
}
