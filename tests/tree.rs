//! The tree against the table: every operator has the files its row claims, and the arrows between modules point down.

use escnet::ops::{Kernel, TABLE};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn stems(folder: &str, extension: &str) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(root().join(folder)) else { return BTreeSet::new() };
    let stem = |path: PathBuf| {
        let is_op = path.is_dir() || path.extension().is_some_and(|e| e == extension);
        path.file_stem().filter(|_| is_op).map(|s| s.to_string_lossy().into_owned())
    };
    entries.filter_map(|e| stem(e.unwrap().path())).filter(|s| !["mod", "support", "common", "images"].contains(&s.as_str())).collect()
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path)
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_table_is_sorted_and_has_one_row_a_file() {
    let rows: Vec<&str> = TABLE.iter().map(|row| row.stem).collect();
    assert!(rows.is_sorted() && rows.windows(2).all(|w| w[0] != w[1]), "{rows:?}");
    assert_eq!(stems("src/ops", "rs"), rows.iter().map(|s| s.to_string()).collect());
}

#[test]
fn kernels_stand_where_their_rows_say() {
    for (folder, extension, device) in [("kernels", "cu", 0), ("shaders", "wgsl", 1)] {
        let claimed = TABLE.iter().filter(|row| [row.cuda, row.wgpu][device] == Kernel::Own).map(|row| row.stem.to_string()).collect();
        // A variant of a kernel carries its stem: `attention_sm90.cu`.
        let found: BTreeSet<String> = stems(folder, extension)
            .into_iter()
            .map(|file| {
                let owner = TABLE.iter().map(|row| row.stem).filter(|s| file == *s || file.starts_with(&format!("{s}_"))).max_by_key(|s| s.len());
                owner.unwrap_or_else(|| panic!("{folder}/{file}.{extension} belongs to no row")).to_string()
            })
            .collect();
        assert_eq!(found, claimed, "{folder}/ against the table");
    }
}

#[test]
fn every_row_has_cases_and_its_golden_file() {
    let golden = stems("tests/golden/ops", "safetensors");
    for row in TABLE {
        assert!(!(row.cases)().is_empty(), "{} has no cases", row.stem);
        assert_eq!(row.golden.is_some(), golden.contains(row.stem), "{}: golden file against row", row.stem);
    }
    for stem in golden {
        assert!(TABLE.iter().any(|row| row.stem == stem), "{stem}: a golden file without an operator");
    }
}

/// Modules from the ground up. A module may use those before it.
const LAYERS: [&str; 16] =
    ["error", "hash", "durable", "tensor", "device", "op", "graph", "ops", "data", "model", "weights", "infer", "train", "verify", "bench", "cli"];

#[test]
fn arrows_point_down() {
    let rank = |module: &str| LAYERS.iter().position(|l| *l == module);
    let mut wrong = Vec::new();
    for path in sources() {
        let relative = path.strip_prefix(root().join("src")).unwrap();
        let module = relative.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_string();
        let Some(from) = rank(&module) else {
            assert!(["lib", "main"].contains(&module.as_str()), "src/{module} has no layer in tests/tree.rs");
            continue;
        };
        let text = std::fs::read_to_string(&path).unwrap();
        // What stands in a test module may look up.
        let text = text.split("#[cfg(test)]").next().unwrap();
        for line in text.lines().filter(|l| !l.trim_start().starts_with("//")) {
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                if rank(&used).is_some_and(|to| to > from) {
                    wrong.push(format!("{}: {}", relative.display(), line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that point up:\n{}", wrong.join("\n"));
}

#[test]
fn the_graph_names_no_operator() {
    for path in sources().iter().filter(|p| p.starts_with(root().join("src/graph"))) {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(!text.replace("std::ops::", "").contains("ops::"), "{} names an operator", path.display());
    }
}

#[test]
fn files_are_short() {
    for path in sources() {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 450, "{}: {lines} lines; split it by concept", path.display());
    }
}
