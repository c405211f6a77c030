//! What a phone scans.

use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};
use stepgate_core::factor::NotEnrolled;

/// Smallest side of the QR code, in pixels.
const QR_SIDE: u32 = 240;

/// The URI as an SVG element, to stand inside a page.
pub(crate) fn qr(uri: &str) -> Result<String, NotEnrolled> {
    let code = QrCode::with_error_correction_level(uri, EcLevel::M)
        .map_err(|error| NotEnrolled::Fault(format!("the QR code cannot be made: {error}")))?;
    let document = code.render::<svg::Color<'_>>().min_dimensions(QR_SIDE, QR_SIDE).build();
    // The XML declaration has no place inside HTML.
    Ok(document.find("<svg").and_then(|start| document.get(start..)).unwrap_or(&document).to_owned())
}
