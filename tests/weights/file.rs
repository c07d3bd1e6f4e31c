//! One file: what is read of it, and every way its header can lie.

use crate::common::{Folder, MODELS, by_crate, bytes, file, golden, problems, raw};
use escnet::error::WeightProblem;
use escnet::tensor::{DType, Data};
use escnet::weights::WeightFile;
use half::{bf16, f16};

fn open(bytes: &[u8]) -> Result<WeightFile, escnet::Error> {
    WeightFile::from_bytes("memory", bytes.to_vec())
}

#[test]
fn golden_files_read_as_the_crate_reads_them() {
    for model in MODELS {
        for name in ["model.safetensors", "golden.safetensors"] {
            let path = golden(model).join(name);
            let expected = by_crate(&std::fs::read(&path).unwrap());
            let file = WeightFile::open(&path).unwrap();
            assert_eq!(file.names().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
            for (name, (dtype, shape, bytes)) in &expected {
                let view = file.tensor(name).unwrap();
                assert_eq!((view.stored.to_string(), view.shape, view.bytes), (dtype.clone(), &shape[..], &bytes[..]), "{name}");
                assert_eq!(&view.read().unwrap().shape()[..], &shape[..]);
            }
        }
    }
    let golden = WeightFile::open(golden("default/golden.safetensors")).unwrap();
    assert!(golden.metadata().contains_key("steps"));
}

#[test]
fn elements_of_every_type() {
    let made = file(&[
        ("a", "BOOL", vec![3], vec![1, 0, 1]),
        ("b", "F32", vec![2], bytes(&[1.5, -2.0])),
        ("c", "F16", vec![1, 2], [f16::from_f32(0.5), f16::MAX].iter().flat_map(|x| x.to_le_bytes()).collect()),
        ("d", "BF16", vec![2], [bf16::from_f32(3.0), bf16::MIN].iter().flat_map(|x| x.to_le_bytes()).collect()),
        ("e", "I64", vec![], (-7i64).to_le_bytes().to_vec()),
        ("f", "U64", vec![1], u64::MAX.to_le_bytes().to_vec()),
        ("g", "F64", vec![1], 1f64.to_le_bytes().to_vec()),
        ("h", "I32", vec![2], [1i32, -1].iter().flat_map(|x| x.to_le_bytes()).collect()),
    ]);
    let file = open(&made).unwrap();
    let read = |name| file.tensor(name).unwrap().read();
    assert_eq!(read("a").unwrap().as_i32(), Some(&[1, 0, 1][..]));
    assert_eq!(read("b").unwrap().as_f32(), Some(&[1.5, -2.0][..]));
    assert!(matches!(read("c").unwrap().data(), Data::F16(x) if x[1] == f16::MAX));
    assert_eq!(read("d").unwrap().ty().dtype, DType::BF16);
    assert_eq!(read("e").unwrap().as_i32(), Some(&[-7][..]));
    assert_eq!(read("h").unwrap().as_i32(), Some(&[1, -1][..]));
    assert_eq!(file.tensor("c").unwrap().to_f32().unwrap().as_f32(), Some(&[0.5, 65504.0][..]));
    assert_eq!(file.tensor("d").unwrap().to_f32().unwrap().as_f32().unwrap()[0], 3.0);
    assert!(matches!(&problems(read("f"))[..], [WeightProblem::File { reason }] if reason.contains("does not fit i32")));
    assert!(matches!(&problems(read("g"))[..], [WeightProblem::DType { name, .. }] if name == "g"));
    assert!(matches!(&problems(file.tensor("e").unwrap().to_f32())[..], [WeightProblem::DType { got, .. }] if got == "I64"));
    assert!(matches!(&problems(file.tensor("z"))[..], [WeightProblem::Missing { name, .. }] if name == "z"));
}

#[test]
fn the_first_number_that_is_not_finite_is_found() {
    let find = |dtype: &str, n: usize, data: Vec<u8>| open(&file(&[("x", dtype, vec![n], data)])).unwrap().tensor("x").unwrap().first_not_finite();
    for at in [0, 1, 16_383, 16_384, 99_999] {
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![f32::MAX; 100_000];
            x[at] = odd;
            x[99_999] = odd;
            assert_eq!(find("F32", x.len(), bytes(&x)), Some(at));
            let half = |x: &f32| if x.is_finite() { f16::MAX } else { f16::from_f32(*x) };
            assert_eq!(find("F16", x.len(), x.iter().flat_map(|x| half(x).to_le_bytes()).collect()), Some(at));
            let brain = |x: &f32| if x.is_finite() { bf16::MIN } else { bf16::from_f32(*x) };
            assert_eq!(find("BF16", x.len(), x.iter().flat_map(|x| brain(x).to_le_bytes()).collect()), Some(at));
        }
    }
    assert_eq!(find("F32", 3, bytes(&[f32::MIN_POSITIVE / 2.0, -0.0, f32::MIN])), None);
}

