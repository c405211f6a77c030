//! Node-RED: an application that nobody here wrote, with its own logins turned off.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;

use crate::leash::{Leash, Stop};
use crate::postgres::free_port;
use crate::programs::Program;

/// How often another port is tried when somebody took the free one first.
const PORT_TRIES: u32 = 5;

/// No login of its own, and no outside address: no telemetry, no catalogue of
/// nodes, no tours, nothing installed at run time. `PORT` is replaced.
const SETTINGS: &str = r#"module.exports = {
  uiHost: "127.0.0.1",
  uiPort: PORT,
  flowFile: "flows.json",
  credentialSecret: "a throwaway flow has no credentials",
  telemetry: { enabled: false, updateNotification: false },
  externalModules: {
    autoInstall: false,
    palette: { allowInstall: false, allowUpload: false },
    modules: { allowInstall: false },
  },
  functionExternalModules: false,
  editorTheme: { tours: false, palette: { catalogues: [] }, projects: { enabled: false } },
  diagnostics: { enabled: false },
  logging: { console: { level: "info", metrics: false, audit: false } },
};
"#;

/// One tab with one comment, so that there is something to change and deploy.
const FLOWS: &str = r#"[
  { "id": "f1", "type": "tab", "label": "Plant", "disabled": false, "info": "" },
  { "id": "c1", "type": "comment", "z": "f1", "name": "valve closed", "info": "", "x": 140, "y": 80, "wires": [] }
]
"#;

/// A running Node-RED. Dropping it stops it and removes its folder.
#[derive(Debug)]
pub struct NodeRed {
    address: SocketAddr,
    folder: TempDir,
    _program: Leash,
}

impl NodeRed {
    /// Starts Node-RED on a free port of loopback and waits until its flows run.
    pub fn start() -> Self {
        let mut said = Vec::new();
        for _ in 0..PORT_TRIES {
            match Self::try_on(free_port()) {
                Ok(started) => return started,
                Err(lines) => said = lines,
            }
        }
        panic!("Node-RED does not start on any of {PORT_TRIES} ports that were free:\n{}", said.join("\n"));
    }

    fn try_on(port: u16) -> Result<Self, Vec<String>> {
        let folder = tempfile::Builder::new().prefix("stepgate-node-red-").tempdir().unwrap();
        fs::write(folder.path().join("settings.js"), SETTINGS.replace("PORT", &port.to_string())).unwrap();
        fs::write(folder.path().join("flows.json"), FLOWS).unwrap();
        let script = Program::NodeRed.path();
        let program = Leash::start(
            &Program::Node.path(),
            [script.as_path(), Path::new("--userDir"), folder.path()],
            Stop::Terminate,
            Some(folder.path()),
            None,
            |command| {
                command.env("HOME", folder.path()).env("NODE_RED_HOME", folder.path());
            },
        );
        match program.try_wait_for_line("Started flows") {
            Ok(_) => Ok(Self { address: SocketAddr::from(([127, 0, 0, 1], port)), folder, _program: program }),
            Err(_) => Err(program.said()),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as a URL without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The flows as they lie on its disk: what was really deployed.
    pub fn deployed(&self) -> serde_json::Value {
        let text = fs::read(self.folder.path().join("flows.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}
