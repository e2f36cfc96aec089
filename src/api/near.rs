/// The known word that was probably meant, if one is near enough not to mislead.
pub(super) fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let allowed = if given.chars().count() <= 4 { 1 } else { 2 };
    known
        .iter()
        .map(|word| (strsim::damerau_levenshtein(given, word), *word))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_word_and_another_word_finds_none() {
        let known = ["meter", "quantity", "id", "at"];
        assert_eq!(nearest("quantitiy", &known), Some("quantity"));
        assert_eq!(nearest("metre", &known), Some("meter"));
        assert_eq!(nearest("customer", &known), None);
    }
}
