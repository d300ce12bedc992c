//! The promises of a search on one node: what is nearest is found, in order, of what is shown; several share a scan; none waits for ever.

use kodikon_core::effect::log::Committed;
use kodikon_core::effect::scan::ScanJob;
use kodikon_core::effect::{Command, Event, Input, Output};
use kodikon_core::ground::config::Config;
use kodikon_core::ground::id::Epoch;
use kodikon_core::ground::time::{Duration, Instant, WallTime};
use kodikon_core::model::entries::space_of;
use kodikon_core::model::identity::{Identity, Zip215Verifier};
use kodikon_core::model::letter::Ticket;
use kodikon_core::model::record::{
    DTYPE_F16, DTYPE_F32, DTYPE_I8, DeleteOrder, Embedding, Filter, NewRecord, RecordOrder, SpaceKey, Stored, Whose,
};
use kodikon_core::model::search::{SearchOrder, Searched, Target, Unsearched};
use kodikon_core::node::{Boot, Node, Saved};
use kodikon_scan::{Mode, Query};
use std::sync::Arc;

/// One node, its disk and its worker.
struct Scene {
    node: Node,
    now: Instant,
    tickets: u64,
    /// Whether scans are done at once; else they wait here.
    scans: bool,
    jobs: Vec<ScanJob>,
    events: Vec<Event>,
}

impl Scene {
    fn new() -> Self {
        let now = Instant::ZERO + Duration::from_secs(1);
        let boot = Boot {
            config: Config::new("cam"),
            identity: Identity::from_secret(&[1; 32]),
            epoch: Epoch::new(1, 1),
            seed: [1; 32],
            port: 10_000,
            wall: WallTime(1_800_000_000_000),
            saved: Saved::default(),
            verifier: Box::<Zip215Verifier>::default(),
        };
        let mut scene =
            Self { node: Node::new(now, boot), now, tickets: 0, scans: true, jobs: Vec::new(), events: Vec::new() };
        scene.hand(Input::Interfaces(&[]));
        scene
    }

    fn hand(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input);
        let (mut commits, mut scans) = (Vec::new(), Vec::new());
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Commit { commit, .. } => commits.push(commit),
                Output::Scan(job) if self.scans => scans.push(job),
                Output::Scan(job) => self.jobs.push(job),
                Output::Event(event) => self.events.push(event),
                Output::Transmit(_) | Output::Persist(_) | Output::Stream(_) | Output::Check(_) => {}
            }
        }
        for commit in commits {
            self.hand(Input::Committed { commit, result: Committed::OnDisk });
        }
        for job in scans {
            self.answer(&job);
        }
    }

    fn answer(&mut self, job: &ScanJob) {
        self.hand(Input::Scanned { scan: job.scan, answers: job.run() });
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn add(&mut self, record: NewRecord) {
        let ticket = self.ticket();
        self.hand(Input::Command(Command::Add(RecordOrder { ticket, record })));
        let is_done = |event: &Event| matches!(event, Event::Stored { ticket: told, outcome: Stored::Done { .. } } if *told == ticket);
        assert!(self.events.iter().any(is_done), "{:?}", self.events.last());
    }

    /// Orders a search.
    fn ask(&mut self, change: impl FnOnce(&mut SearchOrder)) -> Ticket {
        let ticket = self.ticket();
        let mut order = SearchOrder {
            ticket,
            target: numbers(&[1.0, 0.0, 0.0]),
            model: None,
            k: 10,
            mode: Mode::Exact,
            filter: Filter::default(),
            timeout: Duration::from_secs(5),
            alone: false,
        };
        change(&mut order);
        self.hand(Input::Command(Command::Search(order)));
        ticket
    }

    /// What became of a search, if it has ended.
    fn outcome(&self, of: Ticket) -> Option<Result<Searched, Unsearched>> {
        let mut outcomes = self.events.iter().filter_map(|event| {
            let Event::Searched { ticket, outcome } = event else { return None };
            (*ticket == of).then(|| outcome.clone())
        });
        let outcome = outcomes.next();
        assert!(outcomes.next().is_none(), "a search ends once");
        outcome
    }

    /// Searches, and gives the hashes of what is found.
    fn found(&mut self, change: impl FnOnce(&mut SearchOrder)) -> Vec<String> {
        let ticket = self.ask(change);
        let searched = self.outcome(ticket).expect("it has ended").expect("it can be answered");
        assert!(searched.certified && (searched.responded, searched.of) == (1, 1), "{searched:?}");
        searched.found.iter().map(|found| found.entry.hash_value().to_owned()).collect()
    }

    fn refused(&mut self, change: impl FnOnce(&mut SearchOrder)) -> Unsearched {
        let ticket = self.ask(change);
        self.outcome(ticket).expect("it has ended").expect_err("it cannot be answered")
    }
}

fn numbers(numbers: &[f32]) -> Target {
    Target::Numbers(Arc::new(Query::new(numbers).expect("numbers")))
}

