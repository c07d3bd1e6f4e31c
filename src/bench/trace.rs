//! A profile as a trace that Perfetto and chrome://tracing open: the Trace Event Format's complete events, lanes of the device for the
//! parts of the model and for operators, a lane of the host, and a counter for memory.

use super::profile::Profile;
use serde_json::{Value, json};

/// The trace, one run of the graph: nodes one behind another, as long as they took on average. What lies between them is left out.
pub fn trace(profile: &Profile, part_of: impl Fn(&str) -> String) -> Value {
    let name = |lane: u32, name: &str| json!({ "ph": "M", "pid": 1, "tid": lane, "name": "thread_name", "args": { "name": name } });
    let is_queued = !profile.device.starts_with("cpu");
    let mut events = vec![
        json!({ "ph": "M", "pid": 1, "name": "process_name", "args": { "name": format!("{} on {}", profile.part, profile.device) } }),
        name(1, "parts"),
        name(2, "operators"),
        name(3, "host"),
        json!({ "ph": "X", "pid": 1, "tid": 3, "name": if is_queued { "queues a run" } else { "runs" }, "ts": 0.0, "dur": profile.host_us }),
    ];
    let mut now = 0.0;
    let mut part: Option<(String, f64)> = None;
    let whole = |(name, since): (String, f64), now: f64| json!({ "ph": "X", "pid": 1, "tid": 1, "name": name, "ts": since, "dur": now - since });
    for node in &profile.nodes {
        let own = part_of(&node.scope);
        if part.as_ref().is_none_or(|(name, _)| *name != own) {
            events.extend(part.take().map(|part| whole(part, now)));
            part = Some((own, now));
        }
        let args =
            json!({ "scope": node.scope, "gives": node.gives, "kernels": node.kernels, "flops": node.flops, "bytes": node.bytes, "roof": node.roof });
        events.push(json!({ "ph": "X", "pid": 1, "tid": 2, "name": node.op, "ts": now, "dur": node.us, "args": args }));
        events.push(json!({ "ph": "C", "pid": 1, "name": "bytes", "ts": now, "args": { "live": node.live, "planned": profile.planned } }));
        now += node.us;
    }
    events.extend(part.map(|part| whole(part, now)));
    json!({ "displayTimeUnit": "ns", "traceEvents": events })
}

#[cfg(test)]
mod tests {
    use super::super::profile::Spent;
    use super::*;

    #[test]
    fn lanes_are_without_gaps() {
        let node = |scope: &str, us: f64| Spent {
            scope: scope.to_owned(),
            op: "add".to_owned(),
            gives: String::new(),
            kernels: Vec::new(),
            sources: Vec::new(),
            us,
            flops: 1,
            bytes: 8,
            roof: None,
            bound: None,
            live: 8,
        };
        let nodes = vec![node("a.x", 1.0), node("a.y", 2.0), node("b", 4.0)];
        let profile = Profile { device: "d".to_owned(), part: "p", batch: 1, dtype: "f32", runs: 1, planned: 9, host_us: 2.5, nodes };
        let trace = trace(&profile, |scope| scope.split('.').next().unwrap_or_default().to_owned());
        let lane = |lane: u64| -> Vec<(f64, f64)> {
            let all = trace["traceEvents"].as_array().cloned().unwrap_or_default();
            let own = all.iter().filter(|e| e["ph"] == "X" && e["tid"] == lane);
            own.map(|e| (e["ts"].as_f64().unwrap_or(-1.0), e["dur"].as_f64().unwrap_or(-1.0))).collect()
        };
        assert_eq!(lane(1), [(0.0, 3.0), (3.0, 4.0)]);
        assert_eq!(lane(2), [(0.0, 1.0), (1.0, 2.0), (3.0, 4.0)]);
        assert_eq!(lane(3), [(0.0, 2.5)]);
    }
}
