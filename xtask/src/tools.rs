//! The programs that tests need beside the Rust toolchain.
//!
//! As root, what is missing is installed from Debian's packages; anybody else
//! is told the one line that installs it. A test never looks for a way around
//! a missing program: it fails and names `cargo xtask test`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::project;
use crate::step::{Failure, output_of, run};

/// The oldest major version of Node.js that what we test with runs on.
const OLDEST_NODE: u32 = 18;

/// A program, the environment variable that tells tests where it is, and Debian's package of it.
struct Wanted {
    program: &'static str,
    variable: &'static str,
    package: &'static str,
}

const WANTED: [Wanted; 6] = [
    Wanted { program: "chromium", variable: "STEPGATE_TEST_CHROMIUM", package: "chromium" },
    Wanted { program: "chromedriver", variable: "STEPGATE_TEST_CHROMEDRIVER", package: "chromium-driver" },
    Wanted { program: "initdb", variable: "STEPGATE_TEST_INITDB", package: "postgresql" },
    Wanted { program: "node", variable: "STEPGATE_TEST_NODE", package: "nodejs" },
    Wanted { program: "rsyslogd", variable: "STEPGATE_TEST_RSYSLOGD", package: "rsyslog" },
    Wanted { program: "npm", variable: "STEPGATE_TEST_NPM", package: "npm" },
];

/// A program in JavaScript, fetched with all that it rests on by the lock file that is committed in the testkit.
struct Package {
    /// The folder of the testkit with the lock file.
    from: &'static str,
    /// The folder below the target folder that it is installed into.
    to: &'static str,
    /// The file by which it is started.
    script: &'static str,
    /// The environment variable that tells tests where that is.
    variable: &'static str,
}

/// `oidc-provider` is of its line 8: Debian 12's own Node.js is too old for the next.
const PACKAGES: [Package; 3] = [
    Package {
        from: "testkit/node-red",
        to: "npm",
        script: "node_modules/node-red/red.js",
        variable: "STEPGATE_TEST_NODE_RED",
    },
    Package {
        from: "testkit/oidc-provider",
        to: "npm-oidc-provider",
        script: "node_modules/oidc-provider/lib/index.js",
        variable: "STEPGATE_TEST_OIDC_PROVIDER",
    },
    Package {
        from: "testkit/smtp-server",
        to: "npm-smtp-server",
        script: "node_modules/smtp-server/lib/smtp-server.js",
        variable: "STEPGATE_TEST_SMTP_SERVER",
    },
];

/// Programs in Python, with all that they rest on by the hashes of a file that is committed in the testkit.
struct Wheels {
    /// That file, in the testkit.
    requirements: &'static str,
    /// The folder below the target folder that they are installed into.
    to: &'static str,
    /// The environment variable that tells tests where the interpreter is that finds them.
    variable: &'static str,
}

/// The checkers run on Debian 12's own Python and any later one.
const WHEELS: Wheels = Wheels {
    requirements: "testkit/scim-checkers/requirements.txt",
    to: "pip-scim-checkers",
    variable: "STEPGATE_TEST_SCIM_CHECKERS",
};
/// Debian's package of what makes folders like that, and how it is seen that it is there.
const VENV: (&str, &str) = ("python3-venv", "import ensurepip, venv");

/// Where everything is, once it is there.
pub(crate) struct Tools {
    environment: Vec<(&'static str, OsString)>,
}

impl Tools {
    /// The variables that tell tests where the programs are.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&'static str, OsString)> + '_ {
        self.environment.iter().cloned()
    }
}

/// Installs what something is measured beside: nginx, HAProxy.
pub(crate) fn prepare_bench(program: &str, package: &str) -> Result<(), Failure> {
    let of_the_system = Path::new("/usr/sbin").join(program);
    match find(program).or_else(|| Some(of_the_system).filter(|path| path.is_file())) {
        Some(_) => Ok(()),
        None => install_packages(&[package]),
    }
}

/// Looks for each program, installs what is missing, and installs programs in JavaScript and Python into the target folder.
pub(crate) fn prepare() -> Result<Tools, Failure> {
    install_packages(&missing_packages())?;
    let still_missing = missing_packages();
    if !still_missing.is_empty() {
        return Err(Failure::new(format!(
            "these packages are installed, yet their programs are not found: {}",
            still_missing.join(" ")
        )));
    }

    let mut environment = Vec::new();
    for wanted in &WANTED {
        if let Some(path) = find(wanted.program) {
            environment.push((wanted.variable, path.into_os_string()));
        }
    }
    check_node_version()?;
    for package in &PACKAGES {
        environment.push((package.variable, package.install()?.into_os_string()));
    }
    environment.push((WHEELS.variable, WHEELS.install()?.into_os_string()));
    Ok(Tools { environment })
}

