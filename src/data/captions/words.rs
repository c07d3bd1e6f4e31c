//! English around names that were not made for sentences: `forest_path`, `Alarm clock`, `hugging_(not_baby)`, `church/outdoor`.

use crate::data::tokenizer::{LONGEST_WORD, Tokenizer};

/// Names of what cannot be counted, by their last word. EmoSet's names, where they come from: Places365 and OpenImages.
const MASS: [&str; 48] = [
    "beer",
    "bread",
    "broccoli",
    "butter",
    "cheese",
    "clothing",
    "coffee",
    "corn",
    "cosmetics",
    "cream",
    "equipment",
    "fire",
    "fog",
    "food",
    "footwear",
    "fruit",
    "furniture",
    "glass",
    "grass",
    "guacamole",
    "hair",
    "ice",
    "jewelry",
    "juice",
    "kitchenware",
    "lightning",
    "luggage",
    "makeup",
    "meat",
    "milk",
    "money",
    "paper",
    "pasta",
    "popcorn",
    "rain",
    "sand",
    "seafood",
    "smoke",
    "snow",
    "sportswear",
    "sushi",
    "tableware",
    "tea",
    "underwater",
    "water",
    "wine",
    "wood",
    "yogurt",
];

/// Names that end in s and are one thing all the same.
const SINGULAR: [&str; 7] = ["lens", "gas", "atlas", "canvas", "christmas", "pancreas", "series"];

/// The words of a name: lower case, no accents, single spaces, nothing but letters and digits.
pub fn words(name: &str) -> Vec<String> {
    let name = Tokenizer::normalize(name);
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty() && word.chars().count() <= LONGEST_WORD);
    words.map(str::to_owned).collect()
}

/// A name as a caption writes it.
pub fn clean(name: &str) -> String {
    words(name).join(" ")
}

/// The name of a place: `church/outdoor` and `church_outdoor` are an outdoor church.
pub fn place(scene: &str) -> String {
    let mut words = words(scene);
    if words.len() > 1 && words.last().is_some_and(|last| ["indoor", "outdoor", "interior", "exterior"].contains(&last.as_str())) {
        words.rotate_right(1);
    }
    words.join(" ")
}

/// The name of an action, without what stands in brackets to tell it from others.
pub fn action(name: &str) -> String {
    let outside =
        name.split_once('(').map_or(name.to_owned(), |(before, rest)| format!("{before} {}", rest.split_once(')').map_or("", |(_, after)| after)));
    Some(clean(&outside)).filter(|words| !words.is_empty()).unwrap_or_else(|| clean(name))
}

/// A thing with its adjectives and, if it can be counted and is one, its article.
pub fn with_article(adjectives: &[&str], thing: &str) -> String {
    let phrase = match adjectives {
        [] => thing.to_owned(),
        some => format!("{} {thing}", some.join(" and ")),
    };
    if is_mass_or_plural(thing) { phrase } else { format!("{} {phrase}", article(&phrase)) }
}

fn is_mass_or_plural(thing: &str) -> bool {
    let last = thing.rsplit(' ').next().unwrap_or_default();
    let plural = last.len() > 3 && last.ends_with('s') && !["ss", "us", "is"].iter().any(|end| last.ends_with(end)) && !SINGULAR.contains(&last);
    plural || MASS.contains(&last) || ["people", "children", "men", "women", "teeth", "feet"].contains(&last)
}

/// "an" before the sound of a vowel, else "a".
pub fn article(phrase: &str) -> &'static str {
    /// Written with a vowel, spoken with a consonant: you, one, and their like.
    const CONSONANTS: [&str; 12] = ["eu", "ewe", "once", "one", "ubiq", "uke", "ukulele", "ura", "urin", "use", "usu", "ute"];
    const SILENT_H: [&str; 4] = ["heir", "honest", "honor", "hour"];
    let word = phrase.split(' ').next().unwrap_or_default();
    let begins = |with: &[&str]| with.iter().any(|start| word.starts_with(start));
    // A unicycle and a unit, but an uninviting place.
    let you = (word.starts_with("uni") && !begins(&["unin", "unim"])) || begins(&["uti", "uto"]);
    let vowel = begins(&["a", "e", "i", "o", "u"]) && !begins(&CONSONANTS) && !you;
    // Eight, eleven, eighteen.
    let number = word.starts_with('8') || word == "11" || word == "18";
    if vowel || number || begins(&SILENT_H) { "an" } else { "a" }
}

/// One thing; one and another; one, another and a third.
pub fn listed(things: &[String]) -> String {
    match things {
        [] => String::new(),
        [one] => one.clone(),
        [some @ .., last] => format!("{} and {last}", some.join(", ")),
    }
}
