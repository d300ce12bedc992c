//! Decides within which times the searches are counted that have ended.

use std::time::Duration;

use crate::api::StatsDoc;

/// From a scan of a small registry to a node that is waited for in vain, three to a decade, with the names that they are shown by.
const WITHIN: [(&str, Duration); 12] = [
    ("0.001", Duration::from_millis(1)),
    ("0.0025", Duration::from_micros(2_500)),
    ("0.005", Duration::from_millis(5)),
    ("0.01", Duration::from_millis(10)),
    ("0.025", Duration::from_millis(25)),
    ("0.05", Duration::from_millis(50)),
    ("0.1", Duration::from_millis(100)),
    ("0.25", Duration::from_millis(250)),
    ("0.5", Duration::from_millis(500)),
    ("1", Duration::from_secs(1)),
    ("2.5", Duration::from_millis(2_500)),
    ("5", Duration::from_secs(5)),
];

/// How many searches ended within each of these times.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SearchTimes([u64; WITHIN.len()]);

impl SearchTimes {
    /// A search has ended.
    pub(super) fn note(&mut self, elapsed: Duration) {
        for (count, (_, limit)) in self.0.iter_mut().zip(WITHIN) {
            *count += u64::from(elapsed <= limit);
        }
    }

    /// Enters them into what `stats` shows.
    pub(super) fn add_to(&self, doc: &mut StatsDoc) {
        doc.search_seconds.extend(WITHIN.iter().zip(self.0).map(|((name, _), count)| ((*name).to_owned(), count)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_counts_within_each_time_that_it_did_not_exceed() {
        let mut times = SearchTimes::default();
        for micros in [1, 1_000, 1_001, 50_000, 5_000_000, 5_000_001] {
            times.note(Duration::from_micros(micros));
        }
        let mut doc = StatsDoc::default();
        times.add_to(&mut doc);
        let shown: Vec<(&str, u64)> = doc.search_seconds.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        let expected = [2, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 5];
        assert_eq!(shown.iter().map(|(_, count)| *count).collect::<Vec<_>>(), expected, "{shown:?}");
        for ((name, _), (expected, limit)) in shown.iter().zip(WITHIN) {
            assert_eq!(*name, expected, "by name they are in the order of the times");
            assert_eq!(name.parse(), Ok(limit.as_secs_f64()));
        }
    }
}
