//! What decides when a picture is seen, and how fast is learnt from it.

use escnet::data::attributes::Attributes;
use escnet::data::dataset::Sample;
use escnet::train::config::{Sampling, ScheduleConfig, ScheduleKind, StageConfig};
use escnet::train::halves::{halves, limited};
use escnet::train::sampler::Sampler;
use escnet::train::schedule::Schedule;
use std::collections::HashSet;

fn schedule(kind: ScheduleKind) -> Schedule {
    let schedule = ScheduleConfig { kind, warmup_steps: 5, warmup_epochs: 0.5, floor: 0.1, every_epochs: 2.0, factor: 0.5 };
    Schedule::new(&StageConfig { epochs: 11.0, rate: 2.0, schedule, ..StageConfig::default() }, 10)
}

#[test]
fn rates_follow_their_formulas() {
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
    for kind in [ScheduleKind::Cosine, ScheduleKind::Linear, ScheduleKind::Step, ScheduleKind::Constant] {
        let s = schedule(kind);
        assert_eq!(s.steps(), 110);
        // Ten steps of warm-up: half an epoch and five more.
        close(s.rate(0), 0.2);
        close(s.rate(9), 2.0);
    }
    let rate = |kind, step| schedule(kind).rate(step);
    close(rate(ScheduleKind::Cosine, 10), 2.0);
    close(rate(ScheduleKind::Cosine, 60), 2.0 * (0.1 + 0.9 * 0.5));
    close(rate(ScheduleKind::Cosine, 110), 0.2);
    close(rate(ScheduleKind::Linear, 35), 2.0 * (0.1 + 0.9 * 0.75));
    close(rate(ScheduleKind::Linear, 110), 0.2);
    close(rate(ScheduleKind::Step, 19), 2.0);
    close(rate(ScheduleKind::Step, 20), 1.0);
    close(rate(ScheduleKind::Step, 59), 0.5);
    close(rate(ScheduleKind::Constant, 109), 2.0);
}

#[test]
fn every_picture_comes_once_an_epoch_each_time_in_another_order() {
    let labels: Vec<usize> = (0..97).map(|i| i % 3).collect();
    let sampler = Sampler::new(&labels, Sampling::Shuffle, 4);
    let orders: Vec<_> = (0..20).map(|epoch| sampler.order(epoch)).collect();
    for order in &orders {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..97).collect::<Vec<u32>>());
    }
    assert_eq!(orders.iter().collect::<HashSet<_>>().len(), 20);
    assert_eq!(orders[7], Sampler::new(&labels, Sampling::Shuffle, 4).order(7));
    assert_ne!(orders[7], Sampler::new(&labels, Sampling::Shuffle, 5).order(7));
    // No picture keeps its place: over the epochs the first is another one nearly every time.
    assert!(orders.iter().map(|o| o[0]).collect::<HashSet<_>>().len() > 15);
}

#[test]
fn balanced_sampling_gives_every_class_its_share_and_every_picture_its_turn() {
    // 60, 30 and 10 of three classes.
    let labels: Vec<usize> = (0..100).map(|i| usize::from(i >= 60) + usize::from(i >= 90)).collect();
    let sampler = Sampler::new(&labels, Sampling::Balanced, 4);
    let mut seen = HashSet::new();
    for epoch in 0..12 {
        let order = sampler.order(epoch);
        let count = |class| order.iter().filter(|&&i| labels[i as usize] == class).count();
        assert_eq!([count(0), count(1), count(2)], [34, 33, 33]);
        // A rare class goes round whole before any of it comes again.
        let times: Vec<usize> = (90..100).map(|i| order.iter().filter(|&&o| o == i).count()).collect();
        assert!(times.iter().all(|t| (3..=4).contains(t)), "{times:?}");
        seen.extend(order.iter().copied());
    }
    assert_eq!(seen.len(), 100);
}

fn samples(n: usize) -> Vec<Sample> {
    let sample = |i: usize| Sample { id: format!("p{i}"), image: "x".into(), label: i % 4, attributes: Attributes::default(), caption: None };
    (0..n).map(sample).collect()
}

#[test]
fn halves_are_alike_and_do_not_depend_on_the_order() {
    let all = samples(42);
    let half = halves(&all, 9);
    assert_eq!(half.iter().filter(|&&h| h == 0).count(), 21);
    for class in 0..4 {
        let of_class: Vec<usize> = all.iter().zip(&half).filter(|(s, _)| s.label == class).map(|(_, h)| *h).collect();
        let first = of_class.iter().filter(|&&h| h == 0).count();
        assert!(first.abs_diff(of_class.len() - first) <= 1, "class {class}");
    }
    let mut turned = all.clone();
    turned.reverse();
    let mut other = halves(&turned, 9);
    other.reverse();
    assert_eq!(half, other);
    assert_ne!(half, halves(&all, 10));
}

#[test]
fn a_limit_keeps_the_classes_shares_and_grows_by_adding() {
    let all = samples(80);
    let ids = |n| limited(&all, Some(n), 3).into_iter().map(|s| s.id).collect::<HashSet<_>>();
    for class in 0..4 {
        assert_eq!(limited(&all, Some(20), 3).iter().filter(|s| s.label == class).count(), 5);
    }
    assert!(ids(20).is_subset(&ids(40)));
    assert_eq!(limited(&all, Some(200), 3).len(), 80);
    assert_eq!(limited(&all, None, 3), all);
}
