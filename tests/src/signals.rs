//! Ending programs by signals.

use std::process::{Child, Command, Output};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::flag::register_conditional_default;

/// How long a program may take to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// What this process was started to ignore its programs would ignore too; what it handles itself has its default there.
pub fn handle_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let dies = Arc::new(AtomicBool::new(true));
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            register_conditional_default(signal.as_raw(), Arc::clone(&dies)).expect("a handler");
        }
    });
}

/// Sends a signal to a program.
///
/// # Panics
/// It has ended.
pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("it runs");
}

/// Waits until `ready`, while the program of `command` runs, and sends it a signal then.
///
/// # Panics
/// It ends before, or takes too long.
pub fn interrupt_when(command: &mut Command, number: Signal, mut ready: impl FnMut() -> bool) -> Output {
    handle_signals();
    let mut child = command.spawn().expect("it starts");
    let started = Instant::now();
    while !ready() {
        assert!(child.try_wait().expect("a state").is_none(), "it ended: {:?}", child.wait_with_output());
        assert!(started.elapsed() < PATIENCE, "it does not begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    signal(&child, number);
    end(child)
}

/// Waits for the end of a program, but not for ever.
///
/// # Panics
/// It takes too long.
pub fn end(mut child: Child) -> Output {
    let started = Instant::now();
    while child.try_wait().expect("a state").is_none() {
        if started.elapsed() > PATIENCE {
            child.kill().expect("it runs");
            panic!("it goes on: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("its output")
}
