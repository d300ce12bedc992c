//! One registry on five hosts: whoever is asked holds the same and finds the nearest, also after a partition and through loss.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kodikon_lab::{Fleet, Host, Kind, Moment, NodeSpec, Topology};
use rusqlite::Connection;
use serde_json::Value;

use crate::scene::{
    EMBEDDINGS, PATIENCE, SEGMENT, Scene, SmallDisk, await_log, await_one_registry, eventually, number, span,
};

const NODES: usize = 5;
const ROWS: usize = 320;
const DIMS: usize = 512;
const VIEWS: usize = 4;
/// How many are asked for: ten besides the row itself.
const K: usize = 11;
/// Of so many rows all other views of the object are among the nearest: that is the data.
const ROWS_WITH_ALL_VIEWS: usize = 317;
/// From a partition's heal to equal registries.
const HEALED: Duration = Duration::from_secs(7);
/// From the first peer that a node has of the other half to equal registries: two seconds from the first datagram that crosses, less
/// the tenth that the two may take to prove themselves.
const MET: Duration = Duration::from_millis(1_900);
/// From the last add to equal registries where a tenth is lost.
const LOSSY: Duration = Duration::from_secs(10);
/// From the moment at which a full disk has room again.
const FREED: Duration = Duration::from_secs(10);

#[test]
fn five_nodes_that_import_at_different_places_hold_one_registry_and_find_the_nearest() -> Result<()> {
    let Some(scene) = Scene::alone("registry", &Topology::flat(5)) else { return Ok(()) };
    let fleet = scene.full_fleet()?;
    import_everywhere(&scene, &fleet)?;
    await_equal(&fleet, ROWS, PATIENCE)?;

    let stored = stored(&fleet, "n1")?;
    let mut with_all_views = 0;
    for (row, query) in rows()?.iter().enumerate() {
        let expected = nearest(query, &stored);
        let row_text = row.to_string();
        for node in (0..NODES).map(name_of) {
            let ask = ["search", "--embedding", EMBEDDINGS, "--row", &row_text, "-k", "11"];
            let report = fleet.ctl_json(&node, ask)?;
            ensure!(report["certified"] == true, "row {row} at {node}: {report}");
            let found = found(&report)?;
            ensure!(found == expected, "row {row} at {node}: {found:?}, where a plain scan finds {expected:?}");
        }
        let views = expected.iter().filter(|(hash, _)| object_of(hash) == Some(row / VIEWS)).count();
        // Asked with itself, which is the first of them.
        with_all_views += usize::from(views == VIEWS);
    }
    eprintln!("all other views found for {with_all_views} of {ROWS} rows");
    ensure!(with_all_views == ROWS_WITH_ALL_VIEWS, "all other views are found for {with_all_views} rows");
    Ok(())
}

#[test]
fn a_partition_that_adds_and_deletes_on_both_sides_ends_in_one_registry() -> Result<()> {
    let Some(scene) = Scene::alone("parted", &Topology::flat(5)) else { return Ok(()) };
    let mut fleet = scene.watched_fleet()?;
    import_everywhere(&scene, &fleet)?;
    await_equal(&fleet, ROWS, PATIENCE)?;

    let pairs = scene.part(&mut fleet, &[1, 2].map(Host), &[3, 4, 5].map(Host))?;
    // Some objects are deleted by their author, some by others, some by both halves, and one that both halves deleted is seen anew.
    for (node, row) in [("n1", 0), ("n1", 7), ("n2", 13), ("n2", 100), ("n3", 7), ("n3", 12), ("n4", 203), ("n5", 100)]
    {
        fleet.ctl_json(node, ["delete", &hash_of(row), "--all"])?;
    }
    for (node, hash) in [("n1", "left-1"), ("n2", "left-2"), ("n4", "right-1"), ("n5", "right-2"), ("n5", "o100")] {
        fleet.ctl_json(node, ["add", hash, "--type", "object"])?;
    }

    let healed = Moment::now();
    scene.heal(SEGMENT)?;
    await_equal(&fleet, ROWS - 6 + 5, PATIENCE)?;
    let equal = Moment::now();
    let whole = equal.since(healed).read;
    fleet.wait("the halves to meet", PATIENCE, |story| {
        pairs.iter().all(|(by, about)| story.first_about(&Kind::PeerUp, about, healed).contains_key(by.as_str()))
    })?;
    let story = fleet.story();
    let met = pairs
        .iter()
        .filter_map(|(by, about)| Some(story.first_about(&Kind::PeerUp, about, healed).get(by.as_str())?.moment));
    let met = met.map(|moment| span(moment.since(healed))).min().context("they have met")?;
    eprintln!("equal {whole:?} after the heal, {:?} after the halves had met", whole.saturating_sub(met));
    ensure!(whole <= HEALED, "equal {whole:?} after the heal");
    ensure!(whole <= met + MET, "equal {whole:?} after the heal, they had met after {met:?}");
    for name in ["n1", "n3"] {
        let again = fleet.ctl_json(name, ["get", "o100"])?;
        let seen: Vec<&Value> = again.as_array().context("a list")?.iter().map(|record| &record["node_id"]).collect();
        ensure!(seen == ["n5"], "what was deleted and seen anew is shown once, by {seen:?}");
        let gone = fleet.ctl(name, ["get", "o7"])?;
        ensure!(gone.status.code() == Some(1), "o7 is back at {name}: {}", gone.stdout);
    }
    Ok(())
}

