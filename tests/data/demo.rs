//! Pictures drawn by rule: the same everywhere, true to their attributes, and not to be told by shortcuts.

use escnet::data::attributes::Attributes;
use escnet::data::demo::affinity::{MARGIN, scores};
use escnet::data::demo::{Action, Band, Content, Emotion, Expression, Level, Object, Picture, Scene, Spec, generate, tone};
use escnet::{Error, Image};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// A path that nothing is at, in a folder that goes when it is dropped.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = std::env::temp_dir().join(format!("escnet-demo-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&folder).unwrap();
        Place(folder)
    }

    fn out(&self) -> PathBuf {
        self.0.join("set")
    }

    fn names(&self) -> Vec<String> {
        std::fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn write(spec: &Spec, out: &Path) -> [usize; 3] {
    generate(spec, out, || Ok::<(), Error>(())).unwrap().splits
}

/// Every file under a folder, by its path in it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> T {
    serde_json::from_slice(bytes).unwrap()
}

type Rows = Vec<[String; 4]>;

const SMALL: Spec = Spec { count: 160, seed: 11, size: 32, label_noise: 0.0 };

/// What is on enough pictures for statistics, and the emotions.
fn many() -> &'static [(Content, Emotion)] {
    static MANY: OnceLock<Vec<(Content, Emotion)>> = OnceLock::new();
    MANY.get_or_init(|| (0..2400).into_par_iter().map(|i| (Spec::default().content(i), Emotion::ALL[i % 8])).collect())
}

/// The first of them, drawn small.
fn drawn(count: usize) -> Vec<Picture> {
    let spec = Spec { size: 32, ..Spec::default() };
    (0..count).into_par_iter().map(|i| spec.picture(i).unwrap()).collect()
}

#[test]
fn the_same_bytes_for_any_number_of_threads_and_others_for_another_seed() {
    let place = Place::new();
    let with = |threads: usize, name: &str, spec: &Spec| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| write(spec, &place.0.join(name)));
        files(&place.0.join(name))
    };
    let one = with(1, "one", &SMALL);
    assert!(one == with(5, "five", &SMALL), "files differ between one and five threads");
    let other = with(5, "other", &Spec { seed: 12, ..SMALL });
    let pictures = |set: &BTreeMap<String, Vec<u8>>| set.iter().filter(|(n, _)| n.ends_with("png")).map(|(_, b)| b.clone()).collect::<BTreeSet<_>>();
    assert_eq!(pictures(&one).len(), SMALL.count, "no two pictures are the same");
    assert!(pictures(&one).is_disjoint(&pictures(&other)));
    // A picture does not depend on how many others there are.
    assert_eq!(SMALL.picture(7).unwrap(), Spec { count: 8, ..SMALL }.picture(7).unwrap());
}

/// The pixels themselves, so that no machine and no version of a dependency draws another set unnoticed.
#[test]
fn pictures_are_those_on_record() {
    let fnv = |bytes: &[u8]| bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let all: Vec<u8> = (0..64).flat_map(|i| Spec::default().picture(i).unwrap().image.into_rgb()).collect();
    assert_eq!(fnv(&all), RECORD, "the generator draws other pictures: what was trained on its sets is void, and VERSION has to change");
}
const RECORD: u64 = 0x12ff_8fde_d56b_b4dd;

#[test]
fn the_layout_is_emosets() {
    let place = Place::new();
    assert_eq!(write(&SMALL, &place.out()), [128, 8, 24]);
    let found = files(&place.out());
    let info: serde_json::Value = json(&found["info.json"]);
    for (number, emotion) in ["amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness"].iter().enumerate() {
        assert_eq!(info["emotion"]["label2idx"][emotion], number);
        assert_eq!(info["emotion"]["idx2label"][number.to_string()], *emotion);
    }
    let generator = &info["generator"];
    assert_eq!(
        (&generator["count"], &generator["seed"], &generator["size"], &generator["label_noise"]),
        (&160.into(), &11.into(), &32.into(), &0.0.into())
    );
    assert!(generator["version"].is_u64());

    let mut listed = BTreeSet::from(["info.json", "train.json", "val.json", "test.json"].map(String::from));
    for (split, each) in [("train", 16), ("val", 1), ("test", 3)] {
        let rows: Rows = json(&found[&format!("{split}.json")]);
        let mut count = HashMap::new();
        for [emotion, id, image, annotation] in rows {
            assert_eq!((&image, &annotation), (&format!("image/{emotion}/{id}.png"), &format!("annotation/{emotion}/{id}.json")));
            let said: serde_json::Value = json(&found[&annotation]);
            assert_eq!((&said["image_id"], &said["emotion"]), (&id.as_str().into(), &emotion.as_str().into()));
            // What is said are the drawn picture's attributes, each by a name that info.json numbers; what is not there is not said.
            let index: usize = id.rsplit_once('_').unwrap().1.parse().unwrap();
            let drawn = SMALL.picture(index).unwrap();
            assert_eq!(serde_json::from_value::<Attributes>(said.clone()).unwrap(), drawn.content.attributes());
            assert_eq!(said.get("facial_expression").is_some(), drawn.content.expression.is_some());
            assert_eq!(said.get("human_action").is_some(), drawn.content.action.is_some());
            for key in ["brightness", "colorfulness", "scene", "facial_expression", "human_action", "object"] {
                let Some(value) = said.get(key) else { continue };
                for name in value.as_array().cloned().unwrap_or(vec![value.clone()]) {
                    let name = name.as_str().map_or(name.to_string(), String::from);
                    assert!(info[key]["label2idx"][&name].is_u64(), "{key}: {name}");
                }
            }
            let pixels = image::load_from_memory(&found[&image]).unwrap().into_rgb8();
            assert_eq!(pixels.as_raw(), drawn.image.rgb());
            *count.entry(emotion).or_insert(0) += 1;
            assert!(listed.insert(image) && listed.insert(annotation), "{id} is listed twice");
        }
        assert!(count.len() == 8 && count.values().all(|&n| n == each), "{split}: {count:?}");
    }
    assert_eq!(listed, found.keys().cloned().collect());
    assert_eq!(place.names(), ["set"], "nothing else is left");
}

