//! The command line of searches: to what the nearest are sought, among what, and how sure the answer is to be.

use clap::Args as ClapArgs;
use clap::builder::NonEmptyStringValueParser;
use kodikon::{SEARCH_K_MOST, SEARCH_LEAST, SEARCH_MOST};

use super::NodeArgs;
use super::records::TraitArgs;
use crate::span::seconds;

#[derive(Clone, Debug, ClapArgs)]
#[group(id = "target", required = true, multiple = false, args = ["embedding", "like"])]
pub(crate) struct SearchArgs {
    /// Like this embedding: a file with a JSON array of numbers, or a .npy file with --row; a JSON array from stdin as -
    #[arg(long, value_name = "FILE|-")]
    pub(crate) embedding: Option<String>,
    /// Which row of the .npy file, counted from 0
    #[arg(long, value_name = "N", requires = "embedding")]
    pub(crate) row: Option<u64>,
    /// Like the newest sighting of this hash, which is not among the answers
    #[arg(long, value_name = "HASH", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) like: Option<String>,
    /// The model of the embedding; needed only where several have as many numbers
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// So many at most
    #[arg(short, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=SEARCH_K_MOST as i64))]
    pub(crate) k: u32,
    /// The nearest of all, for certain (the default)
    #[arg(long, conflicts_with = "fast")]
    pub(crate) exact: bool,
    /// Faster, at the price that one in a hundred may be missed
    #[arg(long)]
    pub(crate) fast: bool,
    /// Look only at what the node itself holds: the sightings of all nodes, as far as they have come. Else those are asked, too, who keep
    /// some to themselves, and all while some are on their way
    #[arg(long)]
    pub(crate) local: bool,
    #[command(flatten)]
    pub(crate) traits: TraitArgs,
    /// Seconds that it may take; what was found by then is the answer [default: 5]
    #[arg(long, value_name = "S", value_parser = timeout)]
    pub(crate) timeout: Option<f64>,
    /// With the numbers of the embeddings (JSON)
    #[arg(long)]
    pub(crate) with_embedding: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

/// Seconds that a search may take.
fn timeout(text: &str) -> Result<f64, String> {
    seconds(text, "a search may take", &(SEARCH_LEAST..=SEARCH_MOST))
}
