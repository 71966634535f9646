//! Programs that are run: `zfs` on this host, or through `ssh` on another one.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};

use super::location::{Host, RunningZfs};
use crate::control::Cancel;
use crate::error::SyncFault;
use crate::error::{Error, Result};

/// Directories that `zfs` is in, and that the search path of a user may lack.
const DIRECTORIES: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// The part of what a program prints on standard error that is kept, in bytes.
const MESSAGE_BYTES_MAX: u64 = 16 << 10;

/// A program that is running.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    errors: JoinHandle<io::Result<Vec<u8>>>,
    shown: String,
}

impl RunningZfs {
    /// Starts `zfs WORDS`.
    pub(super) fn start(&self, words: &[&str], stdin: Stdio, stdout: Stdio) -> Result<Running> {
        let place = self.host.as_ref().map_or_else(String::new, |host| format!(" on {}", host.name));
        let shown = format!("`zfs {}`{place}", words.iter().take(1).copied().collect::<String>());
        let failed = |source| SyncFault::Run { command: shown.clone(), source };
        let mut command = match &self.host {
            None => local(words),
            Some(host) => remote(host, words).map_err(failed)?,
        };
        let mut child = command.stdin(stdin).stdout(stdout).stderr(Stdio::piped()).spawn().map_err(failed)?;
        let errors = child.stderr.take();
        let read = move || {
            let mut kept = Vec::new();
            if let Some(mut errors) = errors {
                errors.by_ref().take(MESSAGE_BYTES_MAX).read_to_end(&mut kept)?;
                io::copy(&mut errors, &mut io::sink())?;
            }
            Ok(kept)
        };
        let errors = thread::Builder::new().name("messages".to_owned()).spawn(read).map_err(Error::Thread)?;
        Ok(Running { child, errors, shown })
    }

    /// Runs `zfs WORDS` and returns what it prints.
    pub(super) fn run(&self, cancel: &Cancel, words: &[&str]) -> Result<String> {
        let running = self.start(words, Stdio::null(), Stdio::piped())?;
        let mut text = Vec::new();
        running.pass(&mut text, cancel)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// `zfs` of this host, which speaks English.
fn local(words: &[&str]) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories = path.clone();
    directories.push(if path.is_empty() { "" } else { ":" });
    directories.push(DIRECTORIES);
    let mut command = Command::new("zfs");
    command.args(words).env("PATH", directories).env("LC_ALL", "C");
    command
}

/// `zfs` of another host. The shell there gets one line, in which each word is quoted.
fn remote(host: &Host, words: &[&str]) -> io::Result<Command> {
    let mut line = format!("env LC_ALL=C PATH=\"$PATH:{DIRECTORIES}\" zfs");
    for word in words {
        let quoted = shlex::try_quote(word).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        line = format!("{line} {quoted}");
    }
    let mut command = Command::new("ssh");
    if let Some(port) = host.port {
        command.args(["-p", &port.to_string()]);
    }
    command.args(["--", &host.name, &line]);
    Ok(command)
}

impl Running {
    /// The error of a pipe to or from it.
    pub(super) fn failed(&self, source: io::Error) -> Error {
        SyncFault::Run { command: self.shown.clone(), source }.into()
    }

    /// Its standard input.
    pub(super) fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Copies its standard output until it ends, and fails if it failed. It is killed if `out` fails or `cancel` is cancelled.
    pub(super) fn pass(mut self, out: &mut dyn Write, cancel: &Cancel) -> Result<()> {
        match self.copy(out, cancel) {
            Ok(()) => self.finish(),
            Err(error) => {
                // It may have ended by itself.
                drop(self.child.kill());
                drop(self.child.wait());
                Err(error)
            }
        }
    }

    fn copy(&mut self, out: &mut dyn Write, cancel: &Cancel) -> Result<()> {
        let Some(mut stdout) = self.child.stdout.take() else { return Ok(()) };
        let mut buffer = vec![0; 1 << 20];
        loop {
            match wait(&stdout, cancel).and_then(|()| stdout.read(&mut buffer)) {
                Ok(0) => return Ok(()),
                // What it wrote so far is passed on, in case that it is interrupted.
                Ok(length) => {
                    out.write_all(&buffer[..length]).and_then(|()| out.flush()).map_err(Error::Output)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if cancel.is_cancelled() => return Err(Error::Cancelled),
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// Waits for its end, and fails if it failed.
    pub(super) fn finish(mut self) -> Result<()> {
        let status = self.child.wait().map_err(|source| self.failed(source))?;
        let errors = self.errors.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        if status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&errors.unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let message = if lines.is_empty() { status.to_string() } else { lines.join("; ") };
        Err(SyncFault::Command { command: self.shown, message }.into())
    }
}

/// Waits until there is something to read, or `cancel` is cancelled.
#[cfg(unix)]
fn wait(stdout: &ChildStdout, cancel: &Cancel) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    loop {
        if cancel.is_cancelled() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match poll(&mut [PollFd::new(stdout, PollFlags::IN)], Some(&TICK)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(not(unix))]
fn wait(_: &ChildStdout, cancel: &Cancel) -> io::Result<()> {
    if cancel.is_cancelled() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// The shell of the other host takes each word as it is, and the line gives `ssh` no options.
    #[test]
    fn words_arrive_as_they_are() {
        let words = ["list", "tank/a b", "it's $(id) `id` \"x\" \\", "", "*", "a;b&c|d>e", "-r"];
        let host = Host { name: "me@nas".to_owned(), port: Some(2222) };
        let command = remote(&host, &words).unwrap();
        let args: Vec<&str> = command.get_args().map(|arg| arg.to_str().unwrap()).collect();
        assert_eq!((args.len(), &args[..4]), (5, &["-p", "2222", "--", "me@nas"][..]));
        let script = format!("set -- {}; for word; do printf '%s\\n' \"$word\"; done", args[4]);
        let printed = Command::new("sh").arg("-c").arg(script).output().unwrap().stdout;
        let printed = String::from_utf8(printed).unwrap();
        let printed: Vec<&str> = printed.lines().collect();
        assert_eq!((printed[0], printed[1], printed[3]), ("env", "LC_ALL=C", "zfs"));
        assert_eq!(printed[4..], words);
        assert!(remote(&host, &["a\0b"]).is_err());
    }
}
