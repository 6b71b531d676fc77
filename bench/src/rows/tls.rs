//! HTTPS: a new connection for each request, and requests on few connections of HTTP/2. The load comes from programs that speak TLS.

use std::net::SocketAddr;
use std::process::Command;

use super::Row;
use crate::compare::compare_by;
use crate::peers::Peer;
use crate::report::{Finding, Goal};
use crate::{Bench, Result};

pub const HANDSHAKES: Row = Row { name: "tls/handshakes", by_name_only: false, run: handshakes };
pub const HTTP2: Row = Row { name: "tls/http2", by_name_only: false, run: http2 };

fn handshakes(bench: &Bench) -> Result<Vec<Finding>> {
    let name = "HTTPS, a new connection and full handshake each (ECDSA P-256, TLS 1.3), 20 at once";
    row(bench, name, 2_000, |address, requests| {
        let url = format!("https://{address}/fixed");
        let said = output(Command::new("ab").args(["-q", "-n", &requests.to_string(), "-c", "20", &url]))?;
        let number = |what: &str| said.lines().find_map(|line| line.strip_prefix(what)).and_then(|rest| rest.trim().parse::<u64>().ok());
        let all = number("Complete requests:") == Some(requests) && number("Failed requests:") == Some(0);
        if all && !said.contains("Non-2xx") { Ok(()) } else { Err(format!("not every request was answered:\n{said}").into()) }
    })
}

fn http2(bench: &Bench) -> Result<Vec<Finding>> {
    let shapes = [("1", "32"), ("16", "16"), ("64", "1")];
    let mut findings = Vec::new();
    for (connections, streams) in shapes {
        let name = format!("HTTP/2 over TLS, connections × requests at once: {connections} × {streams}");
        findings.extend(row(bench, &name, 40_000, |address, requests| {
            let (url, requests) = (format!("https://{address}/fixed"), requests.to_string());
            let said = output(Command::new("h2load").args(["-n", &requests, "-c", connections, "-m", streams, &url]))?;
            let all = said.contains(&format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout"));
            let good = said.contains(&format!("status codes: {requests} 2xx,")) && said.contains("Application protocol: h2\n");
            if all && good { Ok(()) } else { Err(format!("not every request was answered:\n{said}").into()) }
        })?);
    }
    Ok(findings)
}

fn row(bench: &Bench, name: &str, requests: u64, load: impl Fn(SocketAddr, u64) -> Result<()>) -> Result<Vec<Finding>> {
    let Peer::Skep(binary) = &bench.ours else { return Err("this row is about our binary".into()) };
    let seen = compare_by(bench, requests, &[&Peer::SkepTls(binary.clone()), &Peer::NginxTls], load)?;
    Ok(vec![Finding::cost(name, &seen[0], &seen[1], Goal { total: 1.0, user: None })])
}

/// What a program says, which must not fail.
fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}: tests/peers/http2.sh installs it"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(said) } else { Err(format!("{program}: {said}{}", String::from_utf8_lossy(&output.stderr)).into()) }
}
