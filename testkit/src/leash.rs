//! A program that ends when the test process does, however that ends.
//!
//! Between the two stands a shell whose standard input is a pipe from the test
//! process. When the pipe closes (the value is dropped, the process exits, is
//! killed, or is a `static` that is never dropped) the shell stops the program,
//! waits for it, and removes its folder.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a program may be silent while something is expected of it.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// `$1` signal, `$2` folder to remove or nothing, then the program and its arguments.
///
/// A child that ended by itself stays unreaped until the pipe closes, so its
/// number cannot have been given to another process when it is signalled.
const SCRIPT: &str = r#"
signal=$1 folder=$2
shift 2
exec 3<&0
setsid "$@" </dev/null 3<&- &
child=$!
exec >/dev/null 2>&1
read -r word <&3
kill -s "$signal" "$child"
wait "$child"
kill -s KILL -- "-$child"
if [ -n "$folder" ] && [ "$word" != keep ]; then rm -rf -- "$folder"; fi
"#;

/// The signal that asks a program to end.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// SIGTERM.
    Terminate,
    /// SIGINT, which PostgreSQL reads as "drop the connections and shut down".
    Interrupt,
    /// SIGKILL.
    Kill,
}

/// The user that a program runs as, where the test runs as root.
#[derive(Clone, Copy, Debug)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
}

/// A running program. Dropping it stops the program and waits until it is gone.
#[derive(Debug)]
pub struct Leash {
    name: String,
    shell: Child,
    lines: Mutex<Receiver<String>>,
    said: Arc<Mutex<Vec<String>>>,
}

impl Leash {
    /// Starts a program.
    ///
    /// `folder` is removed when the program has ended; `user` is who it runs as.
    /// `prepare` may set environment variables and the working directory.
    pub fn start<A: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        stop: Stop,
        folder: Option<&Path>,
        user: Option<User>,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let signal = match stop {
            Stop::Terminate => "TERM",
            Stop::Interrupt => "INT",
            Stop::Kill => "KILL",
        };
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "leash", signal]);
        command.arg(folder.map(Path::as_os_str).unwrap_or_default());
        command.arg(program).args(arguments);
        // A group of its own: Ctrl-C reaches the test process, and the shell cleans up after it.
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(user) = user {
            command.uid(user.uid).gid(user.gid);
        }
        prepare(&mut command);
        let mut shell = command.spawn().expect("/bin/sh starts");

        let (sender, lines) = channel();
        let said = Arc::new(Mutex::new(Vec::new()));
        read_lines(shell.stdout.take().expect("is piped"), sender.clone(), Arc::clone(&said));
        read_lines(shell.stderr.take().expect("is piped"), sender, Arc::clone(&said));
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, shell, lines: Mutex::new(lines), said }
    }

    /// Waits for a line that holds `text` and gives it.
    ///
    /// # Panics
    ///
    /// With all that the program said, when it ends or falls silent first.
    pub fn wait_for_line(&self, text: &str) -> String {
        match self.try_wait_for_line(text) {
            Ok(line) => line,
            Err(why) => panic!("{} {why} before it said '{text}':\n{}", self.name, self.said().join("\n")),
        }
    }

    /// Like [`Self::wait_for_line`], with the reason instead of a panic.
    pub fn try_wait_for_line(&self, text: &str) -> Result<String, &'static str> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match lines.recv_timeout(LONGEST_SILENCE) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return Err("ended"),
                Err(RecvTimeoutError::Timeout) => return Err("was silent for too long"),
            }
        }
    }

    /// Stops the program and leaves its folder, for the next one to start in.
    pub fn end_and_keep_folder(mut self) {
        if let Some(pipe) = self.shell.stdin.as_mut() {
            // A shell that is already gone removes nothing either.
            let _ = pipe.write_all(b"keep\n");
        }
    }

    /// Every line that the program printed until now, on either output.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // The shell waits for the program; if waiting fails there is nobody left to tell.
        let _ = self.shell.wait();
    }
}

fn read_lines(output: impl Read + Send + 'static, sender: Sender<String>, said: Arc<Mutex<Vec<String>>>) {
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            said.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
            // Nobody may be waiting for lines any more; what was said is kept all the same.
            let _ = sender.send(line);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, folder: Option<&Path>) -> Leash {
        Leash::start(Path::new("/bin/sh"), ["-c", script], Stop::Terminate, folder, None, |_| {})
    }

    #[test]
    fn a_dropped_program_is_gone_and_so_is_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let leash = sh("echo my number is $$; sleep 600 & wait", Some(folder.path()));
        let said = leash.wait_for_line("my number");
        let number = said.rsplit(' ').next().unwrap();
        assert!(Path::new("/proc").join(number).exists());
        drop(leash);
        assert!(!Path::new("/proc").join(number).exists());
        assert!(!folder.path().exists());
    }

    #[test]
    fn a_program_that_ends_early_is_told() {
        let leash = sh("echo out; echo err >&2", None);
        assert_eq!(leash.try_wait_for_line("ready"), Err("ended"));
        let mut said = leash.said();
        said.sort();
        assert_eq!(said, ["err", "out"]);
    }
}
