//! Files are replaced whole or not at all.

use crate::common::Folder;
use escnet::Error;
use escnet::weights::write_atomically;

fn fail() -> Error {
    Error::Argument { name: "x", expected: "y".into(), got: "z".into() }
}

#[test]
fn a_file_is_written_and_replaced() {
    let folder = Folder::new();
    let path = folder.path("x.json");
    for text in ["first", "2nd"] {
        write_atomically(&path, |w| w.write_all(text.as_bytes()).map_err(|e| Error::io("x", e))).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    assert_eq!(folder.names(), ["x.json"]);
}

#[test]
fn the_old_file_is_there_until_the_new_one_is_whole() {
    let folder = Folder::new();
    let path = folder.put("x", b"old");
    write_atomically(&path, |w| {
        w.write_all(&[7; 3 << 20]).map_err(|e| Error::io("x", e))?;
        w.flush().map_err(|e| Error::io("x", e))?;
        assert_eq!(std::fs::read(folder.path("x")).unwrap(), b"old");
        Ok(())
    })
    .unwrap();
    assert_eq!(std::fs::read(&path).unwrap().len(), 3 << 20);
}

#[test]
fn a_failure_leaves_the_old_file_and_nothing_else() {
    let folder = Folder::new();
    let path = folder.put("x", b"old");
    let failed = write_atomically(&path, |w| {
        w.write_all(&[7; 3 << 20]).map_err(|e| Error::io("x", e))?;
        Err(fail())
    });
    assert!(matches!(failed, Err(Error::Argument { .. })));
    let new = folder.path("y");
    assert!(write_atomically(&new, |_| Err(fail())).is_err());
    assert_eq!((std::fs::read(&path).unwrap(), folder.names()), (b"old".to_vec(), vec!["x".to_owned()]));
}

#[test]
fn a_panic_leaves_the_old_file_and_nothing_else() {
    let folder = Folder::new();
    let path = folder.put("x", b"old");
    assert!(std::panic::catch_unwind(|| write_atomically(&path, |_| panic!("on purpose"))).is_err());
    assert_eq!((std::fs::read(&path).unwrap(), folder.names()), (b"old".to_vec(), vec!["x".to_owned()]));
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("taken")).unwrap();
    std::fs::write(folder.path("taken/file"), b"").unwrap();
    let nothing = |_: &mut dyn std::io::Write| Ok(());
    for path in [folder.path("taken"), folder.path("none/x"), folder.path(".."), "/".into()] {
        assert!(matches!(write_atomically(&path, nothing), Err(Error::Io { .. })), "{path:?}");
    }
    assert_eq!(folder.names(), ["taken"]);
}

#[test]
fn many_may_write_at_once() {
    let folder = Folder::new();
    let path = folder.path("x");
    std::thread::scope(|scope| {
        for i in 0..8u8 {
            let path = &path;
            scope.spawn(move || write_atomically(path, |w| w.write_all(&[i; 100_000]).map_err(|e| Error::io("x", e))).unwrap());
        }
    });
    let last = std::fs::read(&path).unwrap();
    assert!(last.len() == 100_000 && last.iter().all(|&b| b == last[0]));
    assert_eq!(folder.names(), ["x"]);
}