/// Finds a program on the path, or where Debian keeps PostgreSQL's own.
fn find(program: &str) -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    // Servers lie where the path of somebody who is not root does not lead.
    let of_the_system = [PathBuf::from("/usr/sbin")];
    let folders = std::env::split_paths(&on_path).chain(of_the_system).chain(postgresql_folders());
    folders.map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

/// `/usr/lib/postgresql/15/bin` and its like, in no particular order.
fn postgresql_folders() -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin")).collect()
}

fn missing_packages() -> Vec<&'static str> {
    let programs = WANTED.iter().filter(|wanted| find(wanted.program).is_none()).map(|wanted| wanted.package);
    let (package, shown_by) = VENV;
    let has_venv = output_of(Command::new("python3").args(["-c", shown_by])).is_ok();
    programs.chain((!has_venv).then_some(package)).collect()
}

fn install_packages(packages: &[&str]) -> Result<(), Failure> {
    if packages.is_empty() {
        return Ok(());
    }
    let line = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if !is_root()? {
        return Err(Failure::new(format!("programs are missing that tests need; as root:\n\n    {line}\n")));
    }
    let install = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "-y", "--no-install-recommends"]);
        run(command.args(packages))
    };
    // A fresh machine has no lists of packages, an old one has lists that name what is gone.
    install().or_else(|_| {
        run(Command::new("apt-get").arg("update"))?;
        install()
    })
}

fn is_root() -> Result<bool, Failure> {
    Ok(output_of(Command::new("id").arg("-u"))?.trim() == "0")
}

fn check_node_version() -> Result<(), Failure> {
    let said = output_of(Command::new("node").arg("--version"))?;
    let major = said.trim().trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major >= OLDEST_NODE => Ok(()),
        _ => Err(Failure::new(format!(
            "node is {}, and what we test with needs {OLDEST_NODE} or later; Debian 12's package nodejs will do",
            said.trim()
        ))),
    }
}

impl Wheels {
    /// Installs them from the committed hashes and gives the path of their interpreter.
    ///
    /// What was installed is noted last, as with [`Package::install`].
    fn install(&self) -> Result<PathBuf, Failure> {
        let requirements = project::root().join(self.requirements);
        let wanted = read(&requirements)?;
        let to = project::target_folder()?.join(self.to);
        let interpreter = to.join("bin/python3");
        let finished = to.join("installed.txt");
        if interpreter.is_file() && fs::read(&finished).is_ok_and(|installed| installed == wanted) {
            return Ok(interpreter);
        }

        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&to))?;
        let mut pip = Command::new(&interpreter);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        run(pip.args(["--only-binary=:all:", "--require-hashes", "--requirement"]).arg(&requirements))?;
        fs::write(&finished, &wanted)
            .map_err(|error| Failure::new(format!("could not write {}: {error}", finished.display())))?;
        Ok(interpreter)
    }
}

impl Package {
    /// Installs it from the committed lock file and gives the path of its script.
    ///
    /// The lock file is copied last: if it stands in the folder, the installation
    /// beside it was finished. One that was interrupted is begun anew by `npm ci`.
    fn install(&self) -> Result<PathBuf, Failure> {
        let from = project::root().join(self.from);
        let to = project::target_folder()?.join(self.to);
        let script = to.join(self.script);
        let lock = read(&from.join("package-lock.json"))?;
        let finished = to.join("installed-lock.json");
        if script.is_file() && fs::read(&finished).is_ok_and(|installed| installed == lock) {
            return Ok(script);
        }

        let failed = |error| Failure::new(format!("could not write to {}: {error}", to.display()));
        fs::create_dir_all(&to).map_err(failed)?;
        if finished.exists() {
            fs::remove_file(&finished).map_err(failed)?;
        }
        fs::write(to.join("package.json"), read(&from.join("package.json"))?).map_err(failed)?;
        fs::write(to.join("package-lock.json"), &lock).map_err(failed)?;
        let mut npm = Command::new("npm");
        npm.current_dir(&to).env("npm_config_update_notifier", "false");
        run(npm.args(["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]))?;
        if !script.is_file() {
            return Err(Failure::new(format!("npm is done, yet there is no {}", script.display())));
        }
        fs::write(&finished, &lock).map_err(failed)?;
        Ok(script)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::new(format!("could not read {}: {error}", path.display())))
}
