//! The curves as an SVG.

use crate::common::Folder;
use escnet::train::curves::{draw, write};
use escnet::train::record::{Kind, Row};

/// A run of 25 epochs: falling loss, warm-up and cosine, a spike of the gradient, a validation each epoch.
fn run() -> Vec<Row> {
    let mut rows = Vec::new();
    for step in (10..=2500u64).step_by(10) {
        let (t, wave) = (step as f64 / 2500.0, (step as f64 * 1.7).sin() + (step as f64 * 0.37).cos());
        let rate = if step < 200 { step as f64 / 200.0 } else { (1.0 + (std::f64::consts::PI * (t - 0.08) / 0.92).cos()) / 2.0 };
        rows.push(Row {
            kind: Kind::Train,
            step,
            epoch: Some(step as f64 / 100.0),
            loss: Some(0.3 + 1.8 * (-4.0 * t).exp() + 0.08 * wave),
            accuracy: Some((0.95 - 0.8 * (-4.0 * t).exp() + 0.03 * wave).clamp(0.0, 1.0)),
            rate: vec![1e-4 * rate, 1e-3 * rate],
            grad_norm: Some(if step == 1200 { 90.0 } else { 0.4 + 3.0 * (-6.0 * t).exp() + 0.12 * (wave + 1.9) }),
            images_per_second: Some(210.0 + wave),
            skipped: Some(0),
        });
        if step % 100 == 0 {
            let (loss, accuracy) = (Some(0.45 + 1.6 * (-4.5 * t).exp() + 0.2 * t * t), Some(0.88 - 0.7 * (-4.5 * t).exp() - 0.02 * t * t));
            rows.push(Row { kind: Kind::Val, step, epoch: Some(step as f64 / 100.0), loss, accuracy, ..Row::default() });
        }
    }
    rows
}

/// The attribute of every element of a kind.
fn attributes(svg: &str, element: &str, attribute: &str) -> Vec<String> {
    let of = |line: &str| Some(line.split_once(&format!("{attribute}=\""))?.1.split('"').next()?.to_owned());
    svg.lines().filter(|line| line.starts_with(&format!("<{element} "))).filter_map(of).collect()
}

#[test]
fn a_run_has_four_panels() {
    let folder = Folder::new();
    let rows: String = run().iter().map(|row| serde_json::to_string(row).unwrap() + "\n").collect();
    std::fs::write(folder.join("metrics.jsonl"), rows).unwrap();
    write(&folder.join("metrics.jsonl"), &folder.join("curves.svg"), "tiny & <new>").unwrap();
    let svg = std::fs::read_to_string(folder.join("curves.svg")).unwrap();
    assert_eq!(svg, draw(&run(), "tiny & <new>"));
    for text in ["tiny &amp; &lt;new&gt;", ">Loss<", ">Accuracy<", ">Learning rate<", ">Gradient norm<", ">step<", "nats", "× 10⁻³", "25.0 epochs"]
    {
        assert!(svg.contains(text), "{text}");
    }
    // Raw, smoothed and val for loss and accuracy; two groups; raw and smoothed norm.
    assert_eq!(attributes(&svg, "polyline", "points").len(), 3 + 3 + 2 + 2);
    assert_eq!(attributes(&svg, "circle", "cx").len(), 2 * 25, "a mark for each validation");
    assert_eq!(svg.matches("<g").count(), svg.matches("</g>").count());
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
}

/// Values against pixels: the lowest loss stands lowest, and steps go right.
#[test]
fn curves_stand_where_their_values_are() {
    let row = |step, loss| Row { kind: Kind::Val, step, loss: Some(loss), ..Row::default() };
    let svg = draw(&[row(0, 2.0), row(50, 1.0), row(100, 0.0)], "three");
    let [xs, ys] = ["cx", "cy"].map(|a| attributes(&svg, "circle", a).iter().map(|v| v.parse::<f64>().unwrap()).collect::<Vec<_>>());
    assert!((xs[1] - xs[0] - (xs[2] - xs[1])).abs() < 0.2 && xs[1] > xs[0] + 100.0, "{xs:?}");
    assert!((ys[1] - ys[0] - (ys[2] - ys[1])).abs() < 0.2 && ys[1] > ys[0] + 50.0, "{ys:?}");
    // Labels beside the axis name the values at their heights: 0 at the last point's.
    let zero = svg.lines().find(|line| line.contains("text-anchor=\"end\"") && line.contains(">0.0<")).unwrap();
    let at: f64 = zero.split("y=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
    assert!((at - 4.0 - ys[2]).abs() < 0.2, "{zero} {ys:?}");
    assert_eq!(svg.matches("font-size=\"14\"").count(), 1, "what was not measured has no panel");
}

#[test]
fn a_logarithmic_axis_has_even_decades() {
    let row = |step, norm| Row { step, grad_norm: Some(norm), ..Row::default() };
    let svg = draw(&[row(1, 0.01), row(2, 0.1), row(3, 1.0), row(4, 10.0), row(5, 0.0), row(6, f64::NAN), row(7, 100.0)], "norms");
    let raw = &attributes(&svg, "polyline", "points")[0];
    let heights: Vec<f64> = raw.split(' ').map(|spot| spot.split(',').nth(1).unwrap().parse().unwrap()).collect();
    assert_eq!(heights.len(), 5, "0 and NaN have no logarithm");
    let steps: Vec<f64> = heights.windows(2).map(|w| w[0] - w[1]).collect();
    assert!(steps.iter().all(|s| (s - steps[0]).abs() < 0.2 && *s > 20.0), "{steps:?}");
    for label in [">0.01<", ">0.1<", ">1<", ">10<", ">100<"] {
        assert!(svg.contains(label), "{label}");
    }
}

/// One value, none, equal ones, tiny and huge ones, a million of them: always a figure, never one that is endless.
#[test]
fn odd_runs_have_curves_too() {
    let row = |step, loss| Row { step, loss: Some(loss), grad_norm: Some(loss), rate: vec![loss], ..Row::default() };
    let runs: [Vec<Row>; 6] = [
        vec![],
        vec![row(7, 1.5)],
        vec![row(1, 0.0), row(2, 0.0)],
        vec![row(1, 1e-300), row(2, 1e99), row(3, 1e300)],
        vec![row(1, f64::INFINITY), row(2, -3.0)],
        (0..200_000).map(|step| row(step, 1.0 + (step as f64).sin())).collect(),
    ];
    for rows in runs {
        let svg = draw(&rows, "odd");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg:.2000}");
        assert!(svg.len() < 200_000, "{}", svg.len());
    }
    assert!(draw(&[row(7, 1.5)], "one").contains("<circle"), "a single point is seen");
}
