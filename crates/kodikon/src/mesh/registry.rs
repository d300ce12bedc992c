//! Decides how an application adds sightings to the registry, finds them and removes its own.

use kodikon_core::ground::id::NodeId;
use kodikon_core::ground::time::WallTime;
use kodikon_core::model::letter::Ticket;
use kodikon_core::model::record::{
    Cursor, DISK_FAILS, DeleteOrder, Embedding, Filter as CoreFilter, MAX_DATA_TYPE, MAX_DELETED, MAX_HASH, Page,
    Reach, RecordView, Stored, Whose,
};
use kodikon_scan::Space;
use serde_json::{Map, Value};

use super::record::{Record, RecordError, dtype_by, name_of, parse_op, text};
use super::{Mesh, View, is_called};
use crate::api::{AddedRow, DeletedRow, EmbeddingRow, RecordRow};
use crate::driver::{Added, Compared, Order, Unless};

/// Records that may wait for the disk at once; whoever adds one more waits for its turn. The core takes twice as many.
pub(crate) const ADDS_WAITING: usize = 512;
/// Of those so many may have the loop compare them with many sightings at once, a millisecond a turn each: other orders wait behind them.
pub(crate) const COMPARING: usize = 4;
/// Rows that are found at most if nothing else is said.
pub const FOUND_DEFAULT: usize = 100;
/// Conditions on fields that a search has at most.
pub const CONDITIONS_MOST: usize = 16;
/// Bytes of a condition's name, and of its pattern, at most.
const CONDITION_MOST: usize = 256;

/// Which sightings are wanted: see [`Mesh::find`](crate::Mesh::find). All conditions must hold.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "it says what to look for"]
pub struct Filter {
    data_type: Option<String>,
    node: Option<String>,
    hash: Option<String>,
    since: Option<f64>,
    until: Option<f64>,
    conditions: Vec<(String, String)>,
    local: bool,
    limit: usize,
    after: Option<String>,
    numbers: bool,
}

impl Default for Filter {
    fn default() -> Self {
        Self::new()
    }
}

impl Filter {
    /// All of them, up to 100.
    pub fn new() -> Self {
        Self {
            data_type: None,
            node: None,
            hash: None,
            since: None,
            until: None,
            conditions: Vec::new(),
            local: false,
            limit: FOUND_DEFAULT,
            after: None,
            numbers: false,
        }
    }

    /// Of this kind.
    pub fn data_type(mut self, data_type: impl Into<String>) -> Self {
        self.data_type = Some(data_type.into());
        self
    }

    /// Seen by this node: a name, `name@hhhh` or a whole identity.
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }

    /// Of this hash.
    pub fn hash(mut self, hash: impl Into<String>) -> Self {
        self.hash = Some(hash.into());
        self
    }

    /// Seen at this moment or later, in seconds since 1970 by its author's clock.
    pub fn since(mut self, seconds: f64) -> Self {
        self.since = Some(seconds);
        self
    }

    /// Seen before this moment or at it.
    pub fn until(mut self, seconds: f64) -> Self {
        self.until = Some(seconds);
        self
    }

    /// Whose field of this name is like the pattern, in which `*` stands for any run of characters. A name is that of a member of the
    /// metadata; `a.b` is the member `b` of the object `a`.
    pub fn matching(mut self, field: impl Into<String>, pattern: impl Into<String>) -> Self {
        self.conditions.push((field.into(), pattern.into()));
        self
    }

    /// All that is held here, those among them that stay on this node; without it the registry of the mesh. A search has a word of
    /// its own for whom it asks ([`Query::local`](crate::Query::local)).
    pub fn local(mut self, local: bool) -> Self {
        self.local = local;
        self
    }

    /// So many at most.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Those that follow a list before, by its [`Found::next`].
    pub fn after(mut self, next: impl Into<String>) -> Self {
        self.after = Some(next.into());
        self
    }

    /// With the numbers of their embeddings.
    pub fn with_embedding(mut self, numbers: bool) -> Self {
        self.numbers = numbers;
        self
    }
}

/// Sightings that were found, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Found {
    /// The sightings.
    pub records: Vec<RecordRow>,
    /// Where a further search goes on ([`Filter::after`]); `None`: nothing else is like that.
    pub next: Option<String>,
}

