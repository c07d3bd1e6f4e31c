//! Saving: what is written reads back, the same bytes every time, or nothing is written at all.

use crate::common::{Folder, by_crate, golden, problems, tensor};
use escnet::error::WeightProblem;
use escnet::tensor::{DType, Data, Tensor};
use escnet::weights::{WeightFile, save, save_with};
use half::{bf16, f16};
use std::collections::BTreeMap;

fn no_text() -> BTreeMap<String, String> {
    BTreeMap::new()
}

fn golden_tensors() -> Vec<(String, Tensor)> {
    let file = WeightFile::open(golden("default/model.safetensors")).unwrap();
    file.names().map(|n| (n.to_owned(), file.tensor(n).unwrap().read().unwrap())).collect()
}

#[test]
fn a_model_written_again_is_the_same() {
    let folder = Folder::new();
    let (a, b) = (folder.path("a.safetensors"), folder.path("b.safetensors"));
    save(&a, golden_tensors(), None, &no_text()).unwrap();
    save(&b, golden_tensors().into_iter().rev(), Some(DType::F32), &no_text()).unwrap();
    let written = std::fs::read(&a).unwrap();
    assert_eq!(written, std::fs::read(&b).unwrap(), "in any order");
    assert_eq!(by_crate(&written), by_crate(&std::fs::read(golden("default/model.safetensors")).unwrap()));
}

#[test]
fn halves_are_rounded_to_nearest() {
    let folder = Folder::new();
    let path = folder.path("x.safetensors");
    for dtype in [DType::F16, DType::BF16] {
        save(&path, golden_tensors(), Some(dtype), &no_text()).unwrap();
        let file = WeightFile::open(&path).unwrap();
        for (name, tensor) in golden_tensors() {
            let expected = match dtype {
                DType::F16 => Data::F16(tensor.to_f32().into_iter().map(f16::from_f32).collect()),
                _ => Data::BF16(tensor.to_f32().into_iter().map(bf16::from_f32).collect()),
            };
            assert_eq!(file.tensor(&name).unwrap().read().unwrap().data(), &expected);
        }
    }
}

#[test]
fn types_may_mix_and_text_may_come_along() {
    let folder = Folder::new();
    let path = folder.path("x.safetensors");
    let tensors = vec![
        ("odd".to_owned(), Tensor::new([3], Data::F16(vec![f16::ONE; 3])).unwrap()),
        ("step \"1\"".to_owned(), Tensor::from_i32([], vec![-5]).unwrap()),
        ("z".to_owned(), tensor(&[1, 2], vec![1.0, 2.0])),
    ];
    let text = BTreeMap::from([("made \"by\"".to_owned(), "a\ntest".to_owned())]);
    save(&path, tensors.clone(), None, &text).unwrap();
    let file = WeightFile::open(&path).unwrap();
    assert_eq!(file.metadata(), &text);
    for (name, tensor) in &tensors {
        let view = file.tensor(name).unwrap();
        assert_eq!(&view.read().unwrap(), tensor);
        assert!(cfg!(not(feature = "mmap")) || (view.bytes.as_ptr() as usize).is_multiple_of(view.stored.size()), "{name} is aligned");
    }
    assert_eq!(by_crate(&std::fs::read(&path).unwrap()).len(), 3);
    save(&path, tensors, Some(DType::BF16), &text).unwrap();
    assert_eq!(WeightFile::open(&path).unwrap().tensor("step \"1\"").unwrap().read().unwrap().as_i32(), Some(&[-5][..]));
}

#[test]
fn nothing_at_all_can_be_written() {
    let folder = Folder::new();
    let path = folder.path("x.safetensors");
    save(&path, [], None, &no_text()).unwrap();
    assert!(WeightFile::open(&path).unwrap().is_empty());
}

#[test]
fn what_could_not_be_read_back_is_refused() {
    let folder = Folder::new();
    let path = folder.put("x.safetensors", b"old");
    let one = |name: &str, value: f32| (name.to_owned(), tensor(&[2], vec![0.0, value]));
    let not_finite = [WeightProblem::NotFinite { name: "a".into(), index: 1 }];
    assert_eq!(problems(save(&path, [one("a", f32::NAN)], None, &no_text())), not_finite);
    assert_eq!(problems(save(&path, [one("a", 70_000.0)], Some(DType::F16), &no_text())), not_finite, "beyond f16");
    assert_eq!(problems(save(&path, [one("a", f32::MAX)], Some(DType::BF16), &no_text())), not_finite, "rounds to infinity");
    assert_eq!(problems(save(&path, [one("a", 1.0), one("a", 2.0)], None, &no_text())), [WeightProblem::Duplicate { name: "a".into() }]);
    for name in ["", "../x", "__metadata__"] {
        assert_eq!(problems(save(&path, [one(name, 1.0)], None, &no_text())), [WeightProblem::Name { name: name.into() }]);
    }
    let types = [("a".to_owned(), escnet::TensorType::f32([3]))];
    assert!(matches!(save_with(&path, &types, &no_text(), |_| Ok(tensor(&[2], vec![0.0; 2]))), Err(escnet::Error::Op { .. })));
    assert!(matches!(save(&path, [one("a", 1.0)], Some(DType::I32), &no_text()), Err(escnet::Error::Argument { name: "dtype", .. })));
    let empty = ("e".to_owned(), tensor(&[0], vec![]));
    assert!(matches!(&problems(save(&path, [empty], None, &no_text()))[..], [WeightProblem::Shape { .. }]));
    assert_eq!((std::fs::read(&path).unwrap(), folder.names()), (b"old".to_vec(), vec!["x.safetensors".to_owned()]));
}
