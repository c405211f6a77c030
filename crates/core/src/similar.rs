//! What somebody may have meant by a word that nobody knows.

/// How far a word may be from what was meant, in letters.
const FAR: usize = 3;

/// The known word that is nearest, if it is near: for "did you mean".
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().map(|known| (distance(known, word), known)).min()?;
    // Of a short word, three letters are all of it: at least half has to be the same.
    let letters = word.chars().count().max(near.1.chars().count());
    (near.0 <= FAR && near.0.saturating_mul(2) <= letters).then_some(near.1)
}

/// Edit distance: letters to put in, take out or exchange.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        let mut next = vec![left];
        for (y, above) in b.iter().zip(row.iter().skip(1)) {
            let cost = diagonal.saturating_add(usize::from(x != *y));
            left = cost.min(left.saturating_add(1)).min(above.saturating_add(1));
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn distances() {
        assert_eq!(distance("listen", "listne"), 2);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn only_what_is_near_is_proposed() {
        let known = ["passkey", "totp", "low"];
        assert_eq!(nearest("paskey", known), Some("passkey"));
        assert_eq!(nearest("topt", known), Some("totp"));
        assert_eq!(nearest("fingerprint", known), None);
        assert_eq!(nearest("hi", ["low"]), None, "nothing of it is the same");
        assert_eq!(nearest("foo", ["on", "title"]), None, "one letter of three");
        assert_eq!(nearest("x", []), None);
    }
}