impl Mesh {
    /// Adds a sighting; returns when it is on this node's disk, and then it is on its way to all. Where nothing is kept beyond the
    /// process the answer says so (`durable`).
    ///
    /// ```no_run
    /// # async fn example(mesh: kodikon::Mesh) -> Result<(), Box<dyn std::error::Error>> {
    /// use kodikon::Record;
    /// let added = mesh.add(Record::new("8f3a").data_type("person").embedding([0.1, 0.9], "mobilenet_v2")).await?;
    /// println!("{} is on disk: {}", added.hash_value, added.durable);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A [`RecordError`]: the value that breaks a limit and the limit, or why the node did not take it. Nothing was told to anybody.
    #[doc(alias = "add_hash")]
    #[doc(alias = "HashRegistry")]
    pub async fn add(&self, record: Record) -> Result<AddedRow, RecordError> {
        self.add_one(record, Unless::Nothing).await
    }

    /// The same, but leaves out what is held already: a sighting of the same thing with the same content, whoever's it is. Where the record
    /// says when it was seen all sightings of that moment are compared, else the newest 1,024 of its hash, whenever they were seen. So a
    /// file can be imported again after a break.
    ///
    /// # Errors
    /// As [`Mesh::add`].
    pub async fn add_unless_held(&self, record: Record) -> Result<AddedRow, RecordError> {
        self.add_one(record, Unless::Held(Compared::default())).await
    }

    async fn add_one(&self, record: Record, mut unless: Unless) -> Result<AddedRow, RecordError> {
        let record = record.for_core()?;
        let (hash_value, data_type, seen) = (record.hash_value.clone(), record.data_type.clone(), record.seen);
        let row = |id, timestamp, durable, skipped| AddedRow {
            node_id: self.name(),
            hash_value: hash_value.clone(),
            data_type: data_type.clone(),
            timestamp,
            durable,
            id,
            skipped,
        };
        // Whoever adds one too many waits here, and the core's own table never overflows. It is never closed.
        let _place = self.0.adds.acquire().await.map_err(|_| RecordError::Stopped)?;
        let (mut may_compare, mut record) = (None, Box::new(record));
        loop {
            let added = self.ask(|answer| Order::Add { record, unless, answer }).await;
            match added.map_err(|_| RecordError::Stopped)? {
                Added::Compared(far, same) => {
                    (unless, record) = (Unless::Held(far), same);
                    if may_compare.is_none() {
                        may_compare = Some(self.0.comparing.acquire().await.map_err(|_| RecordError::Stopped)?);
                    }
                }
                Added::Held(view) => {
                    let (id, seen) = (name_of(&view.id), view.wall.seconds());
                    return Ok(AddedRow { node_id: view.source, ..row(id, seen, view.kept, true) });
                }
                Added::Stored(Stored::Done { ids, durable }, wall) => {
                    let id = ids.first().map(name_of).unwrap_or_default();
                    return Ok(row(id, seen.unwrap_or(wall).seconds(), durable, false));
                }
                Added::Stored(Stored::Unknown, _) => return Err(RecordError::Unknown { hash: shorten(&hash_value) }),
                Added::Stored(Stored::Refused { reason }, _) => return Err(refusal(reason)),
            }
        }
    }

    /// All sightings of something, newest first.
    ///
    /// # Errors
    /// [`RecordError::Stopped`].
    #[doc(alias = "lookup")]
    pub async fn get(&self, hash_value: &str) -> Result<Vec<RecordRow>, RecordError> {
        self.get_rows(hash_value, false).await
    }

    /// The same, with the numbers of their embeddings.
    ///
    /// # Errors
    /// [`RecordError::Stopped`].
    pub async fn get_with_embedding(&self, hash_value: &str) -> Result<Vec<RecordRow>, RecordError> {
        self.get_rows(hash_value, true).await
    }

    async fn get_rows(&self, hash_value: &str, numbers: bool) -> Result<Vec<RecordRow>, RecordError> {
        let of_this = CoreFilter { hash: Some(hash_value.to_owned()), ..CoreFilter::default() };
        let (mut rows, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.page(&of_this, cursor, usize::MAX).await?;
            rows.extend(page.records.iter().map(|view| record_row(view, numbers)));
            cursor = page.next;
            if cursor.is_none() {
                return Ok(rows);
            }
        }
    }

    async fn page(&self, filter: &CoreFilter, cursor: Option<Cursor>, most: usize) -> Result<Page, RecordError> {
        let filter = filter.clone();
        let page = self.ask(|answer| Order::Find { filter: Box::new(filter), cursor, most, answer }).await;
        page.map_err(|_| RecordError::Stopped)
    }

