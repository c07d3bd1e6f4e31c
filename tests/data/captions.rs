//! Affective captions: what they say, in how many ways, and what is heard in them again.

use escnet::data::attributes::Attributes;
use escnet::data::captions::{Group, Kind, Style, affect_words, caption, caption_of, lexicon, recall, vocabulary, without_phrase};
use escnet::data::dataset::Sample;
use escnet::data::emotions::EIGHT;
use escnet::data::lexicon::Lexicon;
use escnet::data::tokenizer::Tokenizer;
use proptest::prelude::*;
use std::collections::BTreeSet;

const PLAIN: Style = Style { kind: Kind::Affective, emotion_phrase: true, wordings: 1 };
const EXPRESSIONS: [&str; 6] = ["angry", "disgust", "fear", "happy", "sad", "surprise"];

fn beach() -> Attributes {
    Attributes {
        brightness: Some(0.9),
        scene: Some("beach".into()),
        object: vec!["Balloon".into()],
        facial_expression: Some("happy".into()),
        ..Attributes::default()
    }
}

fn said(attributes: &Attributes, style: &Style) -> String {
    caption(attributes, "amusement", "a", 0, style).text
}

#[test]
fn the_example_of_the_specification() {
    assert_eq!(said(&beach(), &PLAIN), "a bright beach with a balloon and a smiling face, full of amusement");
}

#[test]
fn every_attribute_finds_its_place() {
    let all = Attributes {
        brightness: Some(0.2),
        colorfulness: Some(1.0),
        scene: Some("church/outdoor".into()),
        object: ["Alarm clock", "Umbrella", "alarm_clock"].map(str::to_owned).to_vec(),
        facial_expression: Some("fear".into()),
        human_action: Some("hugging_(not_baby)".into()),
    };
    let text = "a dark and colorful outdoor church with an alarm clock, an umbrella, a frightened face and someone hugging, full of amusement";
    let made = caption(&all, "amusement", "a", 0, &PLAIN);
    assert_eq!(made.text, text);
    assert_eq!(made.used.object, ["Alarm clock", "Umbrella"], "each object once");
    let generic = caption(&all, "amusement", "a", 0, &Style { kind: Kind::Generic, ..PLAIN });
    assert_eq!(generic.text, "an outdoor church with an alarm clock, an umbrella and someone hugging");
    assert_eq!((generic.used.brightness, generic.used.facial_expression), (None, None));
    assert_eq!(said(&all, &Style { emotion_phrase: false, ..PLAIN }), without_phrase(text));
}

#[test]
fn little_makes_a_sentence_too() {
    let with = |change: fn(&mut Attributes)| {
        let mut attributes = Attributes::default();
        change(&mut attributes);
        said(&attributes, &Style { emotion_phrase: false, ..PLAIN })
    };
    assert_eq!(with(|_| {}), "a scene");
    assert_eq!(with(|a| a.colorfulness = Some(0.5)), "a lightly colored scene");
    assert_eq!(with(|a| a.human_action = Some("tai chi".into())), "a scene with someone doing tai chi");
    assert_eq!(with(|a| a.human_action = Some("country line dancing".into())), "a scene with someone country line dancing");
    assert_eq!(with(|a| a.scene = Some("--".into())), "a scene");
    assert_eq!(with(|a| a.facial_expression = Some("bored".into())), "a scene with a bored face");
}

#[test]
fn articles_follow_the_sound() {
    let with = |object: &str| {
        let attributes = Attributes { object: vec![object.into()], ..Attributes::default() };
        said(&attributes, &Style { emotion_phrase: false, ..PLAIN }).trim_start_matches("a scene with ").to_owned()
    };
    for (object, expected) in [
        ("Apple", "an apple"),
        ("Unicycle", "a unicycle"),
        ("Uninviting sofa", "an uninviting sofa"),
        ("Umbrella", "an umbrella"),
        ("Hourglass", "an hourglass"),
        ("Horse", "a horse"),
        ("Ukulele", "a ukulele"),
        ("European hare", "a european hare"),
        ("Glasses", "glasses"),
        ("Bus", "a bus"),
        ("Clothing", "clothing"),
        ("Human hair", "human hair"),
        ("Hair dryer", "a hair dryer"),
        ("People", "people"),
        ("Café table", "a cafe table"),
    ] {
        assert_eq!(with(object), expected);
    }
}

#[test]
fn a_base_caption_stays_in_front() {
    let sample = |attributes, caption: Option<&str>| Sample {
        id: "a".into(),
        image: "a.jpg".into(),
        label: 0,
        attributes,
        caption: caption.map(str::to_owned),
    };
    let text = |sample: &Sample, style: &Style| caption_of(sample, "awe", 0, style).text;
    let both = sample(beach(), Some("Two dogs play. "));
    assert_eq!(text(&both, &PLAIN), "Two dogs play, a bright beach with a balloon and a smiling face, full of awe");
    let alone = sample(Attributes::default(), Some("two dogs play"));
    assert_eq!(text(&alone, &PLAIN), "two dogs play, full of awe");
    assert_eq!(text(&alone, &Style { emotion_phrase: false, ..PLAIN }), "two dogs play");
    assert_eq!(caption_of(&sample(beach(), None), "awe", 3, &PLAIN), caption(&beach(), "awe", "a", 3, &PLAIN));
}

