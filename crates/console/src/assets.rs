//! Style, scripts and the mark: compiled in, named by their digest.
//!
//! The digest in the name lets browsers keep a file for a year: another content
//! is another name.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// Browsers may keep an asset this long, since its name changes with its content.
pub const CACHE_CONTROL: &str = "public, max-age=31536000, immutable";

/// The path below the gate's own origin where assets are served.
pub const OWN_ORIGIN_BASE: &str = "/assets/";

/// One compiled-in file.
#[derive(Debug)]
pub struct Asset {
    /// Its name with the digest, such as `stepgate-0f3a….css`.
    pub name: String,
    /// The media type it is served with.
    pub content_type: &'static str,
    /// Its bytes.
    pub bytes: &'static [u8],
}

impl Asset {
    fn new(stem: &str, extension: &str, content_type: &'static str, bytes: &'static [u8]) -> Self {
        let digest = format!("{:x}", Sha256::digest(bytes));
        let short: String = digest.chars().take(16).collect();
        Self { name: format!("{stem}-{short}.{extension}"), content_type, bytes }
    }
}

#[derive(Debug)]
struct Files {
    style: Asset,
    page_script: Asset,
    passkey_script: Asset,
    approver_script: Asset,
    mark: Asset,
}

static FILES: LazyLock<Files> = LazyLock::new(|| Files {
    style: Asset::new("stepgate", "css", "text/css; charset=utf-8", include_bytes!("../assets/stepgate.css")),
    page_script: Asset::new("page", "js", "text/javascript; charset=utf-8", include_bytes!("../assets/page.js")),
    passkey_script: Asset::new(
        "passkey",
        "js",
        "text/javascript; charset=utf-8",
        include_bytes!("../assets/passkey.js"),
    ),
    approver_script: Asset::new(
        "approver",
        "js",
        "text/javascript; charset=utf-8",
        include_bytes!("../assets/approver.js"),
    ),
    mark: Asset::new("mark", "svg", "image/svg+xml", include_bytes!("../assets/mark.svg")),
});

/// The asset of this exact name, or `None`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Asset> {
    let files = &*FILES;
    let all = [&files.style, &files.page_script, &files.passkey_script, &files.approver_script, &files.mark];
    all.into_iter().find(|asset| asset.name == name)
}

/// What an approver device finds at a place that never changes: media type and bytes.
#[must_use]
pub fn fixed(name: &str) -> Option<(&'static str, &'static [u8])> {
    match name {
        "worker.js" => Some(("text/javascript; charset=utf-8", include_bytes!("../assets/worker.js"))),
        "manifest.webmanifest" => Some(("application/manifest+json", include_bytes!("../assets/manifest.webmanifest"))),
        "icon-192.png" => Some(("image/png", include_bytes!("../assets/icon-192.png"))),
        "icon-512.png" => Some(("image/png", include_bytes!("../assets/icon-512.png"))),
        _ => None,
    }
}

/// Where a page finds its assets: a path or URL that ends in `/`.
///
/// Pages at the gate's own origin use [`OWN_ORIGIN_BASE`]. Pages that a door
/// shows on a service's host name the gate's origin here.
#[derive(Debug, Clone)]
pub struct AssetBase(String);

impl AssetBase {
    /// Assets of the gate's own origin, for pages on that origin.
    #[must_use]
    pub fn own_origin() -> Self {
        Self(OWN_ORIGIN_BASE.to_owned())
    }

    /// Assets of the gate's origin (such as `https://gate.example.com`), for
    /// pages shown on another host.
    #[must_use]
    pub fn of_gate(origin: &str) -> Self {
        Self(format!("{}{OWN_ORIGIN_BASE}", origin.trim_end_matches('/')))
    }

    /// The style sheet.
    #[must_use]
    pub fn style(&self) -> String {
        self.at(&FILES.style)
    }

    /// The script that shows times in the reader's zone and guards against
    /// double submission.
    #[must_use]
    pub fn page_script(&self) -> String {
        self.at(&FILES.page_script)
    }

    /// The script that makes the passkey call.
    #[must_use]
    pub fn passkey_script(&self) -> String {
        self.at(&FILES.passkey_script)
    }

    /// The script of approver devices: it lets them be woken.
    #[must_use]
    pub fn approver_script(&self) -> String {
        self.at(&FILES.approver_script)
    }

    /// The mark, an SVG.
    #[must_use]
    pub fn mark(&self) -> String {
        self.at(&FILES.mark)
    }

    fn at(&self, asset: &Asset) -> String {
        format!("{}{}", self.0, asset.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_asset_is_found_under_the_name_that_pages_use() {
        let base = AssetBase::own_origin();
        for url in [base.style(), base.page_script(), base.passkey_script(), base.approver_script(), base.mark()] {
            let name = url.strip_prefix(OWN_ORIGIN_BASE).unwrap();
            assert!(find(name).is_some(), "{name} is not served");
        }
    }

    #[test]
    fn a_name_with_another_digest_is_not_served() {
        assert!(find("stepgate-0000000000000000.css").is_none());
        assert!(find("stepgate.css").is_none());
        assert!(find("../Cargo.toml").is_none());
    }

    #[test]
    fn no_asset_names_another_origin() {
        for asset in [&FILES.style, &FILES.page_script, &FILES.passkey_script, &FILES.approver_script, &FILES.mark] {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            let foreign = text.replace("http://www.w3.org/2000/svg", "").contains("://");
            assert!(!foreign, "{} names another origin", asset.name);
        }
    }
}
