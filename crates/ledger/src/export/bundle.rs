//! Entry bundles: entries one after the other, each after its length as big-endian uint16.

use super::MAX_ENTRY_LENGTH;

/// An entry that does not fit a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entry has at most {MAX_ENTRY_LENGTH} bytes, this one has {0}")]
pub struct EntryTooLong(pub usize);

/// Appends an entry to the bytes of a bundle.
///
/// # Errors
///
/// [`EntryTooLong`] if its length does not fit two bytes; the bundle is unchanged then.
pub fn append(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), EntryTooLong> {
    let length = u16::try_from(entry.len()).map_err(|_| EntryTooLong(entry.len()))?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// The entries of a bundle, in order. The last is `None` if the bundle ends within an entry.
pub fn entries(bundle: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = bundle;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let entry = rest
            .split_first_chunk::<2>()
            .and_then(|(length, after)| after.split_at_checked(usize::from(u16::from_be_bytes(*length))));
        rest = entry.map_or(&[], |(_, after)| after);
        Some(entry.map(|(entry, _)| entry))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_back_in_order() {
        let mut bundle = Vec::new();
        let long = vec![7; MAX_ENTRY_LENGTH];
        for entry in [&b"one"[..], b"", &long] {
            append(&mut bundle, entry).unwrap();
        }
        let read: Vec<_> = entries(&bundle).collect();
        assert_eq!(read, [Some(&b"one"[..]), Some(b""), Some(&long)]);
        assert_eq!(append(&mut bundle, &[0; 65_536]), Err(EntryTooLong(65_536)));
    }

    #[test]
    fn a_bundle_that_ends_within_an_entry_says_so() {
        assert_eq!(entries(&[0, 1, 9, 0, 2, 9]).collect::<Vec<_>>(), [Some(&[9][..]), None]);
        assert_eq!(entries(&[0]).collect::<Vec<_>>(), [None]);
        assert_eq!(entries(&[]).count(), 0);
    }
}
