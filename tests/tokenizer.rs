//! Text to ids and back as Hugging Face's `BertTokenizerFast` does it; words; affect words; every fault named.

use escnet::Error;
use escnet::data::lexicon::Lexicon;
use escnet::data::tokenizer::{Tokenizer, Word};
use proptest::prelude::*;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizer").join(name)
}

fn open(name: &str) -> Tokenizer {
    Tokenizer::open(golden(name)).unwrap()
}

fn ids(value: &Value) -> Vec<i32> {
    value.as_array().unwrap().iter().map(|v| v.as_i64().unwrap() as i32).collect()
}

#[test]
fn texts_encode_and_decode_as_in_hugging_face() {
    let mut seen = 0;
    for file in ["tokenizer.json", "more.json"] {
        let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(golden(file)).unwrap()).unwrap();
        for case in &cases {
            let tokenizer = open(case["vocab"].as_str().unwrap());
            let text = case["text"].as_str().unwrap();
            let all = tokenizer.encode(text, None);
            assert_eq!(all, ids(&case["ids"]), "{text:?}");
            assert_eq!(tokenizer.encode(text, Some(8)), ids(&case["truncated_8"]), "{text:?}");
            assert_eq!(tokenizer.decode(&all, true), case["decoded"].as_str().unwrap(), "{text:?}");
            seen += 1;
        }
    }
    assert_eq!(seen, 40 + 400);
}

#[test]
fn ids_and_tokens_are_inverse() {
    let tokenizer = open("vocab.txt");
    assert_eq!(tokenizer.len(), 97);
    for id in 0..97 {
        assert_eq!(tokenizer.id(tokenizer.token(id).unwrap()), Some(id));
    }
    assert_eq!((tokenizer.token(-1), tokenizer.token(97), tokenizer.id("nowhere")), (None, None, None));
    assert_eq!([tokenizer.pad(), tokenizer.unknown(), tokenizer.cls(), tokenizer.sep()], [0, 1, 2, 3]);
}

#[test]
fn a_truncation_never_exceeds_its_length() {
    let tokenizer = open("vocab.txt");
    assert_eq!(tokenizer.encode("happy dog", Some(3)), [2, 63, 3]);
    assert_eq!(tokenizer.encode("happy dog", Some(2)), [2, 3]);
    assert_eq!(tokenizer.encode("happy dog", Some(1)), [2]);
    assert_eq!(tokenizer.encode("happy dog", Some(0)), [0; 0]);
}

#[test]
fn special_tokens_are_shown_or_left_out() {
    let tokenizer = open("vocab.txt");
    let ids = [95, 63, 48, 3, 0, -100, 5000];
    assert_eq!(tokenizer.decode(&ids, true), "happy dog");
    assert_eq!(tokenizer.decode(&ids, false), "[DEC] happy dog [SEP] [PAD]");
}

#[test]
fn words_gather_their_pieces() {
    let tokenizer = open("vocab.txt");
    let ids = tokenizer.encode("Fearless forests, happy", None);
    let word = |text: &str, range| Word { text: text.into(), range };
    assert_eq!(tokenizer.words(&ids), [word("fearless", 1..3), word("forests", 3..5), word(",", 5..6), word("happy", 6..7)]);
    // A piece after a special token continues nothing.
    assert_eq!(tokenizer.words(&[2, 67, 3, 67]), [word("less", 1..2), word("less", 3..4)]);
}

#[test]
fn a_words_strength_goes_to_all_its_pieces() {
    let tokenizer = open("vocab.txt");
    let lexicon = Lexicon::from_tsv("# word\tstrength\nfearless\t0.75\r\nhappy\t1\n\nawe\t 0\n".as_bytes(), "lexicon.tsv").unwrap();
    assert_eq!(lexicon.len(), 3);
    let ids = tokenizer.encode("a Fearless, happy dog", Some(9));
    assert_eq!(lexicon.strengths(&tokenizer, &ids), [0.0, 0.0, 0.75, 0.75, 0.0, 1.0, 0.0, 0.0]);
    assert_eq!((lexicon.strength("HAPPY"), lexicon.strength("sad")), (Some(1.0), None));
}

