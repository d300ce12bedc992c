//! Decides how the log leaves: by a thread of its own, so that a stderr nobody reads costs lines and never the node.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use kodikon::settings::LogFormat;
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

use crate::json_log;

/// Lines that wait for the thread: a start of some hundred peers, told at once. At about 200 B a line, a fifth of a megabyte.
const LINES_MAX: usize = 1_024;

/// At the end of a process it is looked so often for room among the lines that wait.
const ROOM_EVERY: Duration = Duration::from_millis(5);

/// How this process writes its log, once that is known.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// What the thread is told.
#[derive(Debug)]
enum Order {
    /// Write this.
    Line(Vec<u8>),
    /// All before this is written: say so.
    Flush(SyncSender<()>),
}

/// The loop's end of the thread that writes the log. A clone is the same thread.
#[derive(Clone, Debug)]
pub(crate) struct LogWriter {
    orders: SyncSender<Order>,
    dropped: Arc<AtomicU64>,
    format: LogFormat,
}

impl LogWriter {
    /// The writer of this process's log, which from here on has this format.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn of_process(format: LogFormat) -> io::Result<Self> {
        let format = *FORMAT.get_or_init(|| format);
        Self::spawn(io::stderr(), format)
    }

    /// A writer for the last words of a process, in the format of its log if it has one.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn for_last_words() -> io::Result<Self> {
        Self::spawn(io::stderr(), FORMAT.get().copied().unwrap_or(LogFormat::Text))
    }

    /// Gives a sink its thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn spawn(sink: impl Write + Send + 'static, format: LogFormat) -> io::Result<Self> {
        let (orders, ordered) = mpsc::sync_channel(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        let write = move || run(sink, &ordered, &counted, format);
        thread::Builder::new().name("kodikon-log".into()).spawn(write)?;
        Ok(Self { orders, dropped, format })
    }

    /// Writes a line, or drops and counts it where too many wait.
    pub(crate) fn line(&self, text: &str) {
        self.say(Level::INFO, text);
    }

    /// The same, for a sentence of some weight.
    pub(crate) fn say(&self, level: Level, text: &str) {
        let line = match self.format {
            LogFormat::Json => json_log::sentence(level, text, None),
            LogFormat::Text | _ => text.to_owned(),
        };
        self.offer(format!("{line}\n").into_bytes());
    }

    /// Waits until all is written that was said before, but no longer than this.
    pub(crate) fn flush(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let (done, written) = mpsc::sync_channel(1);
        let mut order = Order::Flush(done);
        while let Err(TrySendError::Full(back)) = self.orders.try_send(order) {
            if Instant::now() >= until {
                return;
            }
            order = back;
            thread::sleep(ROOM_EVERY);
        }
        // An error means that it took too long, or that the thread is gone.
        let _ = written.recv_timeout(until.saturating_duration_since(Instant::now()));
    }

    fn offer(&self, line: Vec<u8>) {
        match self.orders.try_send(Order::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn run(mut sink: impl Write, ordered: &Receiver<Order>, dropped: &AtomicU64, format: LogFormat) {
    for order in ordered {
        // A sink that is closed or full is not ours to mend, and there is nowhere else to say so.
        match order {
            Order::Line(line) => drop(sink.write_all(&line)),
            Order::Flush(done) => {
                let _ = sink.flush();
                let _ = done.try_send(());
            }
        }
        let lines = dropped.swap(0, Ordering::Relaxed);
        if lines > 0 {
            drop(sink.write_all(gap(lines, format).as_bytes()));
        }
    }
}

/// What stands in the log in place of lines that were dropped.
fn gap(lines: u64, format: LogFormat) -> String {
    const WHY: &str = "lines of the log were dropped: stderr was not read in time";
    match format {
        LogFormat::Json => format!("{}\n", json_log::sentence(Level::WARN, WHY, Some(("lines", lines)))),
        LogFormat::Text | _ => format!("WARN {WHY} lines={lines}\n"),
    }
}

/// A line that is being put together; it is handed over whole.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    writer: &'a LogWriter,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.writer.offer(std::mem::take(&mut self.bytes));
        }
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { writer: self, bytes: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads_costs_lines_and_holds_up_nobody() {
        let (mut read, write) = io::pipe().expect("a pipe");
        let log = LogWriter::spawn(write, LogFormat::Text).expect("a thread");
        let began = Instant::now();
        // A pipe holds 64 KiB by default (pipe(7)): these are 2 MB.
        let filler = "x".repeat(90);
        for n in 0..20_000 {
            writeln!(log.make_writer(), "line {n} {filler}").expect("memory takes it");
        }
        log.flush(Duration::from_millis(50));
        assert!(began.elapsed() < Duration::from_secs(5), "the pipe is full, and took {:?}", began.elapsed());

        let log_again = log.clone();
        let reader = thread::spawn(move || {
            let mut text = String::new();
            read.read_to_string(&mut text).map(|_| text)
        });
        // Once it is read again, the log says what is missing, and goes on.
        log_again.flush(Duration::from_secs(10));
        log_again.line("the end");
        log_again.flush(Duration::from_secs(10));
        drop((log, log_again));
        let text = reader.join().expect("no panic").expect("text");
        let written = text.lines().filter(|line| line.starts_with("line ")).count();
        let lost: usize = text.lines().filter_map(|line| line.rsplit_once(" lines=")?.1.parse::<usize>().ok()).sum();
        assert_eq!(written + lost, 20_000, "every line is there or counted");
        assert!(lost > 10_000, "{lost}");
        assert!(text.lines().any(|line| line == "the end"));
    }

    #[test]
    fn a_gap_is_told_in_the_format_of_the_log() {
        assert!(gap(3, LogFormat::Text).ends_with("lines=3\n"));
        let json: serde_json::Value = serde_json::from_str(&gap(3, LogFormat::Json)).expect("JSON");
        assert_eq!((&json["lines"], &json["level"]), (&3.into(), &"WARN".into()));
    }
}
