//! One life of the gate: a process that is started, listened to, and killed.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::boundary::AtCommit;
use crate::dying::Without;
use crate::gate;

/// What the next life is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Orders {
    /// Its clock, ahead of the machine's.
    pub(crate) ahead_ms: i64,
    /// The first entry that it tells.
    pub(crate) from: u64,
    /// Where it asks to die.
    pub(crate) at: Option<AtCommit>,
    /// The guard that is taken away.
    pub(crate) without: Option<Without>,
}

/// Kills a gate, once. Cheap to hand around.
#[derive(Clone, Debug)]
pub(crate) struct Killer {
    child: Arc<Mutex<Option<Child>>>,
    is_gone: Arc<watch::Sender<bool>>,
}

impl Killer {
    /// SIGKILL, and waits until the process is gone. Says whether it lived until then.
    pub(crate) fn kill(&self) -> bool {
        let Some(mut child) = self.child.lock().take() else { return false };
        child.kill().unwrap();
        let status = child.wait().unwrap();
        self.is_gone.send_replace(true);
        // A gate that ended by itself (a panic in it) was not killed.
        std::os::unix::process::ExitStatusExt::signal(&status) == Some(9)
    }

    /// Completes when the process is gone.
    pub(crate) async fn gone(&self) {
        let mut is_gone = self.is_gone.subscribe();
        is_gone.wait_for(|is_gone| *is_gone).await.unwrap();
    }
}

/// A running gate.
#[derive(Debug)]
pub(crate) struct Life {
    /// Ends it.
    pub(crate) killer: Killer,
    /// What it tells before it serves, line by line.
    pub(crate) told: mpsc::UnboundedReceiver<String>,
    /// Becomes true when it died by its own wish.
    pub(crate) asked: watch::Receiver<bool>,
}

impl Life {
    /// Starts this test program as a gate.
    pub(crate) fn begin(folder: &Path, listener: &TcpListener, orders: Orders) -> Self {
        let Orders { ahead_ms, from, at, without } = orders;
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "--nocapture", "--test-threads=1", BECOMES_A_GATE]);
        command.env(gate::FOLDER, folder).env(gate::AHEAD_MS, ahead_ms.to_string()).env(gate::FROM, from.to_string());
        command.env(gate::AT, at.map(|at| at.to_string()).unwrap_or_default());
        command.env(gate::WITHOUT, without.map(|guard| format!("{guard:?}")).unwrap_or_default());
        command.stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())));
        command.stdout(Stdio::piped()).stderr(File::create(folder.join("stderr")).unwrap());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let killer = Killer { child: Arc::new(Mutex::new(Some(child))), is_gone: Arc::new(watch::Sender::new(false)) };
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
        Self { killer, told, asked }
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
