//! No committed file says from which host packages are fetched.
//!
//! A lock file that names a host binds everybody to that host, and a mirror's
//! address in a file leaks where it was written. Names and digests are enough.

use std::fs;

use crate::project;
use crate::step::Failure;

/// Hosts of package registries, each in two halves so that this file does not hold the address.
const HOSTS: [(&str, &str); 10] = [
    ("registry.", "npmjs.org"),
    ("registry.", "yarnpkg.com"),
    ("static.", "crates.io"),
    ("index.", "crates.io"),
    ("files.", "pythonhosted.org"),
    ("pypi.", "org/simple"),
    ("deb.", "debian.org"),
    ("security.", "debian.org"),
    ("proxy.", "golang.org"),
    ("repo1.", "maven.org"),
];

/// Keys that only stand in a lock file or a Cargo configuration to name a host.
const KEYS: [(&str, &str, &str); 3] = [
    ("package-lock.json", "\"resolved\"", "an address for each package"),
    (".cargo/config.toml", "[source", "another source of crates"),
    (".cargo/config.toml", "[registries", "another registry"),
];

pub(crate) fn check() -> Result<(), Failure> {
    let mut found = Vec::new();
    for file in project::files()? {
        let path = project::root().join(&file);
        let bytes =
            fs::read(&path).map_err(|error| Failure::new(format!("could not read {}: {error}", file.display())))?;
        let text = String::from_utf8_lossy(&bytes);
        for (first, second) in HOSTS {
            let host = format!("{first}{second}");
            if text.contains(&host) {
                found.push(format!("{}: names {host}", file.display()));
            }
        }
        for (name, key, meaning) in KEYS {
            if file.ends_with(name) && text.contains(key) {
                found.push(format!("{}: {key} names {meaning}", file.display()));
            }
        }
    }
    if found.is_empty() { Ok(()) } else { Err(Failure::new(found.join("\n"))) }
}
