//! Where the programs are that tests need, and what is said when one is not.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// A program beside the Rust toolchain that some test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The browser.
    Chromium,
    /// What drives the browser (W3C WebDriver).
    Chromedriver,
    /// PostgreSQL's `initdb`; its other programs lie beside it.
    Initdb,
    /// Node.js.
    Node,
    /// A receiver of syslog.
    Rsyslogd,
    /// Node-RED's main script, installed by `cargo xtask test` into the target folder.
    NodeRed,
    /// The main file of the library `oidc-provider`, installed by `cargo xtask test` into the target folder.
    OidcProvider,
    /// The main file of the library `smtp-server`, installed by `cargo xtask test` into the target folder.
    SmtpServer,
    /// The Python interpreter that finds the checkers of SCIM servers, installed by `cargo xtask test` into the target folder.
    ScimCheckers,
}

impl Program {
    fn variable(self) -> &'static str {
        match self {
            Self::Chromium => "STEPGATE_TEST_CHROMIUM",
            Self::Chromedriver => "STEPGATE_TEST_CHROMEDRIVER",
            Self::Initdb => "STEPGATE_TEST_INITDB",
            Self::Node => "STEPGATE_TEST_NODE",
            Self::Rsyslogd => "STEPGATE_TEST_RSYSLOGD",
            Self::NodeRed => "STEPGATE_TEST_NODE_RED",
            Self::OidcProvider => "STEPGATE_TEST_OIDC_PROVIDER",
            Self::SmtpServer => "STEPGATE_TEST_SMTP_SERVER",
            Self::ScimCheckers => "STEPGATE_TEST_SCIM_CHECKERS",
        }
    }

    fn usual_places(self) -> Vec<PathBuf> {
        match self {
            Self::Chromium => on_path("chromium"),
            Self::Chromedriver => on_path("chromedriver"),
            Self::Initdb => on_path("initdb").into_iter().chain(debian_initdb()).collect(),
            Self::Node => on_path("node"),
            Self::Rsyslogd => on_path("rsyslogd").into_iter().chain([PathBuf::from("/usr/sbin/rsyslogd")]).collect(),
            Self::NodeRed => vec![target_folder().join("npm/node_modules/node-red/red.js")],
            Self::OidcProvider => {
                vec![target_folder().join("npm-oidc-provider/node_modules/oidc-provider/lib/index.js")]
            }
            Self::SmtpServer => {
                vec![target_folder().join("npm-smtp-server/node_modules/smtp-server/lib/smtp-server.js")]
            }
            Self::ScimCheckers => vec![target_folder().join("pip-scim-checkers/bin/python3")],
        }
    }

    /// Where it is: what `cargo xtask test` says, else its usual place.
    ///
    /// # Panics
    ///
    /// When it is nowhere: a test that needs it fails, and is not skipped.
    pub fn path(self) -> PathBuf {
        if let Some(told) = env::var_os(self.variable()) {
            let told = PathBuf::from(told);
            assert!(told.is_file(), "{} says {}, and there is nothing", self.variable(), told.display());
            return told;
        }
        match self.usual_places().into_iter().find(|place| place.is_file()) {
            Some(place) => place,
            None => panic!("{self:?} is not on this machine: run `cargo xtask test`, which installs it"),
        }
    }
}

fn on_path(name: &str) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(name)).collect()
}

/// Debian keeps the server's programs off the path: `/usr/lib/postgresql/15/bin`.
fn debian_initdb() -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin/initdb")).collect()
}

/// The folder that Cargo builds into, found from the running test, which lies somewhere in it.
pub fn target_folder() -> PathBuf {
    let running = env::current_exe().expect("a test knows its own path");
    let folder = running.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    folder.map_or_else(|| panic!("{} is in no target folder", running.display()), Path::to_path_buf)
}