#[test]
fn emotions_are_balanced_and_lead_by_the_margin() {
    for (content, emotion) in many() {
        let scores = scores(content);
        let next = Emotion::ALL.into_iter().filter(|e| e != emotion).map(|e| scores[e as usize]).fold(0.0, f64::max);
        assert!(scores[*emotion as usize] - next > MARGIN - 1e-9, "{content:?}: {scores:?}");
    }
    let mut count = [0; 8];
    drawn(164).iter().for_each(|picture| count[picture.label as usize] += 1);
    assert_eq!(count, [21, 21, 21, 21, 20, 20, 20, 20]);
}

/// How often the most frequent emotion among pictures that share a key is right.
fn majority(key: impl Fn(&Content) -> String) -> f64 {
    let mut groups: HashMap<String, [usize; 8]> = HashMap::new();
    many().iter().for_each(|(content, emotion)| groups.entry(key(content)).or_default()[*emotion as usize] += 1);
    groups.values().map(|g| *g.iter().max().unwrap()).sum::<usize>() as f64 / many().len() as f64
}

#[test]
fn no_single_attribute_decides() {
    let shares = [
        majority(|c| format!("{:?}", c.brightness)),
        majority(|c| format!("{:?}", c.colorfulness)),
        majority(|c| format!("{:?}", c.scene)),
        majority(|c| format!("{:?}", c.objects)),
        majority(|c| format!("{:?}", c.expression)),
        majority(|c| format!("{:?}", c.action)),
    ];
    assert!(shares.iter().all(|&s| s < 0.58), "{shares:?}");
    // Each says something all the same: more than the eighth that nothing does.
    assert!(shares.iter().all(|&s| s > 0.15), "{shares:?}");
}

/// Multinomial logistic regression by gradient descent with momentum on four fifths; the accuracy on the last fifth.
fn regression(features: &[Vec<f32>], rounds: usize, rate: f32, decay: f32) -> f64 {
    let (n, width) = (features.len() * 4 / 5, features[0].len());
    let labels: Vec<usize> = many().iter().map(|(_, emotion)| *emotion as usize).collect();
    let (mut weights, mut speed) = (vec![[0.0f32; 8]; width], vec![[0.0f32; 8]; width]);
    let logits = |weights: &[[f32; 8]], x: &[f32]| {
        let mut z = [0.0f32; 8];
        x.iter().zip(weights).filter(|(x, _)| **x != 0.0).for_each(|(x, w)| z.iter_mut().zip(w).for_each(|(z, w)| *z += x * w));
        z
    };
    for _ in 0..rounds {
        let mut slope = vec![[0.0f32; 8]; width];
        for (x, &label) in features[..n].iter().zip(&labels) {
            let z = logits(&weights, x);
            let top = z.iter().copied().fold(f32::MIN, f32::max);
            let powers = z.map(|z| (z - top).exp());
            let sum: f32 = powers.iter().sum();
            let mut off = powers.map(|p| p / sum / n as f32);
            off[label] -= 1.0 / n as f32;
            x.iter().zip(&mut slope).filter(|(x, _)| **x != 0.0).for_each(|(x, s)| s.iter_mut().zip(off).for_each(|(s, o)| *s += x * o));
        }
        for ((w, v), s) in weights.iter_mut().flatten().zip(speed.iter_mut().flatten()).zip(slope.iter().flatten()) {
            *v = 0.9 * *v - rate * (s + decay * *w);
            *w += *v;
        }
    }
    let best = |x: &[f32]| {
        let z = logits(&weights, x);
        (0..8).max_by(|&a, &b| z[a].total_cmp(&z[b])).unwrap()
    };
    let right = features[n..].iter().zip(&labels[n..]).filter(|(x, label)| best(x) == **label).count();
    right as f64 / (features.len() - n) as f64
}