#[test]
fn wordings_vary_with_id_and_seed_and_can_be_held() {
    let texts = |style: &Style, seed: u64| -> Vec<String> { (0..400).map(|i| caption(&beach(), "awe", &format!("{i}"), seed, style).text).collect() };
    let different = |texts: &[String]| texts.iter().collect::<BTreeSet<_>>().len();
    let full = texts(&Style::default(), 0);
    assert!(different(&full) > 150, "{}", different(&full));
    assert_eq!(full, texts(&Style::default(), 0));
    assert_ne!(full, texts(&Style::default(), 1));
    assert_eq!(different(&texts(&PLAIN, 0)), 1);
    // Four parts have two wordings each.
    assert_eq!(different(&texts(&Style { wordings: 2, ..PLAIN }, 0)), 2usize.pow(5));
    // What was once written for a seed stays.
    assert_eq!(full[0], FIRST);
}

const FIRST: &str = "a picture of a radiant beach showing a balloon and a happy face, evoking awe";

#[test]
fn each_part_has_three_wordings_that_none_other_holds() {
    let style = Style { emotion_phrase: false, ..Style::default() };
    let mut of_groups: Vec<Vec<BTreeSet<String>>> = Vec::new();
    let heard = |attributes: &dyn Fn(&str) -> Attributes, values: &[&str]| -> Vec<BTreeSet<String>> {
        let texts = |value: &&str| (0..200).map(|i| caption(&attributes(value), "", &i.to_string(), 0, &style).text).collect();
        values.iter().map(texts).collect()
    };
    let levels = ["0.1", "0.5", "0.9"];
    of_groups.push(heard(&|v| Attributes { brightness: v.parse().ok(), ..Attributes::default() }, &levels));
    of_groups.push(heard(&|v| Attributes { colorfulness: v.parse().ok(), ..Attributes::default() }, &levels));
    of_groups.push(heard(&|v| Attributes { facial_expression: Some(v.into()), ..Attributes::default() }, &EXPRESSIONS));
    let attributes = [
        |v: &str| Attributes { brightness: v.parse().ok(), ..Attributes::default() },
        |v: &str| Attributes { colorfulness: v.parse().ok(), ..Attributes::default() },
        |v: &str| Attributes { facial_expression: Some(v.into()), ..Attributes::default() },
    ];
    for ((group, of), values) in of_groups.iter().zip(attributes).zip([&levels[..], &levels, &EXPRESSIONS]) {
        for (texts, value) in group.iter().zip(values) {
            // Beside the wordings of the part itself: those of what is missing, "scene", and of the link.
            assert!(texts.len() >= 9, "{value}: {texts:?}");
            for (other, _) in values.iter().zip(group).filter(|(other, _)| *other != value) {
                for text in texts {
                    assert_eq!(recall(text, &of(value)).iter().map(|r| r.1).collect::<Vec<_>>(), [true], "{text}");
                    assert_eq!(recall(text, &of(other)).iter().map(|r| r.1).collect::<Vec<_>>(), [false], "{text} heard as {other}");
                }
            }
        }
    }
}

#[test]
fn recall_counts_whole_words_once() {
    let attributes = Attributes {
        brightness: Some(0.8),
        colorfulness: Some(0.1),
        scene: Some("tree_farm".into()),
        object: ["Tree", "Dog", "dog"].map(str::to_owned).to_vec(),
        facial_expression: Some("sad".into()),
        human_action: Some("riding_a_bike".into()),
    };
    let heard = |text: &str| recall(text, &attributes);
    use Group::*;
    let all = |said: [bool; 7]| [Brightness, Colorfulness, Scene, Object, Object, Expression, Action].into_iter().zip(said).collect::<Vec<_>>();
    let of = |heard: Vec<(Group, bool)>, said: [bool; 6]| {
        let groups = [Brightness, Colorfulness, Scene, Object, Object, Expression];
        assert_eq!(heard[..6], groups.into_iter().zip(said).collect::<Vec<_>>());
        heard[6].1
    };
    assert_eq!(all([true; 7]).len(), 7);
    assert!(of(heard("a radiant and pale tree farm with a tree, a DOG, a tearful face and someone riding a bike"), [true; 6]));
    assert!(!of(heard("a bright tree farm with dogs and someone riding a horse"), [true, false, true, false, false, false]));
    assert!(!of(heard("a brightly colored farm of a tree"), [false, false, false, true, false, false]));
    assert_eq!(recall("anything", &Attributes::default()), []);
}

#[test]
fn phrases_are_cut_and_nothing_else() {
    for text in ["", "a beach", "a dog, a cat and a face", "a full moon", "a beach full of amusement park rides", "a dog, fully", "a dog, full of"] {
        assert_eq!(without_phrase(text), text);
    }
    assert_eq!(without_phrase("a dog, full of awe, full of awe"), "a dog");
    assert_eq!(without_phrase("a dog , evoking very great joy "), "a dog");
    assert_eq!(without_phrase("full of joy"), "");
}

