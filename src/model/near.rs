//! The nearest known word to one that is not known.

/// The known word that a slip of the finger away was probably meant, if one is near enough not to mislead.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let slips = if given.chars().count() <= 4 { 1 } else { 2 };
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(given, word), word))
        .filter(|(distance, _)| *distance <= slips)
        .min()
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_word_and_another_word_finds_none() {
        let known = ["sample_every", "push", "spread", "at"];
        assert_eq!(nearest("sampel_every", known), Some("sample_every"));
        assert_eq!(nearest("spred", known), Some("spread"));
        assert_eq!(nearest("phus", known), None);
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }
}
