//! The tour: the whole main job without a browser, each step checked, and what it proves.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use reqwest::Method;
use serde_json::{Value, json};

use super::Demo;
use crate::commands::{Done, FOUND, Failure, because, export, failed, verify_export};
use crate::headless::{Authenticator, Browser, Page};

/// Walks the tour. The first step that does not do what it should ends it.
pub(super) async fn walk(demo: Demo, kept: bool) -> Done {
    let walked = steps(&demo).await;
    let Demo { gate, directory, verifier, app, .. } = demo;
    app.cancel();
    let flows = std::sync::Arc::clone(&gate.flows);
    if walked.is_ok() {
        gate.flows.flush_refusals().await.map_err(because)?;
    }
    let out = directory.join("evidence");
    let exported = match &walked {
        Ok(()) => {
            // What an earlier tour exported into the same directory is replaced.
            let _ = std::fs::remove_dir_all(&out);
            export(&flows, &out, "demo").await.map(|_| ())
        }
        Err(_) => Ok(()),
    };
    drop(flows);
    gate.stop().await;
    walked?;
    exported?;
    evidence(&out, &verifier, kept)
}

fn say(number: usize, what: &str, proves: &str) {
    println!("{number:>2}. {what}\n      {proves}");
}

fn check(holds: bool, what: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(failed(format!("the tour stops here: {}", what()))) }
}

fn is(page: &Page, status: u16, text: &str) -> Result<(), Failure> {
    check(page.status == status && page.body.contains(text), || {
        format!("{} answered {} where {status} with {text:?} was expected:\n{}", page.url, page.status, page.body)
    })
}

async fn steps(demo: &Demo) -> Result<(), Failure> {
    let Demo { gate_origin, ledger_origin, alice, .. } = demo;
    let browser = Browser::new("stepgate-tour", demo.address, &["localhost", "ledger.localhost"])?;
    println!("\nA tour of the main job, with {ledger_origin} behind {gate_origin}\n");

    let page = browser.open(&format!("{ledger_origin}/payments")).await?;
    check(page.url.as_str().starts_with(&format!("{gate_origin}/sign-in")), || format!("no sign-in but {}", page.url))?;
    say(
        1,
        "Opened the ledger without a session: led to the gate's sign-in page.",
        "Nobody reaches the application unknown.",
    );

    let form = sign_in_form(&page, &alice.login, &alice.password)?;
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let page = browser.submit(&format!("{gate_origin}/sign-in"), &form).await?;
    is(&page, 200, "Meridian Turbines")?;
    say(
        2,
        "Signed in with name and password: back at the ledger, which shows the payments.",
        "One sign-in at the gate; the ledger's host got a session of its own by a one-time code.",
    );

    let page = browser.submit(&format!("{ledger_origin}/payments/41/approve"), &[("amount", "900")]).await?;
    is(&page, 200, "Payment 41 of 900")?;
    say(3, "Approved a payment of 900: it passed.", "Everyday requests are not bothered.");

    let passkey = enrol_passkey(demo, &browser).await?;
    say(
        4,
        "Added a passkey to the account, after proving an authenticator code.",
        "Enrolling a factor is itself stepped up, by a factor that was there.",
    );

    let approve = format!("{ledger_origin}/payments/42/approve");
    let page = browser.submit(&approve, &[("amount", "12000")]).await?;
    let challenge = page.url.clone();
    check(challenge.path().starts_with("/challenges/"), || format!("no challenge but {challenge}: {}", page.body))?;
    check(page.body.contains("Approve payment 42 of 12000"), || "the page does not say what is confirmed".to_owned())?;
    let (_, asked) = browser.call(Method::GET, challenge.as_str(), None).await?;
    say(
        5,
        "Approved a payment of 12,000: held, and asked for a proof for this payment alone.",
        &format!("\"{}\"", reason(&asked)),
    );

    let stranger = Browser::new("stepgate-tour", demo.address, &["localhost", "ledger.localhost"])?;
    let options = options(&asked)?;
    let wrong =
        json!({ "factor": "passkey", "assertion": passkey.sign("http://evil.example", &options).map_err(because)? });
    let answers = format!("{challenge}/answers");
    let (status, _) = browser.call(Method::POST, &answers, Some(&wrong)).await?;
    check(status >= 400, || format!("a signature for another origin was answered {status}"))?;
    let (status, _) = stranger.call(Method::POST, &answers, Some(&wrong)).await?;
    check(status >= 400, || format!("a stranger's answer was answered {status}"))?;
    say(
        6,
        "Tried a signature made on a phishing page, and one from a browser that is not signed in: refused.",
        "The proof is bound to the gate's origin, and to the session that asked.",
    );

    let go_on = answer(&browser, &answers, &passkey, gate_origin, &options).await?;
    let page = browser.open(&go_on).await?;
    let resume = page.field("stepgate-resume")?;
    let page = browser.submit(&approve, &[("stepgate-resume", &resume)]).await?;
    is(&page, 200, "Payment 42 of 12,000")?;
    check(page.url.as_str() == approve, || format!("the page is {} and not {approve}", page.url))?;
    say(
        7,
        "Touched the passkey: the held form went on, and the ledger answered at its own URL.",
        "Nothing was lost, nothing was typed twice.",
    );

    let page = browser.submit(&approve, &[("stepgate-resume", &resume)]).await?;
    check(!page.body.contains("Payment 42 of 12,000 to"), || "the resume code was accepted twice".to_owned())?;
    let page = browser.submit(&approve, &[("amount", "12000")]).await?;
    check(page.url.path().starts_with("/challenges/"), || format!("the spent confirmation let through: {}", page.url))?;
    say(
        8,
        "Sent the same code again, and the same payment again: not sent, and asked anew.",
        "A confirmation is for one request, once.",
    );

    program(demo, &browser, &passkey).await?;
    fresh(demo, &browser, &passkey).await
}