#[test]
fn what_is_added_everywhere_while_a_tenth_is_lost_is_everywhere() -> Result<()> {
    let Some(scene) = Scene::alone("lossyreg", &Topology::flat(5)) else { return Ok(()) };
    let fleet = scene.full_fleet()?;
    scene.loss(SEGMENT, 10.0)?;
    import_everywhere(&scene, &fleet)?;
    let added = Moment::now();
    await_equal(&fleet, ROWS, PATIENCE)?;
    let whole = Moment::now().since(added).read;
    eprintln!("equal {whole:?} after the last import");
    ensure!(whole <= LOSSY, "equal {whole:?} after the last import");
    Ok(())
}

#[test]
fn once_a_full_disk_was_freed_all_hold_one_registry_and_so_does_that_disk() -> Result<()> {
    let Some(scene) = Scene::alone("fulldisk", &Topology::flat(5)) else { return Ok(()) };
    let disk = SmallDisk::mount(scene.directory().join("small"))?;
    let mut fleet = scene.fleet();
    for host in scene.hosts() {
        let spec = NodeSpec::on(host);
        fleet.launch(if host == Host(5) { spec.data(&disk.0) } else { spec })?;
    }
    fleet.wait_full_roster(PATIENCE)?;
    disk.fill()?;
    import(&scene, &fleet, &[0, 1, 2, 3])?;
    await_log(&fleet, "n5", "fail")?;

    let freed = Moment::now();
    disk.free()?;
    await_equal(&fleet, 4 * ROWS / NODES, PATIENCE)?;
    let whole = Moment::now().since(freed).read;
    eprintln!("equal {whole:?} after the disk was freed");
    ensure!(whole <= FREED, "equal {whole:?} after the disk was freed");
    await_log(&fleet, "n5", "ok")?;
    eventually("all of it to be on that disk", PATIENCE, || {
        let rows = rows_in(fleet.data("n5")?, &scene.directory().join("copy"))?;
        ensure!(rows == 4 * ROWS / NODES, "{rows} rows");
        Ok(())
    })?;
    // Nobody else can be asked.
    fleet.kill("n5")?;
    scene.cut_segment(SEGMENT)?;
    fleet.relaunch("n5")?;
    fleet.wait_started(PATIENCE)?;
    let stats = fleet.ctl_json("n5", ["stats"])?;
    ensure!(number(&stats, "/registry/records")? == 4 * (ROWS / NODES) as u64, "{stats}");
    Ok(())
}

/// Ops that a running node's data directory holds: the node keeps its log locked, so a copy is read.
pub(crate) fn rows_in(data: &Path, copy: &Path) -> Result<usize> {
    fs::create_dir_all(copy)?;
    for file in ["log.db", "log.db-wal"] {
        fs::copy(data.join(file), copy.join(file))?;
    }
    let log = Connection::open(copy.join("log.db"))?;
    Ok(log.query_row("SELECT count(*) FROM ops", [], |row| row.get::<_, i64>(0))?.try_into()?)
}

fn name_of(index: usize) -> String {
    format!("n{}", index + 1)
}

fn hash_of(row: usize) -> String {
    format!("o{row}")
}

fn object_of(hash: &str) -> Option<usize> {
    Some(hash.strip_prefix('o')?.parse::<usize>().ok()? / VIEWS)
}