fn embedding(model: &str, dtype: u8, numbers: &[f32]) -> Embedding {
    let key = SpaceKey { model: model.to_owned(), dims: numbers.len() as u16, dtype };
    let mut stored = Vec::new();
    space_of(&key).expect("a space").encode(numbers, &mut stored).expect("numbers");
    Embedding { model: key.model, dims: key.dims, dtype, stored }
}

fn record(hash: &str, numbers: &[f32]) -> NewRecord {
    NewRecord { embedding: Some(embedding("face", DTYPE_F16, numbers)), ..NewRecord::new(hash) }
}

#[test]
fn the_nearest_come_first_and_equals_by_their_hash() {
    let mut scene = Scene::new();
    for (hash, numbers) in [
        ("far", [0.0, 1.0, 0.0]),
        ("b", [2.0, 0.0, 0.0]),
        ("a", [1.0, 0.0, 0.0]),
        ("near", [1.0, 0.1, 0.0]),
        ("behind", [-1.0, 0.0, 0.0]),
    ] {
        scene.add(record(hash, &numbers));
    }
    scene.add(NewRecord::new("without"));
    assert_eq!(scene.found(|_| {}), ["a", "b", "near", "far", "behind"]);
    assert_eq!(scene.found(|order| order.k = 2), ["a", "b"]);
    assert_eq!(
        scene.found(|order| order.mode = Mode::Fast),
        ["a", "b", "near", "far", "behind"],
        "few are all bounded"
    );
}

#[test]
fn spaces_of_one_model_are_searched_together_and_other_models_apart() {
    let mut scene = Scene::new();
    for (hash, model, dtype, numbers) in [
        ("half", "face", DTYPE_F16, [1.0, 0.2, 0.0]),
        ("single", "face", DTYPE_F32, [1.0, 0.1, 0.0]),
        ("byte", "face", DTYPE_I8, [1.0, 0.3, 0.0]),
        ("gait", "gait", DTYPE_F16, [1.0, 0.0, 0.0]),
    ] {
        scene.add(NewRecord { embedding: Some(embedding(model, dtype, &numbers)), ..NewRecord::new(hash) });
    }
    let of = |model: &'static str| move |order: &mut SearchOrder| order.model = Some(model.to_owned());
    assert_eq!(scene.found(of("face")), ["single", "half", "byte"]);
    assert_eq!(scene.found(of("gait")), ["gait"]);
    assert_eq!(scene.refused(|_| {}), Unsearched::Models(vec!["face".to_owned(), "gait".to_owned()]));
    let known = vec![("face".to_owned(), 3), ("gait".to_owned(), 3)];
    assert_eq!(scene.refused(|order| order.target = numbers(&[1.0; 4])), Unsearched::Dims { given: 4, known });
}

#[test]
fn a_registry_without_embeddings_finds_nothing_for_certain() {
    let mut scene = Scene::new();
    assert_eq!(scene.found(|_| {}), [""; 0]);
    assert_eq!(scene.refused(|order| order.target = Target::Like("a".to_owned())), Unsearched::NoSuchHash);
}

#[test]
fn what_is_like_a_hash_is_found_without_that_hash() {
    let mut scene = Scene::new();
    scene.add(record("a", &[0.0, 1.0, 0.0]));
    scene.add(record("b", &[1.0, 0.1, 0.0]));
    scene.add(record("c", &[0.1, 1.0, 0.0]));
    // Its newest sighting counts, and all of them are left out.
    scene.now = scene.now + Duration::from_millis(5);
    scene.add(record("a", &[1.0, 0.0, 0.0]));
    scene.now = scene.now + Duration::from_millis(5);
    scene.add(NewRecord::new("a"));
    assert_eq!(scene.found(|order| order.target = Target::Like("a".to_owned())), ["b", "c"]);
    assert_eq!(scene.refused(|order| order.target = Target::Like("d".to_owned())), Unsearched::NoSuchHash);
}

#[test]
fn a_filter_is_asked_before_the_nearest_are_chosen() {
    let mut scene = Scene::new();
    for (number, (kind, gate)) in
        [("person", "g1"), ("bag", "g1"), ("person", "g2"), ("bag", "g22")].into_iter().enumerate()
    {
        scene.add(NewRecord {
            data_type: kind.to_owned(),
            metadata: format!("{{\"at\": {{\"gate\": \"{gate}\"}}}}"),
            seen: Some(WallTime(1_000 + number as u64)),
            ..record(&number.to_string(), &[1.0, number as f32, 0.0])
        });
    }
    let me = scene.node.id();
    let table: [(Filter, &[&str]); 8] = [
        (Filter { data_type: Some("bag".to_owned()), ..Filter::default() }, &["1", "3"]),
        (Filter { where_: vec![("at.gate".to_owned(), "g2*".to_owned())], ..Filter::default() }, &["2", "3"]),
        (Filter { since: Some(WallTime(1_002)), ..Filter::default() }, &["2", "3"]),
        (Filter { until: Some(WallTime(1_000)), ..Filter::default() }, &["0"]),
        (Filter { node: Some(Whose::Id(me)), ..Filter::default() }, &["0", "1", "2", "3"]),
        (Filter { node: Some(Whose::Name("cam".to_owned())), ..Filter::default() }, &["0", "1", "2", "3"]),
        (Filter { node: Some(Whose::Name("mac".to_owned())), ..Filter::default() }, &[]),
        (Filter { hash: Some("2".to_owned()), ..Filter::default() }, &["2"]),
    ];
    for (filter, expected) in table {
        let found = scene.found(|order| (order.filter, order.k) = (filter.clone(), 4));
        assert_eq!(found, expected, "{filter:?}");
    }
    let bag = Filter { data_type: Some("bag".to_owned()), ..Filter::default() };
    assert_eq!(
        scene.found(|order| (order.filter, order.k) = (bag, 1)),
        ["1"],
        "the nearest of those that may be found"
    );
}