/// A program: 401, a passkey for exactly these bytes, the same call again.
async fn program(demo: &Demo, browser: &Browser, passkey: &Authenticator) -> Result<(), Failure> {
    let Demo { gate_origin, ledger_origin, .. } = demo;
    let url = format!("{ledger_origin}/api/payments/44/approve");
    let body = json!({ "amount": 48500 });
    let (status, problem) = browser.call(Method::POST, &url, Some(&body)).await?;
    let asked_at = problem.pointer("/challenge/url").and_then(Value::as_str).map(str::to_owned);
    let (401, Some(asked_at)) = (status, asked_at) else {
        return Err(failed(format!("a program got {status}: {problem}")));
    };
    let (_, asked) = browser.call(Method::GET, &asked_at, None).await?;
    let signed = passkey.sign(gate_origin, &options(&asked)?).map_err(because)?;
    let signed = json!({ "factor": "passkey", "assertion": signed });
    let (status, passed) = browser.call(Method::POST, &format!("{asked_at}/answers"), Some(&signed)).await?;
    check(status == 200, || format!("the answer was answered {status}: {passed}"))?;
    let other = json!({ "amount": 48501 });
    let (status, _) = browser.call(Method::POST, &url, Some(&other)).await?;
    check(status == 401, || format!("another amount was answered {status}"))?;
    let (status, approved) = browser.call(Method::POST, &url, Some(&body)).await?;
    check(status == 200 && approved.get("approved_by").is_some(), || format!("{status}: {approved}"))?;
    say(
        9,
        "As a program: 401 with a challenge; confirmed; another amount refused; the same call again went on.",
        "Programs get RFC 9470's answer, and the confirmation fits these bytes only.",
    );
    Ok(())
}

/// An export that wants a fresh second factor.
async fn fresh(demo: &Demo, browser: &Browser, passkey: &Authenticator) -> Result<(), Failure> {
    let Demo { gate_origin, ledger_origin, .. } = demo;
    let url = format!("{ledger_origin}/payments.csv");
    let page = browser.open(&url).await?;
    check(page.url.path().starts_with("/challenges/"), || format!("no challenge but {}", page.url))?;
    let (_, asked) = browser.call(Method::GET, page.url.as_str(), None).await?;
    let go_on = answer(browser, &format!("{}/answers", page.url), passkey, gate_origin, &options(&asked)?).await?;
    is(&browser.open(&go_on).await?, 200, "48500,true")?;
    is(&browser.open(&url).await?, 200, "48500,true")?;
    say(
        10,
        "Exported all payments: asked once for a fresh second factor, not asked the second time.",
        "Freshness lasts as long as the policy says.",
    );
    Ok(())
}

fn sign_in_form(page: &Page, login: &str, password: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut form = vec![
        ("csrf".to_owned(), page.field("csrf")?),
        ("name".to_owned(), login.to_owned()),
        ("password".to_owned(), password.to_owned()),
    ];
    for onward in ["next", "continue"] {
        if let Ok(value) = page.field(onward) {
            form.push((onward.to_owned(), value));
        }
    }
    Ok(form)
}