/// The rows of the real data.
fn rows() -> Result<Vec<Vec<f32>>> {
    let bytes = fs::read(EMBEDDINGS)?;
    let numbers = &bytes[bytes.len() - ROWS * DIMS * size_of::<f32>()..];
    let numbers: Vec<f32> = numbers.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    Ok(numbers.chunks(DIMS).map(<[f32]>::to_vec).collect())
}

/// All nodes import at once.
fn import_everywhere(scene: &Scene, fleet: &Fleet<'_>) -> Result<()> {
    import(scene, fleet, &[0, 1, 2, 3, 4])
}

/// These nodes import at once, each what one of five cameras saw: every fifth row.
fn import(scene: &Scene, fleet: &Fleet<'_>, nodes: &[usize]) -> Result<()> {
    let rows = rows()?;
    let mut imports = Vec::new();
    for &index in nodes {
        let file = scene.directory().join(format!("seen-by-{}.jsonl", name_of(index)));
        let mut lines = String::new();
        for (row, numbers) in rows.iter().enumerate().skip(index).step_by(NODES) {
            let embedding = serde_json::json!({"model": "mobilenet_v2", "numbers": numbers});
            let record = serde_json::json!({"hash_value": hash_of(row), "data_type": "object", "embedding": embedding});
            lines += &format!("{record}\n");
        }
        fs::write(&file, lines)?;
        imports.push((fleet.ctl_command(&name_of(index), [PathBuf::from("import"), file, "--json".into()])?, index));
    }
    thread::scope(|scope| {
        let run = |(mut command, index): (_, usize)| {
            let text = scene
                .run(&mut command, PATIENCE)?
                .success()
                .with_context(|| format!("import at {}", name_of(index)))?;
            let report: Value = serde_json::from_str(&text)?;
            ensure!(report["imported"] == ROWS / NODES, "{report} at {}", name_of(index));
            Ok(())
        };
        let running: Vec<_> = imports.into_iter().map(|import| scope.spawn(move || run(import))).collect();
        running.into_iter().try_for_each(|one| one.join().expect("it does not panic"))
    })
}

/// Waits until all nodes hold so many sightings, and the same.
fn await_equal(fleet: &Fleet<'_>, records: usize, limit: Duration) -> Result<()> {
    let names: Vec<String> = (0..NODES).map(name_of).collect();
    await_one_registry(fleet, &names, records, limit)
}

/// What a node holds: hash, and the numbers as they are stored.
fn stored(fleet: &Fleet<'_>, name: &str) -> Result<Vec<(String, Vec<f64>)>> {
    let file = fleet.data(name)?.join("all.jsonl");
    let path = file.to_str().context("a path in UTF-8")?;
    fleet.ctl_json(name, ["export", path])?;
    let text = fs::read_to_string(&file)?;
    text.lines()
        .map(|line| {
            let record: Value = serde_json::from_str(line)?;
            let numbers = record["embedding"]["numbers"].as_array().with_context(|| format!("no numbers in {line}"))?;
            // The shortest text that names the `f32`, not all its digits.
            let exact = |number: &Value| Some(f64::from(number.as_f64()? as f32));
            let numbers = numbers.iter().map(|number| exact(number).context("a number")).collect::<Result<_>>()?;
            Ok((record["hash_value"].as_str().context("a hash")?.to_owned(), numbers))
        })
        .collect()
}

/// A plain scan: the cosine in `f64` over all that is stored, by the rule of `docs/machines/search.md`.
fn nearest(query: &[f32], stored: &[(String, Vec<f64>)]) -> Vec<(String, f64)> {
    let score = |numbers: &[f64]| {
        let (mut both, mut own, mut theirs) = (0.0, 0.0, 0.0);
        for (q, v) in query.iter().map(|q| f64::from(*q)).zip(numbers) {
            both += q * v;
            own += q * q;
            theirs += v * v;
        }
        both / (own.sqrt() * theirs.sqrt())
    };
    let mut scored: Vec<(String, f64)> = stored.iter().map(|(hash, numbers)| (hash.clone(), score(numbers))).collect();
    scored
        .sort_by(|one, other| other.1.partial_cmp(&one.1).unwrap_or(Ordering::Equal).then_with(|| one.0.cmp(&other.0)));
    scored.truncate(K);
    scored
}

fn found(report: &Value) -> Result<Vec<(String, f64)>> {
    let results = report["results"].as_array().context("a list")?;
    let pair = |row: &Value| Some((row["hash_value"].as_str()?.to_owned(), row["score"].as_f64()?));
    results.iter().map(|row| pair(row).with_context(|| format!("no hash or score in {row}"))).collect()
}
