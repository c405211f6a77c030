//! `stepgate keys …`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use stepgate_core::ports::{ChangeError, Store as _};
use stepgate_core::time::Timestamp;
use stepgate_evidence::Event;
use stepgate_factors::VapidKeys;
use stepgate_identity::signals::RsaSetSigner;
use stepgate_store::{FormerKey, KeyRotation, Keyring, KeyringError};

use super::user::by;
use super::{Done, because, failed, open, print, wrong_input};
use crate::cli::{ConfigArgs, Format, KeysCommand, RotateCommand};
use crate::config::{MasterKey, parse_duration};
use crate::gate::{House, keyring};
use crate::system::SystemRandomness;

/// Every running gate reads the assertion keys once a minute: a new one is published for at least so long.
const PUBLISHED_AT_LEAST: Duration = Duration::from_secs(120);
/// And for at most so long: who waits longer has forgotten it.
const PUBLISHED_AT_MOST: Duration = Duration::from_secs(7 * 24 * 3600);

pub(super) async fn run(command: KeysCommand) -> Done {
    match command {
        KeysCommand::Show { config, output } => show(&open(&config.config).await?, output.format()).await,
        KeysCommand::Rotate(RotateCommand::Master { config, output }) => rotate_master(&config, output.format()).await,
        KeysCommand::Rotate(RotateCommand::Checkpoint { keep_former, config, output }) => {
            let former = if keep_former { FormerKey::Keep } else { FormerKey::Destroy };
            rotate_checkpoint(&open(&config.config).await?, former, output.format()).await
        }
        KeysCommand::Rotate(RotateCommand::Assertion { publish_for, compromised, config, output }) => {
            let published = published(&publish_for)?;
            let house = open(&config.config).await?;
            let at = house.flows.clock.now();
            rotate_assertion(&house, at, rotation(at, published, compromised), output.format()).await
        }
        KeysCommand::Rotate(RotateCommand::Push { compromised, config, output }) => {
            rotate_push(&open(&config.config).await?, compromised, output.format()).await
        }
        KeysCommand::Rotate(RotateCommand::Signals { publish_for, compromised, config, output }) => {
            let published = published(&publish_for)?;
            let house = open(&config.config).await?;
            let at = house.flows.clock.now();
            rotate_signals(&house, at, rotation(at, published, compromised), output.format()).await
        }
    }
}

/// How long a new key is published before it signs.
fn published(publish_for: &str) -> Result<Duration, super::Failure> {
    let published = parse_duration(publish_for)
        .ok_or_else(|| wrong_input(format!("--publish-for: {publish_for:?} is no duration like \"10m\"")))?;
    if !(PUBLISHED_AT_LEAST..=PUBLISHED_AT_MOST).contains(&published) {
        return Err(wrong_input(
            "--publish-for: from 2m, so that every running gate publishes the key before it signs, to 7d; \
             for a key that somebody else may have, --compromised",
        ));
    }
    Ok(published)
}

fn rotation(at: Timestamp, published: Duration, compromised: bool) -> KeyRotation {
    if compromised { KeyRotation::AtOnce } else { KeyRotation::PublishedFirst { signs_from: at.plus(published) } }
}

/// When a key begins to sign, as the entry has it too.
fn begins(at: Timestamp, rotation: KeyRotation) -> (Timestamp, String) {
    match rotation {
        KeyRotation::AtOnce => (at, String::new()),
        KeyRotation::PublishedFirst { signs_from } => (signs_from, signs_from.as_ms().to_string()),
    }
}

