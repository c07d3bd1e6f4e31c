//! The phrase that names the emotion.

/// What comes before the emotion. They are unlikely at the end of a sentence that is not one of these.
pub const LEADS: &[&str] = &["full of", "with a feeling of", "in a mood of", "evoking", "stirring"];

/// A caption without its emotion phrase: the last part after a comma, where it is one of the phrases' beginnings and at least a word.
/// Any other text is left as it is.
///
/// Every class has a phrase, whatever it is called, so the words after the beginning may be any: "a jar, full of honey" loses its honey.
/// That is the lesser evil; a label that is left in a caption gives the answer away.
pub fn without_phrase(text: &str) -> &str {
    let mut kept = text;
    loop {
        let at = kept.rfind(',');
        let last = at.map_or(kept, |at| &kept[at + 1..]).trim();
        if !LEADS.iter().any(|lead| last.strip_prefix(lead).is_some_and(|rest| rest.starts_with(' '))) {
            return kept;
        }
        // A model may say it twice.
        kept = kept[..at.unwrap_or(0)].trim_end();
    }
}
