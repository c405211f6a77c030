//! Headless Chromium with a passkey that is touched by itself.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::{ChromiumLikeCapabilities, DesiredCapabilities, WebDriver};

use crate::leash::{Leash, Stop};
use crate::programs::{Program, target_folder};

/// Without these, Chromium asks its maker's hosts for updates and more, or wants a screen.
/// The last one lets it find nothing but this machine, so that a test notices a page
/// that asks anybody else.
const ARGUMENTS: [&str; 15] = [
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--disable-features=OptimizationHints,MediaRouter,Translate,AutofillServerCommunication",
    "--window-size=1280,900",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE *.localhost, EXCLUDE 127.0.0.1",
];

/// How long something may take that a browser does by itself.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often is looked meanwhile.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// A browser of its own: no cookies, no keys, a fresh profile. It is a
/// [`WebDriver`] too.
///
/// End it with [`Self::quit`]; if it is dropped instead, its processes end all the same.
#[derive(Debug)]
pub struct Browser {
    driver: WebDriver,
    _chromedriver: Leash,
    folder: TempDir,
}

impl Browser {
    /// Starts Chromium with an empty profile.
    pub async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("stepgate-browser-").tempdir().unwrap();
        let chromedriver = Leash::start(
            &Program::Chromedriver.path(),
            ["--port=0"],
            Stop::Terminate,
            Some(folder.path()),
            None,
            |command| {
                // Chromium writes here whatever it does not write into its profile.
                command.env("HOME", folder.path()).env("TMPDIR", folder.path());
            },
        );
        // "ChromeDriver was started successfully on port 40389."
        let started = chromedriver.wait_for_line("started successfully on port");
        let port: u16 = started.rsplit(' ').next().and_then(|port| port.trim_end_matches('.').parse().ok()).unwrap();

