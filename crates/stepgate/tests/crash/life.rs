//! One life of a gate: a process that is started, listened to, told what to do, and killed.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::boundary::AtCommit;
use crate::dying::Without;
use crate::gate;

/// What the next life is told before it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Orders {
    /// The first entry that it tells, if it is to tell any.
    pub(crate) from: Option<u64>,
    /// Where it asks to die.
    pub(crate) at: Option<AtCommit>,
    /// The guard that is taken away.
    pub(crate) without: Option<Without>,
}

/// Kills a gate, once. Cheap to hand around.
#[derive(Clone, Debug)]
pub(crate) struct Killer {
    child: Arc<Mutex<Option<Child>>>,
    end: Arc<watch::Sender<Option<End>>>,
}

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By SIGKILL.
    Killed,
    /// By itself: a panic, most likely.
    ByItself,
}

impl Killer {
    /// SIGKILL, and waits until the process is gone. Says whether it was this that killed it.
    pub(crate) fn kill(&self) -> bool {
        let Some(mut child) = self.child.lock().take() else { return false };
        child.kill().unwrap();
        let status = child.wait().unwrap();
        let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
        self.end.send_replace(Some(if killed { End::Killed } else { End::ByItself }));
        killed
    }

    /// How it ended, if it has.
    pub(crate) fn end(&self) -> Option<End> {
        *self.end.borrow()
    }

    /// Completes when the process is gone.
    pub(crate) async fn gone(&self) {
        self.end.subscribe().wait_for(Option::is_some).await.unwrap();
    }
}

/// A running gate.
#[derive(Debug)]
pub(crate) struct Life {
    /// Ends it.
    pub(crate) killer: Killer,
    /// What it tells, line by line. Ends with it.
    pub(crate) told: mpsc::UnboundedReceiver<String>,
    /// Becomes true when it died by its own wish.
    pub(crate) asked: watch::Receiver<bool>,
    control: UnixStream,
}

impl Life {
    /// Starts this test program as a gate with this configuration.
    pub(crate) fn begin(file: &Path, listener: &TcpListener, orders: Orders) -> Self {
        let Orders { from, at, without } = orders;
        let (control, theirs) = UnixStream::pair().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "--nocapture", "--test-threads=1", BECOMES_A_GATE]);
        command.env(gate::FILE, file);
        command.env(gate::FROM, from.map(|from| from.to_string()).unwrap_or_default());
        command.env(gate::AT, at.map(|at| at.to_string()).unwrap_or_default());
        command.env(gate::WITHOUT, without.map(|guard| format!("{guard:?}")).unwrap_or_default());
        command.stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())));
        command.stdout(Stdio::from(OwnedFd::from(theirs)));
        command.stderr(File::create(file.with_extension("stderr")).unwrap());
        let child = command.spawn().unwrap();
        // The command holds their end of the socket: with it, it would never end.
        drop(command);
        let output = BufReader::new(control.try_clone().unwrap());
        let killer = Killer { child: Arc::new(Mutex::new(Some(child))), end: Arc::new(watch::Sender::new(None)) };
        let (tell, told) = mpsc::unbounded_channel();
        let (ask, asked) = watch::channel(false);
        let reaper = killer.clone();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if line == gate::ASKS_TO_DIE {
                    ask.send_replace(reaper.kill());
                } else if line.starts_with("gate ") {
                    // Whoever listened may have stopped: the life is over then.
                    let _ = tell.send(line);
                }
            }
            // The output ends with the process; if nobody killed it, that is found out here.
            reaper.kill();
        });
        Self { killer, told, asked, control }
    }

    /// Tells it what to do. It may have died already.
    pub(crate) fn order(&self, order: &str) {
        let _ = writeln!(&self.control, "{order}");
    }

    /// SIGHUP. It may have died already.
    pub(crate) fn hang_up(&self) {
        // Held while it is told, so that the number is its own.
        let child = self.killer.child.lock();
        let Some(process) = child.as_ref().map(Child::id) else { return };
        let _ = Command::new("kill").args(["-s", "HUP", &process.to_string()]).stderr(Stdio::null()).status();
    }
}

impl Drop for Life {
    /// A test that failed elsewhere leaves nobody behind who writes into its folder.
    fn drop(&mut self) {
        self.killer.kill();
    }
}

/// The test that becomes a gate where the environment says so.
const BECOMES_A_GATE: &str = "nothing_unproved_passes_and_nothing_is_sent_twice_however_often_the_gate_is_killed";
