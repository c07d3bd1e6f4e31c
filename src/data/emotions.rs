//! The names of emotions, and the many ways data sets spell them.

/// Mikels' eight, in the order of EmoSet's ids: four that please, four that do not.
pub const EIGHT: [&str; 8] = ["amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness"];

/// Ekman's six, in the order of EmotionROI and Emotion6.
pub const SIX: [&str; 6] = ["anger", "disgust", "fear", "joy", "sadness", "surprise"];

/// The number, in [`EIGHT`], of an emotion as FI, ArtPhoto or Abstract may spell it: `amuse`, `content`, `excit`, `sad`, in whatever case.
pub fn of_eight(name: &str) -> Option<usize> {
    const SHORT: [(&str, &str); 4] = [("amuse", "amusement"), ("content", "contentment"), ("excit", "excitement"), ("sad", "sadness")];
    let name = name.trim().to_lowercase();
    let name = SHORT.iter().find(|(short, _)| *short == name).map_or(name.as_str(), |(_, long)| long);
    EIGHT.iter().position(|emotion| *emotion == name)
}

/// The number of a name in a list, in whatever case.
pub fn position(names: &[&str], name: &str) -> Option<usize> {
    names.iter().position(|known| known.eq_ignore_ascii_case(name.trim()))
}

/// The classes that a set of names stands for, in order, and for each name the number of its class. Names that are all emotions of the
/// eight become those, in the canonical order, only those that occur; numbers are sorted as numbers, all else by the alphabet.
pub fn classes(names: &[&str]) -> (Vec<String>, impl Fn(&str) -> Option<usize> + use<>) {
    let mut found = names.to_vec();
    found.sort_unstable();
    found.dedup();
    let emotional = found.iter().all(|name| of_eight(name).is_some());
    let mut classes: Vec<String> = found.iter().map(|name| of_eight(name).filter(|_| emotional).map_or(*name, |e| EIGHT[e]).to_owned()).collect();
    if emotional {
        classes.sort_by_key(|name| of_eight(name));
        classes.dedup();
    } else if classes.iter().all(|name| name.parse::<u64>().is_ok()) {
        classes.sort_by_key(|name| name.parse::<u64>().ok());
    }
    let names = classes.clone();
    let number = move |name: &str| match of_eight(name) {
        Some(emotion) if emotional => names.iter().position(|class| class == EIGHT[emotion]),
        _ => names.iter().position(|class| class == name),
    };
    (classes, number)
}
