//! A lab comes up fast, runs programs whose end is certain, and leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use kodikon_lab::{Host, Lab, Process, Topology};

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn fifty_hosts_are_up_within_seconds_and_see_their_own_namespace() {
    let start = Instant::now();
    let Some(lab) = Lab::for_test("fifty", &Topology::flat(50)) else { return };
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_secs(20), "{elapsed:?}");
    for host in [Host(1), Host(50)] {
        let done = lab.run(lab.command(host, "ip").args(["-o", "-4", "addr"]), LIMIT).unwrap();
        let text = done.success().unwrap();
        assert!(text.contains(&lab.address("a", host).unwrap().to_string()), "{text}");
    }
}

#[test]
fn nothing_is_left_of_a_lab_and_its_programs() {
    let Some(lab) = Lab::for_test("leave", &Topology::flat(2)) else { return };
    let (directory, name) = (lab.directory().to_owned(), lab.namespace(Host(1)));
    let mut process = sleeper(&lab);
    let grandchild = process.line(LIMIT).unwrap().text;
    // A daemon of its own session, out of the reach of its group.
    lab.run(lab.command(Host(2), "sh").args(["-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"]), LIMIT).unwrap();
    let lone = lab.run(lab.command(Host(1), "sh").args(["-c", "sleep 1000 >/dev/null 2>&1 & echo $!"]), LIMIT).unwrap();
    drop(process);
    drop(lab);
    let prefix = name.trim_end_matches("n1");
    assert_eq!(namespaces(prefix), [""; 0], "namespaces");
    assert!(!directory.exists());
    for pid in [grandchild.trim(), lone.stdout.trim()] {
        await_end(pid);
    }
}

#[test]
fn a_panic_takes_the_lab_down() {
    let Some(lab) = Lab::for_test("panic", &Topology::flat(1)) else { return };
    let name = lab.namespace(Host(1));
    assert_eq!(namespaces(&name).len(), 1);
    let lab = AssertUnwindSafe(lab);
    catch_unwind(move || {
        let _lab = lab;
        panic!("on purpose");
    })
    .unwrap_err();
    assert_eq!(namespaces(&name), [""; 0]);
}

#[test]
fn two_labs_of_one_prefix_do_not_touch_each_other() {
    let Some(first) = Lab::for_test("twin", &Topology::flat(1)) else { return };
    let second = Lab::for_test("twin", &Topology::flat(1)).unwrap();
    assert_ne!(first.namespace(Host(1)), second.namespace(Host(1)));
    drop(second);
    first.run(&mut first.command(Host(1), "true"), LIMIT).unwrap().success().unwrap();
}

#[test]
fn what_a_killed_owner_left_is_removed_by_the_next_lab() {
    if Lab::for_test("before", &Topology::flat(1)).is_none() {
        return;
    }
    // A lab whose owner is dead is a lock file that nobody holds, and namespaces of that name.
    let name = format!("kl-orphan-{}-0", std::process::id());
    let lock = Path::new("/run/kodikon-lab").join(format!("{name}.lock"));
    fs::write(&lock, "").unwrap();
    let made = std::process::Command::new("ip").args(["netns", "add", &format!("{name}-n1")]).status().unwrap();
    assert!(made.success());
    let _lab = Lab::for_test("after", &Topology::flat(1)).unwrap();
    assert_eq!(namespaces(&name), [""; 0]);
    assert!(!lock.exists());
}

#[test]
fn a_program_streams_its_lines_stops_goes_on_and_ends() {
    let Some(lab) = Lab::for_test("program", &Topology::flat(1)) else { return };
    let before = Instant::now();
    let mut process = sleeper(&lab);
    let line = process.line(LIMIT).unwrap();
    assert!(line.at >= before && line.at <= Instant::now());
    process.pause().unwrap();
    assert_eq!(state(process.pid()), "T");
    process.resume().unwrap();
    assert!(process.usage().unwrap().rss_kib > 0);
    assert!(process.wait(Duration::from_millis(1)).is_err(), "it still runs");
    let status = process.kill().unwrap();
    assert!(!status.success());
    assert!(process.kill().is_err(), "it has ended already");
    await_end(line.text.trim());
}

#[test]
fn a_program_that_is_asked_to_end_may_say_goodbye() {
    let Some(lab) = Lab::for_test("term", &Topology::flat(1)) else { return };
    let script = "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let mut process = lab.spawn(lab.command(Host(1), "sh").args(["-c", script])).unwrap();
    process.line_where(LIMIT, |text| text == "ready").unwrap();
    assert_eq!(process.terminate(LIMIT).unwrap().code(), Some(7));
    process.line_where(LIMIT, |text| text == "bye").unwrap();
}

#[test]
fn errors_name_the_command_and_what_it_said() {
    let Some(lab) = Lab::for_test("errors", &Topology::flat(1)) else { return };
    let gone = lab.carrier("a", Host(9), false).unwrap_err();
    assert!(format!("{gone:#}").contains("v9"), "{gone:#}");
    let late = lab.run(lab.command(Host(1), "sleep").arg("1000"), Duration::from_millis(50)).unwrap_err();
    assert!(format!("{late:#}").contains("sleep"), "{late:#}");
    let missing = lab.run(&mut lab.command(Host(1), "/no/such/program"), LIMIT).unwrap().success().unwrap_err();
    assert!(format!("{missing:#}").contains("/no/such/program"), "{missing:#}");
    let mut talker = lab.spawn(lab.command(Host(1), "sh").args(["-c", "echo trouble >&2"])).unwrap();
    let complaint = talker.line_where(LIMIT, |_| true).unwrap_err();
    assert!(format!("{complaint:#}").contains("trouble"), "{complaint:#}");
}

/// A program with a child, which prints the child's id.
fn sleeper(lab: &Lab) -> Process {
    lab.spawn(lab.command(Host(1), "sh").args(["-c", "sleep 1000 & echo $!; wait"])).unwrap()
}

fn namespaces(prefix: &str) -> Vec<String> {
    let names = fs::read_dir("/run/netns").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(prefix)).collect()
}

/// A killed process that is not our child is reaped by another, a moment later.
fn await_end(pid: &str) {
    assert!(pid.parse::<u32>().is_ok(), "{pid:?} is not a process id");
    let deadline = Instant::now() + LIMIT;
    while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < deadline, "process {pid} lives on");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn state(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1[..1].to_owned()
}