async fn enrol_passkey(demo: &Demo, browser: &Browser) -> Result<Authenticator, Failure> {
    let gate_origin = &demo.gate_origin;
    let account = browser.open(&format!("{gate_origin}/account")).await?;
    let csrf = account.field("csrf")?;
    let add = format!("{gate_origin}/account/factors");
    let page = browser.submit(&add, &[("csrf", &csrf), ("kind", "passkey")]).await?;
    check(page.url.path().starts_with("/challenges/"), || format!("no challenge but {}: {}", page.url, page.body))?;
    let code = json!({ "factor": "totp", "code": demo.alice.code_now() });
    let (status, passed) = browser.call(Method::POST, &format!("{}/answers", page.url), Some(&code)).await?;
    let go_on = passed.get("go_on").and_then(Value::as_str).map(str::to_owned);
    let Some(go_on) = go_on else { return Err(failed(format!("the code was answered {status}: {passed}"))) };
    let page = browser.open(&go_on).await?;
    let resume = page.field("stepgate-resume")?;
    let page = browser.submit(&add, &[("stepgate-resume", &resume)]).await?;
    let options = page.after("data-passkey=\"create\"", "data-options");
    let Some(options) = options else {
        return Err(failed(format!("{} offers no passkey:\n{}", page.url, page.body)));
    };
    let options: Value = serde_json::from_str(&options).map_err(because)?;
    let (authenticator, credential) = Authenticator::create(gate_origin, &options).map_err(because)?;
    let (csrf, credential) = (page.field("csrf")?, credential.to_string());
    let form = [("csrf", csrf.as_str()), ("credential", credential.as_str()), ("name", "Tour authenticator")];
    let done = browser.submit(page.url.as_str(), &form).await?;
    is(&done, 200, "Tour authenticator")?;
    Ok(authenticator)
}

fn options(challenge: &Value) -> Result<Value, Failure> {
    let factors = challenge.get("factors").and_then(Value::as_array);
    let passkey = factors.and_then(|factors| factors.iter().find(|one| one.get("factor") == Some(&json!("passkey"))));
    let options = passkey.and_then(|one| one.get("options")).cloned();
    options.ok_or_else(|| failed(format!("the challenge offers no passkey: {challenge}")))
}

fn reason(challenge: &Value) -> String {
    let reason = challenge.pointer("/statement/policies/0/reason").and_then(Value::as_str);
    reason.unwrap_or_default().to_owned()
}

async fn answer(
    browser: &Browser,
    answers: &str,
    passkey: &Authenticator,
    origin: &str,
    options: &Value,
) -> Result<String, Failure> {
    let signed = json!({ "factor": "passkey", "assertion": passkey.sign(origin, options).map_err(because)? });
    let (status, passed) = browser.call(Method::POST, answers, Some(&signed)).await?;
    let go_on = passed.get("go_on").and_then(Value::as_str).map(str::to_owned);
    go_on.ok_or_else(|| failed(format!("the passkey was answered {status}: {passed}")))
}

/// The evidence, verified offline; and a copy with one changed byte, which must not verify.
fn evidence(out: &Path, verifier: &str, kept: bool) -> Done {
    println!("11. Exported the evidence and verified it offline, with the public key alone:\n");
    let keys = [verifier.to_owned()];
    let verified = verify_export(out, &keys, None, &[], crate::cli::Format::Text)?;
    if verified != ExitCode::SUCCESS {
        return Ok(verified);
    }
    let forged = out.with_extension("forged");
    let _ = std::fs::remove_dir_all(&forged);
    copy(out, &forged).map_err(because)?;
    let changed = change_one_byte(&forged).map_err(because)?;
    println!("\n12. Changed one byte of a copy ({}):\n", changed.display());
    let verified = verify_export(&forged, &keys, None, &[], crate::cli::Format::Text)?;
    let _ = std::fs::remove_dir_all(&forged);
    if verified != ExitCode::from(FOUND) {
        return Err(failed("the changed copy was not found out"));
    }
    println!("\nThe tour is over: everything did what it should.");
    if kept {
        println!("The evidence is in {}; its public key is\n  {verifier}", out.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Changes the amount in the first bundle of entries, or its last byte.
fn change_one_byte(export: &Path) -> std::io::Result<PathBuf> {
    let mut path = export.join("tile/entries");
    while path.is_dir() {
        let mut names: Vec<PathBuf> = std::fs::read_dir(&path)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
        names.sort();
        path = names.into_iter().next().ok_or(std::io::ErrorKind::NotFound)?;
    }
    let mut bytes = std::fs::read(&path)?;
    let mark = b"challenge.passed";
    let at = bytes.windows(mark.len()).position(|window| window == mark);
    if let Some(byte) = at.and_then(|at| bytes.get_mut(at)) {
        *byte = b'C';
    }
    std::fs::write(&path, bytes)?;
    Ok(path)
}
