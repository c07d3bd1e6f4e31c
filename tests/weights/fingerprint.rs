//! A fingerprint follows what the weights of a part say, and nothing else.

use crate::common::{Folder, file, golden};
use escnet::Error;
use escnet::weights::{WEIGHTS_FILE, fingerprint::fingerprint};

/// A tensor: name, element type, extents, bytes.
type Stored = (&'static str, &'static str, Vec<usize>, Vec<u8>);

fn of(tensors: &[Stored]) -> Result<String, Error> {
    let folder = Folder::new();
    folder.put(WEIGHTS_FILE, file(tensors));
    fingerprint(&folder.path(""), "captioner.")
}

fn two() -> Vec<Stored> {
    vec![("captioner.a", "F16", vec![2, 2], vec![1, 0, 2, 0, 3, 0, 4, 0]), ("captioner.b", "F32", vec![1], vec![0, 0, 128, 63])]
}

#[test]
fn it_follows_names_types_extents_and_bytes() {
    let base = of(&two()).unwrap();
    assert!(base.len() == 16 && base.bytes().all(|b| b.is_ascii_hexdigit()), "{base}");
    assert_eq!(of(&two()).unwrap(), base);
    let changed = |change: fn(&mut Vec<Stored>)| {
        let mut tensors = two();
        change(&mut tensors);
        of(&tensors).unwrap()
    };
    let different = [
        changed(|t| t[0].3[3] ^= 1),
        changed(|t| t[1].3[0] ^= 1),
        changed(|t| t[0].0 = "captioner.c"),
        changed(|t| t[0].1 = "BF16"),
        changed(|t| t[0].2 = vec![4]),
        changed(|t| t.truncate(1)),
    ];
    for (i, one) in different.iter().enumerate() {
        assert!(*one != base && !different[..i].contains(one), "{i}");
    }
    // Neither the order of the file nor what is not of the part counts.
    assert_eq!(changed(|t| t.reverse()), base);
    assert_eq!(changed(|t| t.insert(0, ("backbone.x", "F32", vec![1], vec![0; 4]))), base);
}

#[test]
fn a_part_that_is_not_there_has_none() {
    assert!(matches!(of(&[("backbone.x", "F32", vec![1], vec![0; 4])]), Err(Error::Weights { .. })));
    assert!(matches!(fingerprint(&Folder::new().path(""), "captioner."), Err(Error::Io { .. })));
    // One that never changes: what is written into files today is to be recognised tomorrow.
    assert_eq!(fingerprint(&golden("trained"), "captioner.").unwrap(), "7c2f3077e60c81cf");
}