#[test]
fn true_attributes_tell_the_emotion() {
    let one_hot = |c: &Content| -> Vec<f32> {
        let level = |own: Level| Level::ALL.map(|l| l == own);
        let mut on = vec![true];
        on.extend(level(c.brightness).into_iter().chain(level(c.colorfulness)));
        on.extend(Scene::ALL.map(|s| s == c.scene));
        on.extend(Object::ALL.map(|o| c.objects.contains(&o)));
        on.extend(Expression::ALL.map(|e| c.expression == Some(e)));
        on.extend(Action::ALL.map(|a| c.action == Some(a)));
        on.into_iter().map(f32::from).collect()
    };
    let features: Vec<_> = many().iter().map(|(content, _)| one_hot(content)).collect();
    let accuracy = regression(&features, 300, 1.0, 0.0);
    assert!(accuracy > 0.97, "{accuracy}");
}

#[test]
fn thumbnails_do_not() {
    let features: Vec<Vec<f32>> = drawn(1200).iter().map(|p| thumbnail(&p.image)).collect();
    let accuracy = regression(&features, 50, 0.02, 0.01);
    assert!(accuracy < 0.5, "{accuracy}");
    // They tell something: the fit is not what fails.
    assert!(accuracy > 0.2, "{accuracy}");
}

/// Means of 16 x 16 cells, each channel around its middle, and a one.
fn thumbnail(image: &Image) -> Vec<f32> {
    let side = image.width() / 16;
    let mut cells = vec![0.0f32; 16 * 16 * 3 + 1];
    for (i, byte) in image.rgb().iter().enumerate() {
        let (pixel, channel) = (i / 3, i % 3);
        let (x, y) = (pixel % image.width() / side, pixel / image.width() / side);
        cells[(y * 16 + x) * 3 + channel] += (f32::from(*byte) / 255.0 - 0.5) * 4.0 / (side * side) as f32;
    }
    cells[16 * 16 * 3] = 1.0;
    cells
}

#[test]
fn brightness_and_colourfulness_are_what_is_said() {
    for picture in drawn(600) {
        let (light, colour) = (picture.content.brightness, picture.content.colorfulness);
        let shown = tone::brightness(picture.image.rgb());
        assert!((shown - tone::brightness_of(light)).abs() < 0.06, "{:?}: brightness {shown}", picture.content);
        let shown = tone::colorfulness(picture.image.rgb());
        assert!((shown / tone::colorfulness_of(light, colour) - 1.0).abs() < 0.2, "{:?}: colourfulness {shown}", picture.content);
    }
    // Between the bands lie gaps.
    let bands: Vec<Band> = Level::ALL.iter().map(|l| l.band()).collect();
    assert_eq!(bands, [Band::Low, Band::Low, Band::Middle, Band::High, Band::High]);
    assert!(Level::ALL.windows(2).filter(|w| w[0].band() != w[1].band()).all(|w| w[1].value() - w[0].value() > 0.29));
}

/// One attribute is another, and nothing else: so many of the 32 x 32 pixels differ plainly.
#[test]
fn every_attribute_is_seen() {
    let spec = Spec { size: 32, ..Spec::default() };
    let plain = Content {
        brightness: Level::ALL[2],
        colorfulness: Level::ALL[2],
        scene: Scene::Meadow,
        objects: vec![Object::Dog],
        expression: Some(Expression::Happy),
        action: Some(Action::Running),
    };
    let differ = |a: &Content, b: &Content| {
        let (a, b) = (spec.draw(a, 3).unwrap(), spec.draw(b, 3).unwrap());
        let far = |(a, b): (&[u8], &[u8])| a.iter().zip(b).any(|(a, b)| a.abs_diff(*b) > 24);
        a.rgb().chunks_exact(3).zip(b.rgb().chunks_exact(3)).filter(|&pair| far(pair)).count()
    };
    let mut kinds: Vec<Vec<Content>> = vec![Vec::new(); 6];
    kinds[0].extend([0, 2, 4].map(|i| Content { brightness: Level::ALL[i], ..plain.clone() }));
    kinds[1].extend([0, 2, 4].map(|i| Content { colorfulness: Level::ALL[i], ..plain.clone() }));
    kinds[2].extend(Scene::ALL.map(|scene| Content { scene, ..plain.clone() }));
    kinds[3].extend(Object::ALL.map(|object| Content { objects: vec![object], ..plain.clone() }));
    kinds[4].extend(Expression::ALL.map(|e| Content { expression: Some(e), ..plain.clone() }));
    kinds[5].extend(Action::ALL.map(|a| Content { action: Some(a), ..plain.clone() }));
    kinds[4].push(Content { expression: None, ..plain.clone() });
    kinds[5].push(Content { action: None, ..plain.clone() });
    for (kind, least) in kinds.iter().zip([500, 300, 300, 40, 8, 40]) {
        for (i, a) in kind.iter().enumerate() {
            for b in &kind[i + 1..] {
                let pixels = differ(a, b);
                assert!(pixels >= least, "{pixels} pixels tell {a:?} from {b:?}");
            }
        }
    }
}