#[test]
fn what_was_deleted_or_is_over_is_not_found() {
    let mut scene = Scene::new();
    scene.add(record("a", &[1.0, 0.0, 0.0]));
    scene.add(record("b", &[1.0, 0.1, 0.0]));
    scene.add(NewRecord { ttl: Duration::from_secs(10), ..record("c", &[1.0, 0.2, 0.0]) });
    assert_eq!(scene.found(|_| {}), ["a", "b", "c"]);
    let ticket = scene.ticket();
    let order = DeleteOrder { ticket, hash_value: "a".to_owned(), all: false };
    scene.hand(Input::Command(Command::Delete(order)));
    assert_eq!(scene.found(|_| {}), ["b", "c"]);
    let end = scene.now + Duration::from_secs(11);
    while let Some(wake) = scene.node.next_wake().filter(|wake| wake.at <= end) {
        scene.now = wake.at;
        scene.hand(Input::Wake);
    }
    scene.now = end;
    assert_eq!(scene.found(|_| {}), ["b"]);
    scene.add(record("a", &[1.0, 0.0, 0.0]));
    assert_eq!(scene.found(|_| {}), ["a", "b"], "its place is used again");
}

#[test]
fn what_comes_while_a_scan_runs_shares_the_next_and_is_asked_of_what_is_shown_then() {
    let mut scene = Scene::new();
    scene.add(record("a", &[1.0, 0.0, 0.0]));
    scene.scans = false;
    let first = scene.ask(|_| {});
    let later: Vec<Ticket> = (1..=10).map(|k| scene.ask(|order| order.k = k)).collect();
    scene.add(record("b", &[1.0, 0.1, 0.0]));
    assert_eq!(scene.jobs.len(), 1, "one scan at a time");
    let hashes = |scene: &Scene, ticket: Ticket| {
        let searched = scene.outcome(ticket).expect("it has ended").expect("it can be answered");
        searched.found.iter().map(|found| found.entry.hash_value().to_owned()).collect::<Vec<_>>()
    };
    let job = scene.jobs.remove(0);
    scene.answer(&job);
    assert_eq!(hashes(&scene, first), ["a"], "as it was when the scan began");
    let job = scene.jobs.remove(0);
    assert_eq!(job.questions.len(), 8, "as many as the cache holds");
    scene.answer(&job);
    assert_eq!(hashes(&scene, later[0]), ["a"]);
    assert_eq!(hashes(&scene, later[7]), ["a", "b"]);
    assert_eq!(scene.outcome(later[8]), None);
    let job = scene.jobs.remove(0);
    assert_eq!(job.questions.len(), 2);
    scene.answer(&job);
    assert_eq!(hashes(&scene, later[9]), ["a", "b"]);
    scene.answer(&job);
    assert!(scene.jobs.is_empty(), "an answer that nobody waits for begins nothing");
}

#[test]
fn a_search_without_an_answer_ends_at_its_time_and_one_too_many_at_once() {
    let mut scene = Scene::new();
    scene.add(record("a", &[1.0, 0.0, 0.0]));
    scene.scans = false;
    let first = scene.ask(|order| order.timeout = Duration::from_secs(1));
    let last = (0..256).map(|_| scene.ask(|order| order.timeout = Duration::from_secs(2))).last().expect("some");
    assert_eq!(scene.refused(|_| {}), Unsearched::Busy { limit: 256 });
    let start = scene.now;
    for (span, ended) in [(999, [false, false]), (1_000, [true, false]), (2_000, [true, true])] {
        let until = start + Duration::from_millis(span);
        while let Some(wake) = scene.node.next_wake().filter(|wake| wake.at <= until) {
            scene.now = wake.at;
            scene.hand(Input::Wake);
        }
        assert_eq!([first, last].map(|ticket| scene.outcome(ticket).is_some()), ended, "after {span} ms");
    }
    let searched = scene.outcome(last).expect("it has ended").expect("it could be answered");
    assert_eq!((searched.responded, searched.of, searched.certified, searched.found.len()), (0, 1, false, 0));
    // The worker answers late: nobody is told twice, and the next search begins anew.
    let job = scene.jobs.remove(0);
    scene.answer(&job);
    scene.scans = true;
    assert_eq!(scene.found(|_| {}), ["a"]);
}