/// One tensor's entry.
fn entry(name: &str, dtype: &str, shape: &str, from: u64, to: u64) -> String {
    format!("{name:?}:{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{from},{to}]}}")
}

#[test]
fn headers_that_lie_are_refused() {
    let max = u64::MAX;
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let deep_unknown = format!("{{\"a\":{{\"dtype\":\"F32\",\"x\":{}1{}}}}}", "[".repeat(200), "]".repeat(200));
    let f32s = |entries: &[(&str, u64, u64)]| {
        let list: Vec<_> = entries.iter().map(|&(n, from, to)| entry(n, "F32", &format!("[{}]", (to - from) / 4), from, to)).collect();
        format!("{{{}}}", list.join(","))
    };
    // Nine tensors of 2^61 - 4 bytes each: their sum leaves 64 bits.
    let giant = (1u64 << 61) - 4;
    let giants: Vec<_> = (0..8).map(|i| entry(&format!("t{i}"), "U8", &format!("[{giant}]"), i * giant, (i + 1) * giant)).collect();
    // A name of a case, a header, the bytes after it, and a piece of the message.
    let cases: Vec<(&str, String, usize, &str)> = vec![
        ("empty header", String::new(), 0, "not a JSON object"),
        ("a list", "[]".into(), 0, "not a JSON object"),
        ("space first", " {}".into(), 0, "not a JSON object"),
        ("not JSON", "{\"a\":".into(), 0, "not valid"),
        ("two objects", "{}{}".into(), 0, "not valid"),
        ("nested", deep, 0, "not valid"),
        ("nested in an unknown key", deep_unknown, 0, "not valid"),
        ("no dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}".into(), 4, "missing field `dtype`"),
        ("dtype twice", "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[0,4]}}".into(), 4, "duplicate field `dtype`"),
        ("metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}".into(), 0, "duplicate field `__metadata__`"),
        ("metadata of numbers", "{\"__metadata__\":{\"a\":1}}".into(), 0, "not valid"),
        ("negative extent", format!("{{{}}}", entry("a", "F32", "[-1]", 0, 4)), 4, "not valid"),
        ("fractional extent", format!("{{{}}}", entry("a", "F32", "[1.5]", 0, 4)), 4, "not valid"),
        ("three offsets", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}".into(), 4, "not valid"),
        ("name twice", f32s(&[("a", 0, 4), ("a", 4, 8)]), 8, "duplicate: a"),
        ("name twice, escaped", f32s(&[("a", 0, 4), ("b", 4, 8)]).replace("\"b\"", "\"\\u0061\""), 8, "duplicate: a"),
        ("empty name", f32s(&[("", 0, 4)]), 4, "name: \"\""),
        ("blank name", f32s(&[(" ", 0, 4)]), 4, "name: \" \""),
        ("climbing name", f32s(&[("../../x", 0, 4)]), 4, "name: \"../../x\""),
        ("climbing name, backslash", f32s(&[("a/..\\x", 0, 4)]), 4, "name: "),
        ("absolute name", f32s(&[("/etc/x", 0, 4)]), 4, "name: \"/etc/x\""),
        ("control character", f32s(&[("a\nb", 0, 4)]), 4, "name: \"a\\nb\""),
        ("unknown type", format!("{{{}}}", entry("a", "F31", "[1]", 0, 4)), 4, "dtype: a"),
        ("no element", format!("{{{}}}", entry("a", "F32", "[0,3]", 0, 0)), 0, "at least one element"),
        ("many dimensions", format!("{{{}}}", entry("a", "F32", "[1,1,1,1,1,1,1]", 0, 4)), 4, "at most 6 dimensions"),
        ("extent overflows", format!("{{{}}}", entry("a", "F32", &format!("[{max},{max}]"), 0, 4)), 4, "fit memory"),
        ("offsets overflow", format!("{{{}}}", entry("a", "U8", &format!("[{}]", max - 8), 8, max)), 4, "after the header"),
        ("offsets reversed", format!("{{{}}}", entry("a", "F32", "[1]", 4, 0)), 4, "offsets say 4 to 0"),
        ("extent too small", format!("{{{}}}", entry("a", "F32", "[1]", 0, 8)), 8, "has 4 bytes"),
        ("extent too large", format!("{{{}}}", entry("a", "F32", "[3]", 0, 8)), 8, "has 12 bytes"),
        ("sum overflows", format!("{{{}}}", giants.join(",")), 4, "after the header"),
        ("overlap", f32s(&[("a", 0, 8), ("b", 4, 12)]), 12, "a and b overlap by 4 bytes"),
        ("overlap, nested", f32s(&[("a", 0, 12), ("b", 4, 8)]), 12, "a and b overlap by 8 bytes"),
        ("same place", f32s(&[("a", 0, 4), ("b", 0, 4)]), 4, "overlap"),
        ("hole", f32s(&[("a", 0, 4), ("b", 8, 12)]), 12, "a hole of 4 bytes between a and b"),
        ("hole first", f32s(&[("a", 4, 8)]), 8, "a hole of 4 bytes between the header and a"),
        ("trailing", f32s(&[("a", 0, 4)]), 5, "1 bytes after the last tensor"),
        ("trailing, no tensor", "{}".into(), 1, "1 bytes after"),
        ("cut", f32s(&[("a", 0, 8)]), 7, "a: ends 8 bytes after the header, the file has 7 there"),
    ];
    let folder = Folder::new();
    for (case, header, length, message) in cases {
        let made = raw(&header, &vec![0; length]);
        let from_memory = open(&made).map(drop).unwrap_err().to_string();
        assert!(from_memory.contains(message), "{case}: {from_memory}");
        let path = folder.put("x.safetensors", &made);
        let from_disk = WeightFile::open(&path).map(drop).unwrap_err().to_string();
        assert_eq!(from_disk, from_memory.replacen("memory", &path.display().to_string(), 1), "{case}");
    }
}

