//! What a file of kernels is compiled from, and the hash of it.

/// The text of a file that lies beside the kernels, with the name they include it by.
macro_rules! headers {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels/", $name)))),+]
    };
}

/// Every file of `kernels/common/`.
pub const HEADERS: &[(&str, &str)] = &headers![
    "common/activation.cuh",
    "common/attention.cuh",
    "common/attention_mma.cuh",
    "common/attention_wgmma.cuh",
    "common/column_sums.cuh",
    "common/columns.cuh",
    "common/fours.cuh",
    "common/gemm.cuh",
    "common/gemm_mma.cuh",
    "common/gemm_skinny.cuh",
    "common/gemm_wgmma.cuh",
    "common/hopper.cuh",
    "common/im2col.cuh",
    "common/layernorm.cuh",
    "common/map.cuh",
    "common/moments.cuh",
    "common/optimizer.cuh",
    "common/order.cuh",
    "common/overlap.cuh",
    "common/philox.cuh",
    "common/ptx.cuh",
    "common/reduce.cuh",
    "common/softmax.cuh",
    "common/sweep.cuh",
    "common/types.cuh"
];

/// A file of kernels and what it includes.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    /// The file's name, such as `softmax.cu`.
    pub name: String,
    /// Its text.
    pub text: &'a str,
    /// What it includes, and what that includes, sorted by name: the name it is included by, and the text.
    pub headers: Vec<(&'a str, &'a str)>,
}

impl<'a> Source<'a> {
    /// A file that includes some of these headers. What it includes besides is left to the compiler to complain of.
    pub fn new(stem: &str, text: &'a str, all: &[(&'a str, &'a str)]) -> Self {
        let mut headers: Vec<(&str, &str)> = Vec::new();
        let mut unread = vec![text];
        while let Some(text) = unread.pop() {
            for name in included(text) {
                let found = all.iter().find(|(other, _)| *other == name);
                if let Some(&header) = found.filter(|header| !headers.contains(header)) {
                    headers.push(header);
                    unread.push(header.1);
                }
            }
        }
        headers.sort_unstable();
        Source { name: format!("{stem}.cu"), text, headers }
    }

    /// The hash of all that is compiled, and of what else decides how: the options.
    pub fn hash(&self, options: &[&str]) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut list = |texts: &[&str]| {
            // How many there are and how long each is, so that no two lists run together to the same bytes.
            hasher.update(&(texts.len() as u64).to_le_bytes());
            for text in texts {
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
        };
        list(&[&self.name, self.text]);
        self.headers.iter().for_each(|&(name, text)| list(&[name, text]));
        list(options);
        hasher.finalize().to_hex().to_string()
    }
}

/// The names between the quotes of a file's `#include` lines.
fn included(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| Some(line.trim_start().strip_prefix("#include")?.trim_start().strip_prefix('"')?.split_once('"')?.0))
}

#[cfg(test)]
mod tests {
    use super::{Source, included};

    #[test]
    fn what_is_included_is_found_through_what_includes_it() {
        let all = [("a.cuh", "#include \"b.cuh\""), ("b.cuh", "#pragma once\n  #include \"a.cuh\""), ("c.cuh", "")];
        let source = Source::new("k", "// \"c.cuh\"\n#include \"a.cuh\" // twice\n#include \"a.cuh\"\n#include <c.cuh>", &all);
        assert_eq!(source.headers, all[..2]);
        assert_eq!(included("#include \"x\"\n#define Y \"y\"\n# \"z").collect::<Vec<_>>(), ["x"]);
    }

    #[test]
    fn the_hash_is_of_everything() {
        let hash = |stem: &str, text: &str, header: &str, options: &[&str]| Source::new(stem, text, &[("a", header)]).hash(options);
        let text = "#include \"a\"";
        let all = [
            hash("k", text, "", &[]),
            hash("l", text, "", &[]),
            hash("k", "#include \"a\" ", "", &[]),
            hash("k", text, " ", &[]),
            hash("k", text, "", &["x", "y"]),
            hash("k", text, "", &["xy"]),
        ];
        assert!((0..all.len()).all(|i| !all[..i].contains(&all[i])), "{all:?}");
        assert_eq!(all[0], hash("k", text, "", &[]));
    }
}
