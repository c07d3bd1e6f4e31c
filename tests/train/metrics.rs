//! Metrics against examples worked by hand and against pycocoevalcap 1.2.

use escnet::train::metrics::{Confusion, Pair, Share, affect_recall, bleu, cider};

fn close(got: f64, wanted: f64) {
    assert!((got - wanted).abs() < 1e-9, "{got} instead of {wanted}");
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// (truth, prediction): joy, joy, joy, fear, fear, awe; `rage` is never there and never predicted, `calm` only predicted.
fn confusion() -> Confusion {
    let mut confusion = Confusion::new(&names(&["joy", "fear", "awe", "rage", "calm"]));
    for (truth, predicted) in [(0, 0), (0, 0), (0, 1), (1, 1), (1, 4), (2, 0)] {
        confusion.add(truth, predicted).unwrap();
    }
    confusion
}

#[test]
fn scores_of_classes() {
    let confusion = confusion();
    close(confusion.accuracy().unwrap(), 3.0 / 6.0);
    let scores = confusion.scores();
    let told: Vec<_> = scores.iter().map(|s| (s.precision, s.recall, s.f1, s.support, s.predicted)).collect();
    assert_eq!(told[0], (Some(2.0 / 3.0), Some(2.0 / 3.0), Some(2.0 / 3.0), 3, 3));
    assert_eq!(told[1], (Some(0.5), Some(0.5), Some(0.5), 2, 2));
    assert_eq!(told[2], (None, Some(0.0), Some(0.0), 1, 0));
    assert_eq!(told[3], (None, None, None, 0, 0));
    assert_eq!(told[4], (Some(0.0), None, Some(0.0), 0, 1));
    close(confusion.macro_f1().unwrap(), (2.0 / 3.0 + 0.5 + 0.0 + 0.0) / 4.0);
    assert_eq!(confusion.counts()[0], [2, 1, 0, 0, 0], "a row is a truth");
}

#[test]
fn samples_without_a_prediction_are_wrong() {
    let mut confusion = confusion();
    confusion.miss(0).unwrap();
    confusion.miss(3).unwrap();
    close(confusion.accuracy().unwrap(), 3.0 / 8.0);
    let scores = confusion.scores();
    assert_eq!((scores[0].recall, scores[0].precision, scores[0].support), (Some(0.5), Some(2.0 / 3.0), 4));
    assert_eq!(scores[0].f1, Some(4.0 / 7.0));
    assert_eq!(scores[3].f1, Some(0.0), "now it is there");
}

#[test]
fn nothing_counted_is_no_score_and_no_class_is_an_error() {
    let mut empty = Confusion::new(&names(&["a", "b"]));
    assert_eq!((empty.accuracy(), empty.macro_f1()), (None, None));
    assert!(empty.add(2, 0).unwrap_err().to_string().contains("truth"));
    assert!(empty.add(0, 2).unwrap_err().to_string().contains("predicted"));
    assert!(empty.miss(2).is_err());
    assert_eq!(empty.total(), 0);
    let json = serde_json::to_value(confusion()).unwrap();
    assert_eq!(json["counts"][1][4], 1);
}

/// A corpus with several references, clipped counts, hypotheses too short and too long.
fn corpus() -> Vec<Pair> {
    vec![
        Pair::new("A bright beach with a balloon and a smiling face", &["a bright beach with a balloon and a smiling face, full of amusement"]),
        Pair::new("a dark forest path with a dog", &["a dark forest with a dog and a man", "The forest path is dark, a dog walks"]),
        Pair::new("the the the the the the the", &["the cat is on the mat", "there is a cat on the mat"]),
        Pair::new("two people dance in a street", &["two people dance in the bright street at night", "people dancing"]),
        Pair::new("a car", &["a grey car is parked before a house, a sad sight"]),
    ]
}

/// 26 of 32, 17 of 27, 12 of 22 and 8 of 18 runs, 32 words against 51: pycocoevalcap has 0.3277244134371531, with its 1e-9 in each denominator.
#[test]
fn bleu_is_papinenis() {
    close(bleu(&corpus()), 0.3277244134612651);
    close(bleu(&corpus()), (26.0 / 32.0 * 17.0 / 27.0 * 12.0 / 22.0 * 8.0 / 18.0f64).powf(0.25) * (1.0 - 51.0 / 32.0f64).exp());
    let same = Pair::new("a dog runs in a field", &["a cat", "a dog runs in a field"]);
    close(bleu(std::slice::from_ref(&same)), 1.0);
    let longer = Pair::new("a dog runs in a field now", &["a dog runs in a field"]);
    close(bleu(&[longer]), (6.0 / 7.0 * 5.0 / 6.0 * 4.0 / 5.0 * 3.0 / 4.0f64).powf(0.25));
    // Of two references as close, 4 and 8 words, the shorter counts: no penalty.
    let between = Pair::new("a b c d e f", &["a b c d", "a b c d e f g h"]);
    close(bleu(&[between]), 1.0);
    close(bleu(&[Pair::new("a b c", &["a b c"])]), 0.0);
    close(bleu(&[]), 0.0);
    close(bleu(&[Pair::new("", &["a b c d"]), same]), (1.0 - 10.0 / 6.0f64).exp());
}

#[test]
fn cider_is_pycocoevalcaps() {
    close(cider(&corpus()).unwrap(), 2.5092119395573973);
    // Of each pair alone with the others' document frequencies: the mean is the sum of these five.
    let of_each = [6.43482934, 3.30407973, 0.14703492, 2.41962266, 0.24049305];
    assert!((cider(&corpus()).unwrap() - of_each.iter().sum::<f64>() / 5.0).abs() < 1e-8);
    let same = [Pair::new("a dog runs fast", &["a dog runs fast"]), Pair::new("two men walk home", &["two men walk home"])];
    close(cider(&same).unwrap(), 10.0);
    close(cider(&same[..1]).unwrap(), 0.0);
    assert_eq!(cider(&[]), None);
    assert_eq!(cider(&[Pair::new::<&str>("a dog", &[])]), None);
}

#[test]
fn affect_words_are_found_again() {
    let is_affect = |word: &str| ["joy", "smiling", "sad"].contains(&word);
    let pairs = [
        Pair::new("Smiling faces, joy and joy", &["a SMILING face, full of joy", "joy, joy!"]),
        Pair::new("sad joy", &["a sad, smiling man"]),
        Pair::new("sad", &["a man"]),
    ];
    let share = affect_recall(&pairs, is_affect);
    assert_eq!(share, Share { found: 3, of: 4 });
    close(share.value().unwrap(), 0.75);
    assert_eq!(affect_recall(&pairs, |_| false).value(), None);
}

#[test]
fn words_are_the_tokenizers() {
    assert_eq!(Pair::new("Caf\u{e9}s, it's  a\tDOG!", &["x"]).hypothesis, ["cafes", ",", "it", "'", "s", "a", "dog", "!"]);
}
