//! Decides how it is measured what searches take of which one node is asked many at once.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kodikon_lab::Moment;
use serde_json::{Value, json};

use crate::request::Request;

/// How many ask at once: four passes of as many as are scanned for together, so that the last waits for three.
const ASKING: u32 = 32;
/// How many searches each of them puts, one after another: more than 300 samples in all.
const EACH: u32 = 10;

/// What many searches took.
pub(crate) struct Crowd {
    /// Each, from the first byte of its request to the end of its answer.
    pub(crate) each: Vec<Duration>,
    /// How many were answered in a second.
    pub(crate) rate: f64,
}

/// Asks the node with this data folder for what is like one of so many sightings `p0`, `p1`, …, from inside its host.
///
/// # Errors
/// When one is not answered, or not for certain.
pub(crate) fn ask(data: &Path, records: u32) -> Result<Crowd> {
    let request = |number: u32| {
        let like = format!("p{}", number % records);
        Request::new(data, "/v1/search", &json!({"like": like, "k": 10, "timeout_s": 60}))
    };
    let own = |asking: u32| (asking * EACH..(asking + 1) * EACH).map(request).collect();
    let requests = (0..ASKING).map(own).collect::<Result<Vec<Vec<Request>>>>()?;
    let began = Instant::now();
    let answered = thread::scope(|scope| {
        let asking: Vec<_> = requests
            .iter()
            .map(|own| scope.spawn(|| own.iter().map(answer).collect::<Result<Vec<Duration>>>()))
            .collect();
        let took = asking.into_iter().map(|asked| asked.join().ok().context("a thread that asks panicked")?);
        took.collect::<Result<Vec<Vec<Duration>>>>()
    })?;
    let rate = f64::from(ASKING * EACH) / began.elapsed().as_secs_f64();
    Ok(Crowd { each: answered.concat(), rate })
}

/// How long one takes.
fn answer(request: &Request) -> Result<Duration> {
    let (mark, body) = request.ask()?;
    let took = Moment::now().since(mark).read;
    let report: Value = serde_json::from_str(&body).with_context(|| format!("the answer is {body}"))?;
    ensure!(
        report["certified"] == true && report["results"].as_array().is_some_and(|found| found.len() == 10),
        "{body}"
    );
    Ok(took)
}
