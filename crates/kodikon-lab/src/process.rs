//! Decides how a program runs on a host: its lines come stamped with the time, its end is certain.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::counters::Usage;
use crate::gate::Gate;

/// A longer line is handed on in pieces.
const LINE_LIMIT: u64 = 1 << 20;
/// How much of what a program complained about is shown in an error.
const COMPLAINT_LIMIT: u64 = 4096;
/// What one run of a command may print; the rest is read and dropped.
const OUTPUT_LIMIT: u64 = 64 << 20;
/// Lines that nobody has fetched yet; later ones are dropped, so that a forgotten program neither blocks nor grows.
const UNREAD_LIMIT: usize = 100_000;
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// One line of a program's standard output.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it was read here.
    pub at: Instant,
    /// Without the newline.
    pub text: String,
}

/// How a command ended and what it printed.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit code or signal.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

impl Finished {
    /// The standard output of a command that succeeded.
    ///
    /// # Errors
    /// When it did not: the error holds what it said.
    pub fn success(self) -> Result<String> {
        if !self.status.success() {
            bail!("{}: {}", self.status, self.stderr.trim());
        }
        Ok(self.stdout)
    }
}

/// A program that runs on a host, in a process group of its own. Killed with all its group when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Option<mpsc::Receiver<Line>>,
    complaints: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts a program and hands each line of its output to `sink`, while the gate is open; the error stream goes to a file.
    pub(crate) fn start(
        command: &mut Command,
        complaints: &Path,
        gate: Option<Arc<Gate>>,
        sink: impl FnMut(Line) + Send + 'static,
    ) -> Result<Self> {
        let log = File::create(complaints).with_context(|| format!("cannot make {}", complaints.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let stdout = child.stdout.take().expect("stdout was asked for");
        thread::spawn(move || stream(stdout, gate.as_deref(), sink));
        Ok(Self { child, lines: None, complaints: complaints.to_owned(), ended: None })
    }

    /// Starts a program whose lines wait in [`Process::line`].
    pub(crate) fn start_buffered(command: &mut Command, complaints: &Path) -> Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(UNREAD_LIMIT);
        let mut process = Self::start(command, complaints, None, move |line| drop(sender.try_send(line)))?;
        process.lines = Some(receiver);
        Ok(process)
    }

    /// The next line of output, or `None` when it does not come in time or the program has closed its output.
    pub fn line(&mut self, timeout: Duration) -> Option<Line> {
        self.lines.as_ref()?.recv_timeout(timeout).ok()
    }

    /// The first line that satisfies `wanted`.
    ///
    /// # Errors
    /// When there is none in time; the error holds what the program said on its error stream.
    pub fn line_where(&mut self, timeout: Duration, wanted: impl Fn(&str) -> bool) -> Result<Line> {
        let deadline = Instant::now() + timeout;
        while let Some(line) = self.line(deadline.saturating_duration_since(Instant::now())) {
            if wanted(&line.text) {
                return Ok(line);
            }
        }
        bail!("the awaited line did not come within {timeout:?}; stderr: {}", self.complaints());
    }

    /// Its process id, which is also the id of its group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().context("cannot ask for the end of a process")?;
        }
        Ok(self.ended)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        if self.status()?.is_none() {
            self.ended = wait(&mut self.child, timeout)?;
        }
        self.ended.ok_or_else(|| anyhow!("process {} still runs after {timeout:?}", self.child.id()))
    }

    /// Sends a signal to its whole group.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.status()? {
            bail!("process {} has ended already ({status}): {}", self.pid(), self.complaints());
        }
        kill_process_group(self.raw_pid(), signal).with_context(|| format!("cannot send {signal:?}"))
    }

    /// Ends it as a crash does: SIGKILL, nothing is said to anybody.
    ///
    /// # Errors
    /// When it had ended before, or does not end.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        self.wait(KILL_LIMIT)
    }

    /// Asks it to end: SIGTERM.
    ///
    /// # Errors
    /// When it had ended before, or still runs after `timeout`.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(timeout)
    }

    /// Stops it in its tracks, as a host that hangs, and waits until it stands.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let deadline = Instant::now() + KILL_LIMIT;
        while !stopped(self.pid())? {
            ensure!(Instant::now() < deadline, "process {} does not stop", self.pid());
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Lets it go on after [`Process::pause`].
    ///
    /// # Errors
    /// When it has ended.
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// CPU time and memory used so far.
    ///
    /// # Errors
    /// When it has ended.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid())
    }

    /// The end of what it wrote to its error stream.
    pub fn complaints(&self) -> String {
        tail(&self.complaints).unwrap_or_else(|error| format!("({error})"))
    }

    fn raw_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Once the leader is reaped its number may be given to a stranger; what it left behind ends with the lab.
        if let Ok(None) = self.status() {
            let _ = kill_process_group(self.raw_pid(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command, timeout: Duration) -> Result<Finished> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let stdout = collect(child.stdout.take().expect("stdout was asked for"));
    let stderr = collect(child.stderr.take().expect("stderr was asked for"));
    let deadline = Instant::now() + timeout;
    let remaining = || deadline.saturating_duration_since(Instant::now());
    let texts = stdout.recv_timeout(remaining()).and_then(|out| Ok((out, stderr.recv_timeout(remaining())?)));
    // The end of its output is not yet its end.
    let status = if texts.is_ok() { wait(&mut child, remaining())? } else { None };
    if let (Ok((stdout, stderr)), Some(status)) = (texts, status) {
        return Ok(Finished { status, stdout, stderr });
    }
    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    let _ = child.wait();
    bail!("{command:?} did not end within {timeout:?}");
}

/// How a child ended, or `None` if it still runs after `timeout`.
fn wait(child: &mut Child, timeout: Duration) -> Result<Option<ExitStatus>> {
    let handle = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).context("cannot watch a process")?;
    let limit = Timespec::try_from(timeout).context("the time to wait is too long")?;
    let mut watched = [PollFd::from_borrowed_fd(handle.as_fd(), PollFlags::IN)];
    poll(&mut watched, Some(&limit)).context("cannot wait for a process")?;
    child.try_wait().context("cannot ask for the end of a process")
}

fn stopped(pid: u32) -> Result<bool> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('T')))
}

fn collect(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.by_ref().take(OUTPUT_LIMIT).read_to_end(&mut bytes);
        let _ = io::copy(&mut pipe, &mut io::sink());
        // Nobody listens any more after the time-out.
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

fn stream(stdout: ChildStdout, gate: Option<&Gate>, mut sink: impl FnMut(Line)) {
    let mut reader = BufReader::new(stdout);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if let Some(gate) = gate
            && reader.buffer().is_empty()
            && gate.wait(reader.get_ref()).is_err()
        {
            return;
        }
        match reader.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let at = Instant::now();
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        sink(Line { at, text: String::from_utf8_lossy(&bytes).into_owned() });
    }
}

fn tail(path: &Path) -> Result<String> {
    let mut file = File::open(path)?;
    let length = fs::metadata(path)?.len();
    io::Seek::seek(&mut file, io::SeekFrom::Start(length.saturating_sub(COMPLAINT_LIMIT)))?;
    let mut bytes = Vec::new();
    file.take(COMPLAINT_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}
