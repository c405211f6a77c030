//! `stepgate keys …`.

use std::process::ExitCode;

use stepgate_core::ports::Store as _;
use stepgate_evidence::Event;
use stepgate_store::Keyring;

use super::{Done, because, open, print, wrong_input};
use crate::cli::{Format, KeysCommand};
use crate::config::MasterKey;
use crate::gate::keyring;
use crate::system::SystemRandomness;

pub(super) async fn run(command: KeysCommand) -> Done {
    match command {
        KeysCommand::Show { config, output } => {
            let house = open(&config.config).await?;
            let master = keyring(&house.settings.master_key)?;
            match output.format() {
                Format::Json => print::json(&serde_json::json!({
                    "master": master.current_id(),
                    "checkpoint": house.keys.checkpoint_verifier,
                    "assertion": house.keys.assertion.iter().map(|key| key.id.clone()).collect::<Vec<_>>(),
                })),
                Format::Text => {
                    println!("master      {} (seals every secret in the store)", master.current_id());
                    println!("checkpoint  {}", house.keys.checkpoint_verifier);
                    for (index, key) in house.keys.assertion.iter().enumerate() {
                        let role = if index == 0 { "signs Stepgate-Assertion" } else { "still published" };
                        println!("assertion   {} ({role}, made {})", key.id, key.made_at);
                    }
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        KeysCommand::Rotate(config) => {
            let house = open(&config.config).await?;
            let MasterKey::File(path) = &house.settings.master_key else {
                return Err(wrong_input(
                    "the master key is in an environment variable: put a new line with a new key first in it, restart, then rotate",
                ));
            };
            let old = keyring(&house.settings.master_key)?;
            let new = old.with_new_key(&SystemRandomness);
            replace(&new, path).map_err(because)?;
            house.database.replace_keyring(new.clone());
            let sealed = house.database.seal_anew().await.map_err(because)?;
            let (key, by) = (new.current_id(), super::user::by());
            let event = Event::KeyRotated { purpose: "master".to_owned(), key: key.clone(), by };
            let entry = house.flows.entry(house.flows.clock.now(), event);
            house.database.record(vec![entry]).await.map_err(because)?;
            println!("Master key {key} seals from now on; {sealed} values were sealed anew.");
            println!("The old key stays in {} until every node runs with the new file.", path.display());
            println!("Running gates read the file when they are told to (SIGHUP) or start: do that now, because");
            println!("until then they cannot open what was just sealed anew, and refuse what needs it.");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Replaces the key file in one step: a crash leaves the old file or the new one, never half of one.
fn replace(keyring: &Keyring, path: &std::path::Path) -> Result<(), stepgate_store::KeyringError> {
    let next = path.with_extension("new");
    // Left by a rotation that was broken off before the rename: nothing was sealed with it.
    let _ = std::fs::remove_file(&next);
    keyring.create_file(&next)?;
    std::fs::rename(&next, path).map_err(|source| stepgate_store::KeyringError::Io { path: path.to_owned(), source })
}