async fn show(house: &House, format: Format) -> Done {
    let master = keyring(&house.settings.master_key)?;
    let checkpoint = house.database.checkpoint_keys().await.map_err(because)?;
    let signals = house.database.stored_signal_keys().await.map_err(because)?;
    let push = house.database.stored_push_keys().await.map_err(because)?;
    let now = house.flows.clock.now();
    let tells = signals.iter().find(|key| key.signs_from <= now).map(|key| key.id.as_str());
    // The newest first: the first whose time has come is the one that signs.
    let signs = house.keys.assertion.iter().find(|key| key.signs_from <= now).map(|key| key.id.as_str());
    match format {
        Format::Json => {
            let assertion = |key: &stepgate_store::AssertionKey| {
                serde_json::json!({
                    "id": key.id,
                    "made_at": key.made_at.to_string(),
                    "signs_from": key.signs_from.to_string(),
                    "signs": signs == Some(key.id.as_str()),
                })
            };
            let former: Vec<_> = checkpoint.iter().rev().skip(1).map(|key| key.verifier.as_str()).collect();
            print::json(&serde_json::json!({
                "master": master.current_id(),
                "checkpoint": house.keys.checkpoint_verifier,
                "checkpoint_former": former,
                "assertion": house.keys.assertion.iter().map(assertion).collect::<Vec<_>>(),
                "push": push.iter().map(|key| serde_json::json!({
                    "id": key.id,
                    "made_at": key.made_at.to_string(),
                })).collect::<Vec<_>>(),
                "signals": signals.iter().map(|key| serde_json::json!({
                    "id": key.id,
                    "made_at": key.made_at.to_string(),
                    "signs_from": key.signs_from.to_string(),
                    "signs": tells == Some(key.id.as_str()),
                })).collect::<Vec<_>>(),
            }));
        }
        Format::Text => {
            println!("master      {} (seals every secret in the store)", master.current_id());
            println!("checkpoint  {}", house.keys.checkpoint_verifier);
            for key in checkpoint.iter().rev().skip(1) {
                let half = if key.has_private_half { "kept, sealed" } else { "destroyed" };
                println!("            {} (former; its private half is {half})", key.verifier);
            }
            for key in &house.keys.assertion {
                let role = if signs == Some(key.id.as_str()) {
                    "signs Stepgate-Assertion".to_owned()
                } else if key.signs_from > now {
                    format!("published, signs from {}", key.signs_from)
                } else {
                    "former; published until what it signed is out of date".to_owned()
                };
                println!("assertion   {} ({role}, made {})", key.id, key.made_at);
            }
            for key in &signals {
                let role = if tells == Some(key.id.as_str()) {
                    "signs security events".to_owned()
                } else if key.signs_from > now {
                    format!("published, signs from {}", key.signs_from)
                } else {
                    "former; published for seven days after the next began".to_owned()
                };
                println!("signals     {} ({role}, made {})", key.id, key.made_at);
            }
            for (index, key) in push.iter().enumerate() {
                let role = if index == 0 { "wakes devices" } else { "former; wakes those that subscribed for it" };
                println!("push        {} ({role}, made {})", key.id, key.made_at);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a rotation says to programs: which key, and what else there is to know.
fn rotated(purpose: &str, key: &str, more: serde_json::Value) {
    let mut said = serde_json::json!({ "purpose": purpose, "key": key });
    if let (Some(said), serde_json::Value::Object(more)) = (said.as_object_mut(), more) {
        said.extend(more);
    }
    print::json(&said);
}

async fn rotate_master(config: &ConfigArgs, format: Format) -> Done {
    let house = open(&config.config).await?;
    let MasterKey::File(path) = &house.settings.master_key else {
        return Err(wrong_input(
            "the master key is in an environment variable: put a new line with a new key first in it, restart, then rotate",
        ));
    };
    let old = keyring(&house.settings.master_key)?;
    let new = old.with_new_key(&SystemRandomness);
    let key = new.current_id();
    // The entry first: a crash here leaves an entry of a key that seals nothing. Then the file: a crash
    // here leaves a key that seals from now on, and what is not sealed anew yet opens with the former
    // one, which is in the file too. To rotate again makes good whatever was broken off.
    let event = Event::KeyRotated { purpose: "master".to_owned(), key: key.clone(), by: by(), from_ms: String::new() };
    house.database.record(vec![house.flows.entry(house.flows.clock.now(), event)]).await.map_err(because)?;
    replace(&new, path).map_err(because)?;
    house.database.replace_keyring(new);
    let sealed = house.database.seal_anew().await.map_err(because)?;
    match format {
        Format::Json => rotated("master", &key, serde_json::json!({ "sealed_anew": sealed })),
        Format::Text => {
            println!("Master key {key} seals from now on; {sealed} values were sealed anew.");
            println!("The old key stays in {} until every node runs with the new file.", path.display());
            println!("Running gates read the file when they are told to (SIGHUP) or start: do that now, because");
            println!("until then they cannot open what was just sealed anew, and refuse what needs it.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn rotate_checkpoint(house: &House, former: FormerKey, format: Format) -> Done {
    let before = house.keys.checkpoint_verifier.clone();
    let at = house.flows.clock.now();
    let entry = |key: &str, former: &str| {
        let (key, former) = (key.to_owned(), former.to_owned());
        house.flows.entry(at, Event::CheckpointKeyAnnounced { key, former, by: by() })
    };
    let key = house.database.new_checkpoint_key(at, former, entry).await.map_err(because)?;
    let keys = house.database.checkpoint_keys().await.map_err(because)?;
    let announced = keys.iter().find(|made| made.verifier == key).and_then(super::audit::announced_by);
    match format {
        Format::Json => rotated(
            "checkpoint",
            &key,
            serde_json::json!({
                "former": before,
                "announced_by": announced,
                "former_private_half": if former == FormerKey::Keep { "sealed in the store" } else { "destroyed" },
            }),
        ),
        Format::Text => {
            println!("The log is signed by a new key from now on:");
            println!("  {key}\n");
            if let Some(index) = announced {
                println!("Entry {index} announces it, under a head that the former key signed:");
                println!("  {before}");
            }
            match former {
                FormerKey::Destroy => {
                    println!("The private half of that is destroyed; backups made before have it, sealed.")
                }
                FormerKey::Keep => {
                    println!("The private half of that is kept, sealed, in the store; nothing is signed with it.")
                }
            }
            println!("\nRunning gates sign with the new key from their next entry on; nothing needs to be restarted.");
            println!(
                "Whoever knows the former key can go on using it: `stepgate audit verify` follows the announcement."
            );
            println!("Keep the new one beside it, apart from this machine.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn rotate_assertion(house: &House, at: Timestamp, rotation: KeyRotation, format: Format) -> Done {
    let (signs_from, from_ms) = begins(at, rotation);
    let entry = |key: &str| {
        let (purpose, key) = ("assertion".to_owned(), key.to_owned());
        house.flows.entry(at, Event::KeyRotated { purpose, key, by: by(), from_ms })
    };
    let key = match house.database.new_assertion_key(at, rotation, entry).await {
        Ok(key) => key,
        Err(ChangeError::Conflict) => {
            return Err(failed(
                "a new assertion key is published and does not sign yet (`stepgate keys show` says from when): wait for \
                 it, or give --compromised to replace all keys at once",
            ));
        }
        Err(error) => return Err(because(error)),
    };
    match format {
        Format::Json => rotated("assertion", &key, serde_json::json!({ "signs_from": signs_from.to_string() })),
        Format::Text if rotation == KeyRotation::AtOnce => {
            println!("Assertion key {key} signs from now on; all others are deleted.");
            println!("Send every running gate SIGHUP now, or it goes on with the former key for up to a minute.");
            println!("Applications that keep the JWK set must fetch it again, or they refuse what is signed now");
            println!("and accept what the former key signed.");
        }
        Format::Text => {
            println!("Assertion key {key} is published by every running gate within a minute,");
            println!("and signs from {signs_from}. Until then the former one signs; it stays published until");
            println!("what it signed last is out of date, and is deleted then. Nothing needs to be restarted.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn rotate_signals(house: &House, at: Timestamp, rotation: KeyRotation, format: Format) -> Done {
    let there = house.database.stored_signal_keys().await.map_err(because)?;
    if there.is_empty() {
        return Err(failed("there is no key for security events yet: a gate with [machines.streams] makes it"));
    }
    let (signs_from, from_ms) = begins(at, rotation);
    let made = RsaSetSigner::make().ok_or_else(|| failed("the library makes no key"))?;
    let key = made.0.clone();
    let event = Event::KeyRotated { purpose: "signals".to_owned(), key: key.clone(), by: by(), from_ms };
    match house.database.new_signal_key(made, at, rotation, house.flows.entry(at, event)).await {
        Ok(()) => {}
        Err(ChangeError::Conflict) => {
            return Err(failed(
                "a new key for security events is published and does not sign yet (`stepgate keys show` says from \
                 when): wait for it, or give --compromised to replace all keys at once",
            ));
        }
        Err(error) => return Err(because(error)),
    }
    match format {
        Format::Json => rotated("signals", &key, serde_json::json!({ "signs_from": signs_from.to_string() })),
        Format::Text if rotation == KeyRotation::AtOnce => {
            println!(
                "Signals key {key} signs as soon as running gates know it, within a minute; all others are deleted."
            );
            println!("Receivers must fetch /ssf/jwks.json again, or they refuse what is signed now and accept");
            println!("what the former key signed.");
        }
        Format::Text => {
            println!("Signals key {key} is published by every running gate within a minute,");
            println!("and signs from {signs_from}. The former one stays published for seven days longer.");
            println!("Nothing needs to be restarted.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn rotate_push(house: &House, compromised: bool, format: Format) -> Done {
    if house.database.stored_push_keys().await.map_err(because)?.is_empty() {
        return Err(failed("there is no key that wakes devices yet: a gate with [push] makes it"));
    }
    let at = house.flows.clock.now();
    let rotation = if compromised { KeyRotation::AtOnce } else { KeyRotation::PublishedFirst { signs_from: at } };
    let made = VapidKeys::make().ok_or_else(|| failed("the library makes no key"))?;
    let key = made.0.clone();
    let event = Event::KeyRotated { purpose: "push".to_owned(), key: key.clone(), by: by(), from_ms: String::new() };
    house.database.new_push_key(made, at, rotation, house.flows.entry(at, event)).await.map_err(because)?;
    match format {
        Format::Json => rotated("push", &key, serde_json::json!({ "others_deleted": compromised })),
        Format::Text if compromised => {
            println!("Push key {key} is the only one from now on; running gates know it within a minute.");
            println!("No device is woken until its page was opened once more: it subscribes anew then.");
        }
        Format::Text => {
            println!("Devices that subscribe from now on do so for push key {key}; running gates know it");
            println!("within a minute. Those that subscribed before are woken with the former key until their page");
            println!("is opened next. Nothing needs to be restarted.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Replaces the key file in one step: a crash leaves the old file or the new one, never half of one. It
/// is on the disk before anything is sealed with the new key, or a power cut could lose that key.
fn replace(keyring: &Keyring, path: &Path) -> Result<(), KeyringError> {
    let failed = |source| KeyringError::Io { path: path.to_owned(), source };
    let next = path.with_extension("new");
    // Left by a rotation that was broken off before the rename: nothing was sealed with it.
    let _ = std::fs::remove_file(&next);
    keyring.create_file(&next)?;
    std::fs::rename(&next, path).map_err(failed)?;
    let directory = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    std::fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
}