#[test]
fn lengths_that_lie_are_refused() {
    let sound = file(&[("a", "F32", vec![1], bytes(&[1.0]))]);
    for (length, message) in
        [(0, "not a JSON object"), (9 << 20, "at most"), (u64::MAX, "at most"), (sound.len() as u64 - 7, "the file has"), (3, "not valid")]
    {
        let mut made = sound.clone();
        made[..8].copy_from_slice(&length.to_le_bytes());
        let said = open(&made).map(drop).unwrap_err().to_string();
        assert!(said.contains(message), "{length}: {said}");
    }
    let mut made = sound;
    made[10] = 0xff;
    assert!(open(&made).map(drop).unwrap_err().to_string().contains("not UTF-8"));
}

#[test]
fn a_header_of_many_tensors_is_refused_early() {
    let many: Vec<_> = (0..70_000u64).map(|i| entry(&i.to_string(), "U8", "[1]", i, i + 1)).collect();
    let made = raw(&format!("{{{}}}", many.join(",")), &vec![0; 70_000]);
    assert!(open(&made).map(drop).unwrap_err().to_string().contains("more than 65536 tensors"));
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = Folder::new();
    assert!(problems(WeightFile::open(folder.path(".")))[0].to_string().contains("not a regular file"));
    assert!(matches!(WeightFile::open(folder.path("none")), Err(escnet::Error::Io { .. })));
    let empty = folder.put("empty", b"");
    assert!(problems(WeightFile::open(empty))[0].to_string().contains("too few for a header"));
}

#[test]
fn all_problems_of_a_header_are_told_at_once() {
    let header = format!("{{{},{},{}}}", entry("", "F32", "[1]", 0, 4), entry("b", "X", "[1]", 4, 8), entry("c", "F32", "[0]", 8, 8));
    assert_eq!(problems(open(&raw(&header, &[0; 8]))).len(), 3);
}

#[cfg(feature = "mmap")]
#[test]
fn a_file_cut_after_opening_is_an_error_and_one_replaced_is_not() {
    let folder = Folder::new();
    let made = file(&[("a", "F32", vec![4096], bytes(&[1.0; 4096])), ("b", "F32", vec![4096], bytes(&[2.0; 4096]))]);
    let path = folder.put("x.safetensors", &made);
    let opened = WeightFile::open(&path).unwrap();
    std::fs::rename(folder.put("y", b"something else"), &path).unwrap();
    assert_eq!(opened.tensor("b").unwrap().to_f32().unwrap().as_f32().unwrap()[0], 2.0);

    let path = folder.put("z.safetensors", &made);
    let opened = WeightFile::open(&path).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(1000).unwrap();
    assert!(problems(opened.tensor("b"))[0].to_string().contains("has been cut to 1000 bytes"));
}