#[test]
fn faults_in_a_lexicon_are_named_by_line() {
    for (text, reason) in [
        (&b"happy 0.5"[..], "line 1: expected a word, a tab"),
        (b"happy\t0.5\nsad\t1.5", "line 2: expected a strength"),
        (b"happy\tNaN", "line 1: expected a strength"),
        (b"happy\t", "line 1: expected a strength"),
        (b"\t0.5", "line 1: expected one word"),
        (b"very happy\t0.5", "line 1: expected one word"),
        (b"happy\t0.5\n\nHappy\t0.5", "line 3: `Happy` comes twice"),
        (b"happy\t0.5\n\xFF\t1", "line 2: not UTF-8"),
    ] {
        match Lexicon::from_tsv(text, "lexicon.tsv") {
            Err(e @ Error::Vocabulary { .. }) => assert!(e.to_string().starts_with(&format!("lexicon.tsv: {reason}")), "{e}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(Lexicon::open(golden("absent.tsv")), Err(Error::Io { .. })));
}

#[test]
fn faults_in_a_vocabulary_are_named() {
    let whole = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];
    assert!(Tokenizer::from_vocab(whole, "v").is_ok());
    for (tokens, reason) in [
        (vec![], "empty"),
        (whole[..3].to_vec(), "`[SEP]` is missing"),
        ([&whole[..], &["dog", "cat", "dog"]].concat(), "line 7: `dog` comes twice, first on line 5"),
        ([&whole[..], &["##s", "##s"]].concat(), "line 6: `##s` comes twice"),
        ([&whole[..], &["", "dog"]].concat(), "line 5: an empty token"),
    ] {
        match Tokenizer::from_vocab(tokens, "the/vocab.txt") {
            Err(e @ Error::Vocabulary { .. }) => assert!(e.to_string().starts_with("the/vocab.txt: ") && e.to_string().contains(reason), "{e}"),
            other => panic!("{other:?}"),
        }
    }
    let path = std::env::temp_dir().join(format!("escnet-vocab-{}.txt", std::process::id()));
    std::fs::write(&path, b"[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\ndog\r\n").unwrap();
    assert_eq!(Tokenizer::open(&path).unwrap().encode("dog", None), [2, 4, 3]);
    std::fs::write(&path, b"[PAD]\n[UNK]\n\xFF\n").unwrap();
    assert!(Tokenizer::open(&path).unwrap_err().to_string().contains("line 3: not UTF-8"));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(Tokenizer::open(&path), Err(Error::Io { .. })));
}

#[test]
fn long_texts_take_linear_time() {
    let tokenizer = open("vocab.txt");
    for text in ["x".repeat(1 << 20), "[".repeat(1 << 20), "[CLS]".repeat(1 << 17), "\u{301}".repeat(1 << 20), "happy ".repeat(1 << 17)] {
        assert_eq!(tokenizer.encode(&text, Some(40)).last(), Some(&3));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_gives_ids_of_the_vocabulary(text in "(\\PC|[\u{0}-\u{20}]|\\[SEP\\]|happy|##s)*", max in 0..20usize) {
        let tokenizer = open("vocab.txt");
        let all = tokenizer.encode(&text, None);
        prop_assert!(all.iter().all(|&id| tokenizer.token(id).is_some()));
        let cut = tokenizer.encode(&text, Some(max));
        prop_assert!(cut.len() <= max && (max < 2 || cut[..cut.len() - 1] == all[..cut.len() - 1]));
        for word in tokenizer.words(&all) {
            prop_assert!(word.range.end < all.len() && !word.text.is_empty());
        }
    }

    #[test]
    fn what_is_decoded_encodes_alike(words in proptest::collection::vec("happy|sad|[a-z]{1,3}|forests|[.,!?']", 0..12)) {
        let tokenizer = open("vocab_wide.txt");
        let once = tokenizer.decode(&tokenizer.encode(&words.join(" "), None), true);
        let again = tokenizer.decode(&tokenizer.encode(&once, None), true);
        prop_assert_eq!(once, again);
    }

    #[test]
    fn any_ids_decode(ids in proptest::collection::vec(any::<i32>().prop_map(|v| if v % 3 == 0 { v } else { v.rem_euclid(97) }), 0..30), skip: bool) {
        let tokenizer = open("vocab.txt");
        tokenizer.decode(&ids, skip);
        tokenizer.words(&ids);
    }
}