#[test]
fn wrong_labels_are_as_many_as_asked_and_change_nothing_else() {
    let place = Place::new();
    let spec = Spec { count: 400, size: 16, label_noise: 0.25, ..SMALL };
    let wrong = generate(&spec, place.out(), || Ok::<(), Error>(())).unwrap().wrong_labels;
    // Five standard deviations.
    assert!((wrong as f64 - 100.0).abs() < 5.0 * (400.0f64 * 0.25 * 0.75).sqrt(), "{wrong}");
    let (clean, mut counted, mut to) = (Spec { label_noise: 0.0, ..spec.clone() }, 0, BTreeSet::new());
    let found = files(&place.out());
    for split in ["train", "val", "test"] {
        for [emotion, id, ..] in json::<Rows>(&found[&format!("{split}.json")]) {
            let index: usize = id.rsplit_once('_').unwrap().1.parse().unwrap();
            let (noisy, true_one) = (spec.picture(index).unwrap(), clean.picture(index).unwrap());
            assert_eq!((noisy.label.name(), &noisy.content, &noisy.image), (emotion.as_str(), &true_one.content, &true_one.image));
            assert_eq!(noisy.emotion, true_one.label);
            if noisy.label != noisy.emotion {
                counted += 1;
                to.insert((noisy.label as usize + 8 - noisy.emotion as usize) % 8);
            }
        }
    }
    assert_eq!((counted, to.len()), (wrong, 7), "any of the seven others");
    let info: serde_json::Value = json(&found["info.json"]);
    assert_eq!(info["generator"]["label_noise"], 0.25);
}

#[test]
fn what_is_there_is_not_touched() {
    let place = Place::new();
    std::fs::create_dir(place.out()).unwrap();
    write(&Spec { count: 8, ..SMALL }, &place.out());
    let before = files(&place.out());
    let none = || -> Result<(), Error> { panic!("nothing shall be drawn") };
    assert!(matches!(generate(&SMALL, place.out(), none), Err(Error::Argument { name: "out", .. })));
    assert!(matches!(generate(&SMALL, place.out().join("info.json"), none), Err(Error::Argument { name: "out", .. })));
    assert_eq!(files(&place.out()), before);
    assert_eq!(place.names(), ["set"]);
}

#[test]
fn a_set_that_is_not_finished_is_not_there() {
    let place = Place::new();
    let drawn = AtomicUsize::new(0);
    let stop = || if drawn.fetch_add(1, Ordering::SeqCst) < 20 { Ok(()) } else { Err(Error::graph("test", "more", "a stop")) };
    assert!(matches!(generate(&SMALL, place.out(), stop), Err(Error::Graph { .. })));
    assert_eq!(place.names(), [""; 0]);
}

#[test]
fn numbers_out_of_range_are_refused() {
    let place = Place::new();
    let refused = |spec: Spec| match generate(&spec, place.out(), || Ok::<(), Error>(())) {
        Err(Error::Argument { name, .. }) => name,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(Spec { count: 0, ..SMALL }), "count");
    assert_eq!(refused(Spec { size: 8, ..SMALL }), "size");
    assert_eq!(refused(Spec { label_noise: 1.5, ..SMALL }), "label_noise");
    assert_eq!(refused(Spec { label_noise: f64::NAN, ..SMALL }), "label_noise");
    assert_eq!(place.names(), [""; 0]);
}

#[test]
fn a_sheet_shows_the_first_pictures_side_by_side() {
    let sheet = SMALL.sheet(8, 6).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (8 * 35 - 3, 6 * 35 - 3));
    let picture = SMALL.picture(2 * 8 + 5).unwrap().image;
    for (y, row) in picture.rgb().chunks_exact(32 * 3).enumerate() {
        let from = ((2 * 35 + y) * sheet.width() + 5 * 35) * 3;
        assert_eq!(&sheet.rgb()[from..from + 32 * 3], row);
    }
    assert_eq!(Spec { count: 9, ..SMALL }.sheet(8, 6).unwrap().height(), 2 * 35 - 3);
}