    /// Sightings that are like a filter, newest first: of all nodes, as far as this node holds them. Those that stay on this node are
    /// among them if the filter says so ([`Filter::local`]).
    ///
    /// # Errors
    /// [`RecordError::Text`] for a condition that is too long, [`RecordError::Number`] for too many, [`RecordError::Name`] for a place
    /// that no answer named, [`RecordError::Stopped`].
    pub async fn find(&self, filter: Filter) -> Result<Found, RecordError> {
        let reach = if filter.local { Reach::Held } else { Reach::Shared };
        let wanted = CoreFilter { reach, ..filter.for_core(&self.0.board.read())? };
        let mut cursor = match &filter.after {
            None => None,
            Some(next) => Some(
                cursor_of(next)
                    .ok_or_else(|| RecordError::Name { field: "after", given: next.chars().take(80).collect() })?,
            ),
        };
        let mut found = Found::default();
        while found.records.len() < filter.limit {
            let page = self.page(&wanted, cursor, filter.limit - found.records.len()).await?;
            found.records.extend(page.records.iter().map(|view| record_row(view, filter.numbers)));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        found.next = cursor.map(|cursor| name_of_cursor(&cursor));
        Ok(found)
    }

    /// Removes this node's own sightings of something, here and everywhere; with `all` those of others, too, where the mesh's policy
    /// (`registry.deletes`) allows it. A sighting that is added later lives. Very many go some at a time: where it fails on the way, those
    /// before are gone, and the same call goes on.
    ///
    /// # Errors
    /// [`RecordError::Unknown`] where there is none, [`RecordError::NotKept`], [`RecordError::Refused`], [`RecordError::Stopped`].
    pub async fn delete(&self, hash_value: &str, all: bool) -> Result<DeletedRow, RecordError> {
        let mut row = DeletedRow { deleted: 0, durable: true };
        loop {
            let order = DeleteOrder { ticket: Ticket(0), hash_value: hash_value.to_owned(), all };
            let stored = self.ask(|answer| Order::Delete { order, answer }).await.map_err(|_| RecordError::Stopped)?;
            match stored {
                Stored::Done { ids, durable } => {
                    row.deleted += ids.len() as u64;
                    row.durable &= durable;
                    // What is added from now on is not meant: asked again is only where some had to be left.
                    if ids.len() < MAX_DELETED {
                        return Ok(row);
                    }
                }
                Stored::Unknown if row.deleted > 0 => return Ok(row),
                Stored::Unknown => return Err(RecordError::Unknown { hash: shorten(hash_value) }),
                Stored::Refused { reason } if row.deleted > 0 => {
                    let reason = format!("{} are deleted, and not the rest: {}", row.deleted, refusal(reason));
                    return Err(RecordError::Refused { reason });
                }
                Stored::Refused { reason } => return Err(refusal(reason)),
            }
        }
    }
}

/// Why the core does not take an order.
fn refusal(reason: &str) -> RecordError {
    if reason == DISK_FAILS { RecordError::NotKept } else { RecordError::Refused { reason: reason.to_owned() } }
}

impl Filter {
    /// The filter as the core takes it, within its limits: all that is held, whatever [`Filter::local`] says.
    pub(super) fn for_core(&self, view: &View) -> Result<CoreFilter, RecordError> {
        for (field, given, most) in [
            ("type", &self.data_type, MAX_DATA_TYPE),
            ("hash", &self.hash, MAX_HASH),
            ("node", &self.node, CONDITION_MOST),
        ] {
            given.as_deref().map_or(Ok(()), |given| text(field, given, 0, most))?;
        }
        if self.conditions.len() > CONDITIONS_MOST {
            let (given, most) = (self.conditions.len() as f64, CONDITIONS_MOST as f64);
            return Err(RecordError::Number { field: "conditions", given, least: 0.0, most });
        }
        for (field, pattern) in &self.conditions {
            text("where", field, 1, CONDITION_MOST)?;
            text("where", pattern, 0, CONDITION_MOST)?;
        }
        Ok(CoreFilter {
            data_type: self.data_type.clone(),
            node: self.node.as_deref().map(|name| whose(name, view)),
            since: self.since.map(wall),
            until: self.until.map(wall),
            where_: self.conditions.clone(),
            reach: Reach::Held,
            hash: self.hash.clone(),
        })
    }
}

/// Who is called so: one who is here, an identity, or whoever went by the name.
fn whose(name: &str, view: &View) -> Whose {
    let is_meant = |id: &NodeId, shown: &str| is_called(shown, id, name);
    if is_meant(&view.id, &view.name) {
        return Whose::Id(view.id);
    }
    let peer = view.peers.iter().find(|peer| is_meant(&peer.id, &peer.name));
    let whole = || parse_op(&format!("{name}-0-0")).map(|op| op.author);
    peer.map(|peer| peer.id).or_else(whole).map_or_else(|| Whose::Name(name.to_owned()), Whose::Id)
}

/// A moment in whole milliseconds; what lies before 1970 is 1970.
fn wall(seconds: f64) -> WallTime {
    WallTime((seconds.max(0.0) * 1_000.0).round() as u64)
}

/// A place in the list of all sightings, as text.
fn name_of_cursor(cursor: &Cursor) -> String {
    format!("{}.{}", cursor.born_ms, name_of(&cursor.id))
}

fn cursor_of(text: &str) -> Option<Cursor> {
    let (born_ms, id) = text.split_once('.')?;
    Some(Cursor { born_ms: born_ms.parse().ok()?, id: parse_op(id)? })
}

fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

/// A sighting as people see it.
pub(crate) fn record_row(view: &RecordView, numbers: bool) -> RecordRow {
    let body = &view.body;
    let object = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
    let mut ownership = body.ownership.as_deref().map(object).unwrap_or_default();
    let mut owned = |field: &str| ownership.remove(field).unwrap_or_default();
    RecordRow {
        hash_value: body.hash_value.clone(),
        node_id: view.source.clone(),
        data_type: body.data_type.clone(),
        timestamp: view.wall.seconds(),
        embedding: body.embedding.as_ref().map(|embedding| embedding_row(embedding, numbers)),
        metadata: object(&body.metadata),
        confidence: body.confidence.get(),
        ttl_s: view.left.as_secs_f64(),
        ownership_history: owned("ownership_history"),
        transfer_token: owned("transfer_token"),
        last_update: owned("last_update"),
        source_node_id: owned("source_node_id"),
        location_signature: owned("location_signature"),
        id: name_of(&view.id),
        author: view.id.author.to_string(),
        local: view.local,
        kept: view.kept,
    }
}

fn embedding_row(embedding: &Embedding, numbers: bool) -> EmbeddingRow {
    let dtype = dtype_by(embedding.dtype);
    let decoded = || {
        let space = Space::new(usize::from(embedding.dims), dtype?).ok()?;
        let mut numbers = Vec::with_capacity(space.dims());
        // What another node signed may be no numbers at all: then there are none to show.
        space.decode(&embedding.stored, &mut numbers).ok()?;
        Some(numbers)
    };
    EmbeddingRow {
        model: embedding.model.clone(),
        dims: usize::from(embedding.dims),
        dtype: dtype.map(|dtype| dtype.name().to_owned()).unwrap_or_default(),
        numbers: if numbers { decoded() } else { None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::peer_view;

    #[test]
    fn a_filter_is_taken_at_its_limits_and_refused_beyond() {
        let view = View::default();
        let many = |count: usize| (0..count).fold(Filter::new(), |filter, n| filter.matching(n.to_string(), "*"));
        for (filter, said) in [
            (many(16), None),
            (many(17), Some("conditions is 17: 0 to 16")),
            (Filter::new().data_type("x".repeat(64)), None),
            (Filter::new().data_type("x".repeat(65)), Some("type has 65 bytes: 0 to 64")),
            (Filter::new().matching("", "*"), Some("where has 0 bytes: 1 to 256")),
            (Filter::new().matching("a", "x".repeat(257)), Some("where has 257 bytes: 0 to 256")),
        ] {
            let refused = filter.for_core(&view).err().map(|error| error.to_string());
            assert_eq!(refused.is_some(), said.is_some(), "{refused:?}");
            assert!(refused.unwrap_or_default().contains(said.unwrap_or_default()), "{said:?}");
        }
    }

    #[test]
    fn a_node_is_meant_by_its_name_its_digits_or_its_identity_and_the_departed_by_their_name() {
        let id = NodeId([0xab; 16]);
        let view = View { peers: vec![peer_view(id, "cam")], ..View::default() };
        for (name, expected) in [
            ("cam", Whose::Id(id)),
            ("cam@abab", Whose::Id(id)),
            ("abababababababababababababababab", Whose::Id(id)),
            ("cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd", Whose::Id(NodeId([0xcd; 16]))),
            ("gone", Whose::Name("gone".to_owned())),
        ] {
            assert_eq!(whose(name, &view), expected, "{name}");
        }
    }

    #[test]
    fn a_place_in_the_list_is_read_back() {
        let id = parse_op("abababababababababababababababab-5-7").expect("a name");
        let cursor = Cursor { born_ms: -12, id };
        assert_eq!(cursor_of(&name_of_cursor(&cursor)), Some(cursor));
        for wrong in ["", ".", "12", "x.abababababababababababababababab-5-7"] {
            assert_eq!(cursor_of(wrong), None, "{wrong}");
        }
    }
}
