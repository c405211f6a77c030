//! `stepgate tokens …`.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use secrecy::SecretString;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use stepgate_core::flows::{ImportedFrom, ReadToken, TokenError};
use stepgate_core::ports::{HardwareToken, HardwareTokens as _};
use stepgate_factors::{FILE_MAX, OpensSeeds, read_csv, read_pskc};
use zeroize::Zeroizing;

use super::user::{by, find};
use super::{Done, Failure, because, failed, open, print, unreadable, wrong_input};
use crate::cli::{ConfigArgs, Format, SeedFormat, TokensCommand};
use crate::gate::House;

/// Bytes of a file with a key or a passphrase.
const SECRET_MAX: u64 = 4_096;
/// Tokens of one reading of the list.
const AT_ONCE: u32 = 500;

pub(super) async fn run(command: TokensCommand) -> Done {
    match command {
        TokensCommand::Import { file, format, key_file, passphrase_file, config, output } => {
            let house = offered(&config).await?;
            let opens = opens(key_file, passphrase_file)?;
            import(&house, &file, format, opens.as_ref(), output.format()).await
        }
        TokensCommand::List { config, output } => list(&offered(&config).await?, output.format()).await,
        TokensCommand::Assign { serial, login, config, output } => {
            let house = offered(&config).await?;
            let token = house.flows.hardware_token(&serial).await.map_err(refused)?;
            let person = find(&house.flows, &login).await?;
            house.flows.assign_token(&token, &person, &by()).await.map_err(refused)?;
            let value = json!({ "serial": serial, "state": "assigned", "login": person.login.as_str() });
            let words = format!("{serial} is {}'s to activate: in their account, with a code of it.", person.login);
            print::done(output.format(), &value, &words)
        }
        TokensCommand::Unassign { serial, config, output } => {
            let house = offered(&config).await?;
            let token = house.flows.hardware_token(&serial).await.map_err(refused)?;
            house.flows.unassign_token(&token, &by()).await.map_err(refused)?;
            let value = json!({ "serial": serial, "state": "free" });
            print::done(output.format(), &value, &format!("{serial} is nobody's, and can be handed out."))
        }
        TokensCommand::Revoke { serial, config, output } => {
            let house = offered(&config).await?;
            let token = house.flows.hardware_token(&serial).await.map_err(refused)?;
            house.flows.revoke_token(&token, &by()).await.map_err(refused)?;
            let value = json!({ "serial": serial, "state": "revoked" });
            print::done(output.format(), &value, &format!("{serial} is out of use for good."))
        }
    }
}

/// The house of a configuration that uses hardware tokens.
async fn offered(config: &ConfigArgs) -> Result<House, Failure> {
    let house = open(&config.config).await?;
    if house.flows.hardware.is_none() {
        return Err(wrong_input(TokenError::NotOffered));
    }
    Ok(house)
}

fn refused(error: TokenError) -> Failure {
    match error {
        TokenError::Store(_) => because(error),
        error => failed(error),
    }
}

fn opens(key_file: Option<PathBuf>, passphrase_file: Option<PathBuf>) -> Result<Option<OpensSeeds>, Failure> {
    if let Some(path) = key_file {
        let key = OpensSeeds::key(&read_secret("--key-file", &path)?);
        return key.map(Some).map_err(|error| wrong_input(format!("--key-file: {error}")));
    }
    let Some(path) = passphrase_file else { return Ok(None) };
    let phrase = read_secret("--passphrase-file", &path)?;
    Ok(Some(OpensSeeds::Passphrase(SecretString::from(phrase.trim_end_matches(['\r', '\n'])))))
}

fn read_secret(what: &str, path: &Path) -> Result<Zeroizing<String>, Failure> {
    let file = std::fs::File::open(path).map_err(|error| unreadable(what, path, &error))?;
    let mut text = Zeroizing::new(String::new());
    file.take(SECRET_MAX).read_to_string(&mut text).map_err(|error| unreadable(what, path, &error))?;
    Ok(text)
}

async fn import(
    house: &House,
    path: &Path,
    format: Option<SeedFormat>,
    opens: Option<&OpensSeeds>,
    output: Format,
) -> Done {
    let format = match format {
        Some(format) => format,
        None => by_name(path)?,
    };
    let file = std::fs::File::open(path).map_err(|error| unreadable("FILE", path, &error))?;
    let mut bytes = Zeroizing::new(Vec::new());
    // One byte more than there may be: the reader says that it is too much.
    let most = u64::try_from(FILE_MAX).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes).map_err(|error| unreadable("FILE", path, &error))?;
    let wrong = |error| wrong_input(format!("{}: {error}", path.display()));
    let (name, read): (_, Vec<ReadToken>) = match format {
        SeedFormat::Pskc => ("pskc", read_pskc(&bytes, opens, house.flows.clock.now()).map_err(wrong)?),
        SeedFormat::Csv if opens.is_some() => {
            return Err(wrong_input("seeds in CSV are not encrypted: take --key-file and --passphrase-file away"));
        }
        SeedFormat::Csv => ("csv", read_csv(&bytes).map_err(wrong)?),
    };
    let count = read.len();
    let file = hex::encode(Sha256::digest(bytes.as_slice()));
    let from = ImportedFrom { file: file.clone(), format: name, by: by() };
    house.flows.import_tokens(read, from).await.map_err(refused)?;
    let value = json!({ "imported": count, "file_sha256": file });
    let words = format!(
        "Imported {count} tokens. Hand them out with `stepgate tokens assign`, and destroy {}: it has their seeds.",
        path.display()
    );
    print::done(output, &value, &words)
}

fn by_name(path: &Path) -> Result<SeedFormat, Failure> {
    match path.extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
        "csv" => Ok(SeedFormat::Csv),
        "xml" | "pskc" | "pskcxml" => Ok(SeedFormat::Pskc),
        _ => Err(wrong_input(format!("{}: its name does not say its form; give --format", path.display()))),
    }
}

async fn list(house: &House, format: Format) -> Done {
    let mut rows = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let tokens = house.database.tokens(after.as_deref(), AT_ONCE).await.map_err(because)?;
        let Some(last) = tokens.last() else { break };
        after = Some(last.serial.clone());
        for token in tokens {
            let login = match token.state.person() {
                Some(id) => house.flows.store.person(id).await.map_err(because)?.map(|person| person.login.to_string()),
                None => None,
            };
            match format {
                Format::Text => println!(
                    "{:<24} {:<6} {:<9} {:<24} {}",
                    token.serial,
                    token.kind.name(),
                    token.state.name(),
                    login.unwrap_or_default(),
                    token.manufacturer
                ),
                Format::Json => rows.push(row(&token, login)),
            }
        }
    }
    if format == Format::Json {
        print::json(&Value::Array(rows));
    }
    Ok(ExitCode::SUCCESS)
}

fn row(token: &HardwareToken, login: Option<String>) -> Value {
    json!({
        "token": token.id.to_string(), "serial": token.serial, "manufacturer": token.manufacturer,
        "kind": token.kind.name(), "state": token.state.name(), "login": login,
        "imported_at": token.imported_at.to_string(), "until": token.until.map(|until| until.to_string()),
    })
}
