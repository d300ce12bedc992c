//! The command line of the registry: what is added, found, removed, and moved in and out.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use clap::builder::NonEmptyStringValueParser;
use kodikon::{RECORD_TTL_LEAST, RECORD_TTL_MOST};

use super::NodeArgs;
use crate::moment::moment;
use crate::span::seconds;

/// How the numbers of an embedding may be stored.
const DTYPES: [&str; 3] = ["f16", "f32", "i8"];

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct AddArgs {
    /// What was seen: 1 to 256 bytes
    #[arg(value_name = "HASH", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) hash: String,
    /// What kind of thing it is, at most 64 bytes
    #[arg(long = "type", value_name = "T")]
    pub(crate) data_type: Option<String>,
    /// Its embedding: a file with a JSON array of numbers, or a .npy file with --row; a JSON array from stdin as -
    #[arg(long, value_name = "FILE|-")]
    pub(crate) embedding: Option<String>,
    /// Which row of the .npy file, counted from 0
    #[arg(long, value_name = "N", requires = "embedding")]
    pub(crate) row: Option<u64>,
    #[command(flatten)]
    pub(crate) space: SpaceArgs,
    /// What else is known: a JSON object of at most 4 KiB
    #[arg(long, value_name = "JSON")]
    pub(crate) metadata: Option<String>,
    /// How sure it is: 0 to 1 [default: 1]
    #[arg(long, value_name = "C", value_parser = confidence, allow_negative_numbers = true)]
    pub(crate) confidence: Option<f64>,
    /// How long it lasts: seconds, or with a unit as 90s, 2h, 7d [default: 7d; at most 90d]
    #[arg(long, value_name = "D", value_parser = ttl, allow_negative_numbers = true)]
    pub(crate) ttl: Option<f64>,
    /// Keep it on this node: no other learns of it
    #[arg(long)]
    pub(crate) local: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

/// In which space embeddings lie.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct SpaceArgs {
    /// The model that made the embedding, at most 64 bytes: those of different models are not compared
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// How its numbers are stored, on all nodes [default: f16]
    #[arg(long, value_name = "DTYPE", value_parser = DTYPES)]
    pub(crate) dtype: Option<String>,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct GetArgs {
    /// Of what
    #[arg(value_name = "HASH", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) hash: String,
    /// With the numbers of the embeddings (JSON)
    #[arg(long)]
    pub(crate) with_embedding: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct DeleteArgs {
    /// Of what
    #[arg(value_name = "HASH", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) hash: String,
    /// Those that others have seen, too, where registry.deletes is `all`
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

/// What the sightings that are meant have in common.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct TraitArgs {
    /// Of this kind
    #[arg(long = "type", value_name = "T")]
    pub(crate) data_type: Option<String>,
    /// Seen by this node
    #[arg(long = "node", value_name = "NODE")]
    pub(crate) by: Option<String>,
    /// Seen then or later: RFC 3339 (2026-11-26T08:00:00Z), seconds since 1970, or a span with its unit for so long ago (10m)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Option<f64>,
    /// Seen then or before
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) until: Option<f64>,
    /// Whose metadata has this: `*` matches any run of characters, `a.b` names the member b of a (may be repeated)
    #[arg(long = "where", value_name = "K=V")]
    pub(crate) conditions: Vec<String>,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct FindArgs {
    #[command(flatten)]
    pub(crate) traits: TraitArgs,
    /// All that is held here, not the registry of the mesh alone: what stays on this node, too
    #[arg(long)]
    pub(crate) local: bool,
    /// So many at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(crate) limit: u32,
    /// With the numbers of the embeddings (JSON)
    #[arg(long)]
    pub(crate) with_embedding: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct ImportArgs {
    /// JSON Lines of records as `export` writes them, from stdin as -, or a .npy file of embeddings
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The kind of those that name none
    #[arg(long = "type", value_name = "T")]
    pub(crate) data_type: Option<String>,
    /// How the hashes of a .npy file begin; they end in the number of the row, from 0
    #[arg(long, value_name = "P")]
    pub(crate) prefix: Option<String>,
    #[command(flatten)]
    pub(crate) space: SpaceArgs,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct ExportArgs {
    /// JSON Lines, to stdout as -, or a .npy file with --prefix
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// How the hashes begin that go into a .npy file; the number behind that is the row
    #[arg(long, value_name = "P")]
    pub(crate) prefix: Option<String>,
    #[command(flatten)]
    pub(crate) traits: TraitArgs,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

/// How sure somebody is.
fn confidence(text: &str) -> Result<f64, String> {
    let given: f64 = text.parse().map_err(|_| format!("`{text}` is no number: 0 to 1 is taken"))?;
    // NaN is in no range.
    if (0.0..=1.0).contains(&given) { Ok(given) } else { Err(format!("confidence is {given}: 0 to 1 is taken")) }
}

/// Seconds for which a record may last.
fn ttl(text: &str) -> Result<f64, String> {
    seconds(text, "a record lasts", &(RECORD_TTL_LEAST..=RECORD_TTL_MOST))
}
