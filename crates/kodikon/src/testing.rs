//! Decides how a unit test gets a network of its own: a namespace per test, or a visible skip.

use std::process::Command;

use crate::sys;

/// Runs `test` on a thread of its own in an empty network namespace, with a tokio runtime; skips where that takes root.
pub(crate) fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    std::thread::scope(|scope| {
        let run = || {
            if let Err(error) = sys::enter_empty_namespace() {
                let required = std::env::var("KODIKON_NETNS").is_ok_and(|value| value == "require");
                assert!(!required, "no network namespace: {error}");
                eprintln!("skipped: a network namespace needs root ({error})");
                return;
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(test());
        };
        if let Err(panic) = scope.spawn(run).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs `ip` with `arguments` in the calling thread's namespace.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("bash").args(["-c", &format!("ip {arguments}")]).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
