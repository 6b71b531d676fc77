//! Autobahn's fuzzing client against the real binary.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::served::start;

/// Sends back what comes.
const ECHO: &str = "return { websocket = function(ws)
    for message, kind in ws:messages() do
        if kind == \"text\" then
            ws:send(message)
        else
            ws:send_binary(message)
        end
    end
end }
";
/// The suite has messages of 16 MiB in pieces of 64 bytes, and does not read while it writes.
const OPTIONS: &str = "max_message: \"20 MiB\", max_frame: \"20 MiB\", max_frames: 1000000, queue: \"64 MiB\", queue_messages: 100000, \
                       compression_min: \"0 B\"";
/// All of these take some 20 seconds. The compression cases are a sample: all of them take a quarter of an hour (`make test-long`).
const USUAL: [&str; 16] = [
    "1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*",
    // A name stands for all that begin so: 12.1.1 would be 12.1.10 too.
    "12.1.2", "12.2.2", "12.3.2", "13.1.2", "13.2.2", "13.3.2", "13.7.2",
];
const LONG: [&str; 1] = ["*"];

#[test]
fn every_case_passes() {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/autobahn/bin/wstest");
    if !suite.exists() {
        println!("not run: tests/peers/autobahn.sh found no Python 2.7 for the suite");
        return;
    }
    let skep = start(ECHO, OPTIONS);
    let cases: Vec<&str> = if std::env::var_os("SKEP_LONG").is_some() { LONG.to_vec() } else { USUAL.to_vec() };
    let reports = skep.site.path().join("reports");
    let wish = json!({
        "outdir": reports, "cases": cases, "exclude-cases": [], "exclude-agent-cases": {},
        "servers": [{ "agent": "skep", "url": format!("ws://{}/app", skep.address()) }],
    });
    let spec = skep.site.path().join("fuzzingclient.json");
    fs::write(&spec, wish.to_string()).unwrap();
    let output = Command::new(suite).args(["-m", "fuzzingclient", "-s"]).arg(&spec).current_dir(skep.site.path()).output().unwrap();
    let index = fs::read_to_string(reports.join("index.json"));
    let index = index.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let index: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_str(&index).unwrap();
    let results = &index["skep"];
    let good = |result: &Value, key: &str| matches!(result[key].as_str(), Some("OK" | "NON-STRICT" | "INFORMATIONAL"));
    let bad: Vec<_> = results.iter().filter(|(_, result)| !good(result, "behavior") || !good(result, "behaviorClose")).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(results.len() > 290, "only {} cases ran", results.len());
    println!("{} cases", results.len());
}
