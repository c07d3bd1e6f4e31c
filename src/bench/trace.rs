//! A profile as a trace that Perfetto and chrome://tracing open: the Trace Event Format's complete events, lanes of the device for the
//! parts of the model and for operators, a lane of the host, and a counter for memory.

use super::profile::Profile;
use serde_json::{Value, json};

/// The trace of the last run: when the host queued it and waited, when each node began and ended. What lies between nodes is seen where the device's clock tells it; one that has events
/// between nodes counts it to the node behind.
pub fn trace(profile: &Profile, part_of: impl Fn(&str) -> String) -> Value {
    let name = |lane: u32, name: &str| json!({ "ph": "M", "pid": 1, "tid": lane, "name": "thread_name", "args": { "name": name } });
    let span = |lane: u32, name: &str, [from, to]: [f64; 2]| json!({ "ph": "X", "pid": 1, "tid": lane, "name": name, "ts": from, "dur": to - from });
    let mut events = vec![
        json!({ "ph": "M", "pid": 1, "name": "process_name", "args": { "name": format!("{} on {}", profile.part, profile.device) } }),
        name(1, "parts"),
        name(2, "operators"),
        name(3, "host"),
    ];
    let last = &profile.last;
    if profile.device.starts_with("cpu") {
        events.push(span(3, "runs", [0.0, last.done]));
    } else {
        events.extend([span(3, "queues a run", [0.0, last.queued]), span(3, "waits", [last.queued, last.done])]);
    }
    let mut part: Option<(String, [f64; 2])> = None;
    for (node, &(began, us)) in profile.nodes.iter().zip(&last.nodes) {
        let own = part_of(&node.scope);
        match &mut part {
            Some((name, [_, to])) if *name == own => *to = began + us,
            _ => {
                events.extend(part.take().map(|(name, at)| span(1, &name, at)));
                part = Some((own, [began, began + us]));
            }
        }
        let args = json!({ "scope": node.scope, "gives": node.gives, "kernels": node.kernels, "flops": node.flops, "bytes": node.bytes, "mean": node.us, "roof": node.roof });
        events.push(json!({ "ph": "X", "pid": 1, "tid": 2, "name": node.op, "ts": began, "dur": us, "args": args }));
        events.push(json!({ "ph": "C", "pid": 1, "name": "bytes", "ts": began, "args": { "live": node.live, "planned": profile.planned } }));
    }
    events.extend(part.map(|(name, at)| span(1, &name, at)));
    json!({ "displayTimeUnit": "ns", "traceEvents": events })
}

#[cfg(test)]
mod tests {
    use super::super::profile::tests::{profile, spent};
    use super::super::profile::{Ran, Spent};
    use super::*;

    #[test]
    fn lanes_are_on_one_clock() {
        let node = |scope: &str, us: f64| Spent { scope: scope.to_owned(), ..spent(us) };
        let nodes = vec![node("a.x", 1.0), node("a.y", 2.0), node("b", 4.0)];
        let last = Ran { queued: 2.5, done: 12.0, nodes: vec![(2.0, 1.0), (3.5, 2.5), (7.0, 5.0)] };
        let ran = |device: &str| Profile { device: device.to_owned(), last: last.clone(), ..profile(nodes.clone()) };
        let traced = |device: &str| trace(&ran(device), |scope| scope.split('.').next().unwrap_or_default().to_owned());
        let lane = |device: &str, lane: u64| -> Vec<(f64, f64)> {
            let all = traced(device)["traceEvents"].as_array().cloned().unwrap_or_default();
            let own = all.iter().filter(|e| e["ph"] == "X" && e["tid"] == lane);
            own.map(|e| (e["ts"].as_f64().unwrap_or(-1.0), e["dur"].as_f64().unwrap_or(-1.0))).collect()
        };
        assert_eq!(lane("d", 1), [(2.0, 4.0), (7.0, 5.0)]);
        assert_eq!(lane("d", 2), [(2.0, 1.0), (3.5, 2.5), (7.0, 5.0)]);
        assert_eq!(lane("d", 3), [(0.0, 2.5), (2.5, 9.5)]);
        assert_eq!(lane("cpu (2 threads)", 3), [(0.0, 12.0)]);
    }
}
