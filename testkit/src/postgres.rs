//! A throwaway PostgreSQL with durable commits, so that what it promises is what production gets.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::leash::{Leash, Stop, User};
use crate::programs::Program;

/// How often another port is tried when somebody took the free one first.
const PORT_TRIES: u32 = 5;

/// A PostgreSQL cluster of our own, on loopback, in a temporary folder.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    user: Option<User>,
    port: u16,
    server: Option<Leash>,
    databases: AtomicU32,
}

impl Postgres {
    /// The one cluster of this test process, started at the first call and stopped when the process ends.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A cluster for one test alone, which may [`Self::kill`] it.
    pub fn start() -> Self {
        let initdb = Program::Initdb.path();
        // On the path may be a link; the other programs lie beside the file itself.
        let initdb = fs::canonicalize(initdb).expect("initdb is a file");
        let programs = initdb.parent().expect("a file lies in a folder").to_path_buf();
        let user = unprivileged_user();
        let folder = tempfile::Builder::new().prefix("stepgate-postgres-").tempdir().unwrap().keep();
        if let Some(user) = user {
            chown(&folder, Some(user.uid), Some(user.gid)).expect("root may give a folder away");
        }
        let cluster = folder.join("cluster");
        let made = Leash::start(
            &initdb,
            ["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "-D"]
                .map(Path::new)
                .into_iter()
                .chain([cluster.as_path()]),
            Stop::Terminate,
            None,
            user,
            |command| {
                command.current_dir(&folder);
            },
        );
        made.wait_for_line("Success");
        drop(made);
        let mut postgres = Self { programs, folder, user, port: 0, server: None, databases: AtomicU32::new(0) };
        postgres.serve_on_a_free_port();
        postgres
    }

    /// A new, empty database; gives its URL.
    pub fn fresh_database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        let mut createdb = Command::new(self.programs.join("createdb"));
        createdb.arg("--host").arg(&self.folder).args(["--username=postgres", "--port"]);
        let output = createdb.arg(self.port.to_string()).arg(&name).output().expect("createdb starts");
        assert!(output.status.success(), "createdb: {}", String::from_utf8_lossy(&output.stderr));
        format!("postgres://postgres@127.0.0.1:{}/{name}", self.port)
    }

    /// Kills the server as a power cut would: SIGKILL, with no chance to finish anything.
    ///
    /// Its children notice and end by themselves. Databases come back with [`Self::restart`].
    pub fn kill(&mut self) {
        let file = self.folder.join("cluster/postmaster.pid");
        let text = fs::read_to_string(&file).expect("a running server has written its number");
        let number = text.lines().next().expect("the first line is the number");
        let killed = Command::new("kill").args(["-s", "KILL", number]).status().expect("kill starts");
        assert!(killed.success(), "the server {number} is already gone");
        if let Some(server) = self.server.take() {
            server.end_and_keep_folder();
        }
    }

    /// Starts the server again on the same port, after [`Self::kill`]; it recovers from its log.
    pub fn restart(&mut self) {
        let server = self.serve(self.port);
        assert!(server.is_ok(), "PostgreSQL does not come back: {server:?}");
        self.server = server.ok();
    }

    fn serve_on_a_free_port(&mut self) {
        for _ in 0..PORT_TRIES {
            let port = free_port();
            if let Ok(server) = self.serve(port) {
                self.port = port;
                self.server = Some(server);
                return;
            }
        }
        panic!("PostgreSQL does not start on any of {PORT_TRIES} ports that were free");
    }

    fn serve(&self, port: u16) -> Result<Leash, Vec<String>> {
        let server = Leash::start(
            &self.programs.join("postgres"),
            [
                Path::new("-D"),
                &self.folder.join("cluster"),
                Path::new("-k"),
                &self.folder,
                Path::new("-p"),
                Path::new(&port.to_string()),
            ]
            .into_iter()
            .chain(SETTINGS.into_iter().flat_map(|setting| [Path::new("-c"), Path::new(setting)])),
            Stop::Interrupt,
            Some(&self.folder),
            self.user,
            |command| {
                command.current_dir(&self.folder);
            },
        );
        match server.try_wait_for_line("ready to accept connections") {
            Ok(_) => Ok(server),
            Err(_) => {
                let said = server.said();
                server.end_and_keep_folder();
                Err(said)
            }
        }
    }
}

/// Durable, and small enough for many tests on a small machine.
const SETTINGS: [&str; 7] = [
    "listen_addresses=127.0.0.1",
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "max_connections=200",
    "shared_buffers=32MB",
    "log_timezone=UTC",
];

/// PostgreSQL refuses to run as root: then it runs as Debian's `postgres`, else as `nobody`.
fn unprivileged_user() -> Option<User> {
    let me = Command::new("id").arg("-u").output().expect("id starts");
    if String::from_utf8_lossy(&me.stdout).trim() != "0" {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("a Unix machine has users");
    let user = |name: &str| {
        // name:password:uid:gid:…
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let number = |field: usize| line.split(':').nth(field)?.parse().ok();
        Some(User { uid: number(2)?, gid: number(3)? })
    };
    Some(user("postgres").or_else(|| user("nobody")).expect("there is a user without rights"))
}

/// A port of loopback that was free a moment ago, for programs that cannot be given port 0.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs one statement with `psql` and gives what it prints.
    fn query(postgres: &Postgres, url: &str, statement: &str) -> String {
        let mut psql = Command::new(postgres.programs.join("psql"));
        let output = psql.args(["--no-psqlrc", "-At", "-v", "ON_ERROR_STOP=1", "-c", statement, url]).output();
        let output = output.expect("psql starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn what_was_committed_outlives_a_kill_and_the_folder_does_not_outlive_the_cluster() {
        let mut postgres = Postgres::start();
        let url = postgres.fresh_database();
        assert_ne!(url, postgres.fresh_database());
        query(&postgres, &url, "create table kept as select 42 as number");
        postgres.kill();
        postgres.restart();
        assert_eq!(query(&postgres, &url, "select number from kept"), "42");
        assert_eq!(query(&postgres, &url, "show fsync"), "on");
        let folder = postgres.folder.clone();
        assert!(folder.exists());
        drop(postgres);
        assert!(!folder.exists());
    }

    #[test]
    fn the_shared_cluster_is_one() {
        assert!(std::ptr::eq(Postgres::shared(), Postgres::shared()));
        assert_eq!(query(Postgres::shared(), &Postgres::shared().fresh_database(), "select 1"), "1");
    }
}