#[test]
fn a_vocabulary_lists_words_then_letters() {
    let tokens = vocabulary(["b a, b", "ab [CLS] b"].into_iter());
    let expected = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "b", ",", "a", "ab", "##,", "##a", "##b", "[DEC]"];
    assert_eq!(tokens, expected);
    assert!(Tokenizer::from_vocab(tokens, "vocab").is_ok());
}

prop_compose! {
    fn names()(name in prop_oneof!["[a-z_]{1,12}", "[A-Za-z ()/'-]{0,16}", "\\PC{0,12}", "[a-z]{95,105}"]) -> String { name }
}

prop_compose! {
    fn attributes()(
        brightness in proptest::option::of(-1.0..2.0f64),
        colorfulness in proptest::option::of(0.0..1.0f64),
        scene in proptest::option::of(names()),
        object in proptest::collection::vec(names(), 0..4),
        facial_expression in proptest::option::of(prop_oneof![proptest::sample::select(&EXPRESSIONS[..]).prop_map(str::to_owned), names()]),
        human_action in proptest::option::of(names()),
    ) -> Attributes {
        Attributes { brightness, colorfulness, scene, object, facial_expression, human_action }
    }
}

proptest! {
    #[test]
    fn any_attributes_make_a_sentence(
        attributes in attributes(), emotion in prop_oneof![proptest::sample::select(&EIGHT[..]).prop_map(str::to_owned), "[a-z ]{1,10}"],
        id in "\\PC{0,8}", seed: u64, wordings in 0usize..6,
    ) {
        let style = Style { wordings, ..Style::default() };
        let made = caption(&attributes, &emotion, &id, seed, &style);
        prop_assert_eq!(&made, &caption(&attributes, &emotion, &id, seed, &style));
        let bare = caption(&attributes, &emotion, &id, seed, &Style { emotion_phrase: false, ..style });
        prop_assert_eq!(without_phrase(&made.text), &bare.text);
        prop_assert_eq!(without_phrase(&bare.text), &bare.text);
        if emotion.trim().is_empty() {
            prop_assert_eq!(&made.text, &bare.text);
        } else {
            prop_assert!(made.text.starts_with(&bare.text) && made.text.ends_with(emotion.split_whitespace().last().unwrap()));
        }
        // Lower case, single spaces, commas.
        prop_assert!(made.text.chars().all(|c| c.is_alphanumeric() || c == ' ' || c == ','), "{}", made.text);
        prop_assert_eq!(&made.text, &made.text.to_lowercase());
        prop_assert!(!made.text.contains("  ") && !made.text.contains(" ,") && !made.text.ends_with([' ', ',']), "{}", made.text);
        // What was used is heard again, and what was not has no name.
        prop_assert!(recall(&made.text, &made.used).iter().all(|(_, said)| *said), "{} {:?}", made.text, made.used);
        prop_assert_eq!(recall(&made.text, &attributes).len(), recall(&made.text, &made.used).len());
    }

    #[test]
    fn a_vocabulary_spells_its_captions(all in proptest::collection::vec(attributes(), 1..6), base in "\\PC{0,20}") {
        let mut texts: Vec<String> = all.iter().map(|a| caption(a, "awe", "x", 0, &Style::default()).text).collect();
        texts.push(base);
        let tokens = vocabulary(texts.iter().map(String::as_str));
        let tokenizer = Tokenizer::from_vocab(tokens, "vocab").unwrap();
        for text in &texts {
            let ids = tokenizer.encode(text, None);
            prop_assert!(!ids.contains(&tokenizer.unknown()), "{text}");
            prop_assert!(ids.iter().all(|&id| !tokenizer.token(id).unwrap().starts_with("##")), "{text}");
            prop_assert!(tokenizer.words(&ids).iter().all(|word| word.range.len() == 1));
        }
    }
}

#[test]
fn the_lexicon_has_the_words_that_tell_how_it_feels() {
    let classes = EIGHT.map(str::to_owned);
    let text = lexicon(&classes);
    let words = Lexicon::from_tsv(text.as_bytes(), "lexicon.tsv").unwrap();
    for (word, strength) in [("amusement", 1.0), ("smiling", 1.0), ("disgusted", 1.0), ("dark", 0.5), ("radiant", 0.5), ("dimly", 0.5), ("drab", 0.5)]
    {
        assert_eq!(words.strength(word), Some(strength), "{word}");
    }
    for word in ["face", "lit", "colored", "softly", "evenly", "subtly", "balloon", "with"] {
        assert_eq!(words.strength(word), None, "{word}");
    }
    assert!(text.lines().is_sorted(), "{text}");
    let named = affect_words(&classes);
    assert!(named.contains("awe") && named.contains("terrified") && !named.contains("face") && !named.contains("dark"), "{named:?}");
}