        let mut wishes = DesiredCapabilities::chrome();
        wishes.set_binary(Program::Chromium.path().to_str().unwrap()).unwrap();
        for argument in ARGUMENTS {
            wishes.add_arg(argument).unwrap();
        }
        // Chromium's sandbox does not start as root, which is who runs tests in a container.
        wishes.add_arg("--no-sandbox").unwrap();
        wishes.add_arg(&format!("--user-data-dir={}", folder.path().join("profile").display())).unwrap();
        let downloads = folder.path().join("downloads");
        std::fs::create_dir(&downloads).unwrap();
        let preferences = json!({
            "download.default_directory": downloads,
            "download.prompt_for_download": false,
            "safebrowsing.enabled": false,
            "search.suggest_enabled": false,
        });
        wishes.add_experimental_option("prefs", preferences).unwrap();
        let driver = match WebDriver::new(format!("http://127.0.0.1:{port}"), wishes).await {
            Ok(driver) => driver,
            Err(error) => panic!("Chromium does not start: {error}\n{}", chromedriver.said().join("\n")),
        };
        Self { driver, _chromedriver: chromedriver, folder }
    }

    /// Gives the browser an authenticator inside the device that verifies its owner and is
    /// touched by itself (WebAuthn Level 3, section 11; DevTools' WebAuthn domain).
    ///
    /// It belongs to the current tab.
    pub async fn add_authenticator(&self) -> VirtualAuthenticator {
        self.devtools("WebAuthn.enable", json!({ "enableUI": false })).await;
        let added = self
            .devtools(
                "WebAuthn.addVirtualAuthenticator",
                json!({ "options": {
                    "protocol": "ctap2",
                    "ctap2Version": "ctap2_1",
                    "transport": "internal",
                    "hasResidentKey": true,
                    "hasUserVerification": true,
                    "isUserVerified": true,
                    "automaticPresenceSimulation": true,
                } }),
            )
            .await;
        VirtualAuthenticator { id: added["authenticatorId"].as_str().expect("is a string").to_owned() }
    }

    /// Gives the current tab an authenticator that holds these keys already: each tab has
    /// authenticators of its own, while on a person's device all tabs share one.
    pub async fn add_authenticator_with(&self, keys: &[Value]) -> VirtualAuthenticator {
        let authenticator = self.add_authenticator().await;
        for key in keys {
            let parameters = json!({ "authenticatorId": authenticator.id, "credential": key });
            self.devtools("WebAuthn.addCredential", parameters).await;
        }
        authenticator
    }

    /// From now on the authenticator finds its owner, or does not.
    pub async fn set_owner_present(&self, authenticator: &VirtualAuthenticator, owner: Owner) {
        let verified = owner == Owner::Present;
        let parameters = json!({ "authenticatorId": authenticator.id, "isUserVerified": verified });
        self.devtools("WebAuthn.setUserVerified", parameters).await;
    }

    /// Takes an authenticator away from the current tab.
    pub async fn take_away(&self, authenticator: &VirtualAuthenticator) {
        let parameters = json!({ "authenticatorId": authenticator.id });
        self.devtools("WebAuthn.removeVirtualAuthenticator", parameters).await;
    }

    /// The keys that the authenticator holds, as DevTools describes them.
    pub async fn keys_of(&self, authenticator: &VirtualAuthenticator) -> Vec<Value> {
        let parameters = json!({ "authenticatorId": authenticator.id });
        let held = self.devtools("WebAuthn.getCredentials", parameters).await;
        held["credentials"].as_array().expect("is a list").clone()
    }

    /// Sends one command of the DevTools protocol to the current tab.
    ///
    /// # Panics
    ///
    /// When the browser refuses it.
    pub async fn devtools(&self, method: &str, parameters: Value) -> Value {
        match self.driver.cdp().send_raw(method, parameters).await {
            Ok(answer) => answer,
            Err(error) => panic!("{method}: {error}"),
        }
    }

    /// Looks again and again until `look` finds something, and gives it.
    ///
    /// # Panics
    ///
    /// When it is not there in time; `what` says what was waited for.
    pub async fn wait_until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let looking = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
        };
        match tokio::time::timeout(LONGEST_WAIT, looking).await {
            Ok(found) => found,
            Err(_) => panic!("waited in vain until {what}"),
        }
    }

    /// Shows pages as a phone of 390 by 844 points does.
    pub async fn be_a_phone(&self) {
        let phone = json!({ "width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true });
        self.devtools("Emulation.setDeviceMetricsOverride", phone).await;
    }

    /// Pages run scripts, or do not.
    pub async fn set_scripts(&self, scripts: Scripts) {
        let parameters = json!({ "value": scripts == Scripts::Off });
        self.devtools("Emulation.setScriptExecutionDisabled", parameters).await;
    }

    /// Prefers `dark` or `light` pages.
    pub async fn prefer_colors(&self, scheme: &str) {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", media).await;
    }

    /// Writes what is seen to `screenshots/{name}.png` in the target folder.
    pub async fn screenshot_named(&self, name: &str) -> PathBuf {
        let folder = target_folder().join("screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join(name).with_extension("png");
        self.driver.screenshot(&file).await.unwrap();
        file
    }

    /// Writes what is seen at both widths, light and dark: `screenshots/{name}-{width}-{scheme}.png`.
    /// Afterwards the browser is a desktop's, and prefers what it did.
    pub async fn pictures(&self, name: &str) {
        self.devtools("Emulation.clearDeviceMetricsOverride", json!({})).await;
        for (width, is_phone) in [("desktop", false), ("phone", true)] {
            if is_phone {
                self.be_a_phone().await;
            }
            for scheme in ["light", "dark"] {
                self.prefer_colors(scheme).await;
                // Colours change slowly, and a picture is of their end.
                let finish = "document.getAnimations().forEach((animation) => animation.finish());";
                self.driver.execute(finish, vec![]).await.unwrap();
                self.screenshot_named(&format!("{name}-{width}-{scheme}")).await;
            }
        }
        self.devtools("Emulation.clearDeviceMetricsOverride", json!({})).await;
        self.prefer_colors("").await;
    }

    /// Where the browser saves what it downloads.
    pub fn downloads(&self) -> PathBuf {
        Path::new(self.folder.path()).join("downloads")
    }

    /// Ends the browser and waits until it is gone.
    pub async fn quit(self) {
        let Self { driver, _chromedriver, folder: _folder } = self;
        driver.quit().await.unwrap();
    }
}

impl Deref for Browser {
    type Target = WebDriver;

    fn deref(&self) -> &WebDriver {
        &self.driver
    }
}

/// A virtual authenticator of a [`Browser`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualAuthenticator {
    id: String,
}

/// Whether a virtual authenticator finds its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The finger or the PIN is right.
    Present,
    /// It is somebody else's.
    Absent,
}

/// Whether pages run scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scripts {
    /// As usual.
    On,
    /// As in a browser that has none.
    Off,
}
