//! `@skep/dns`: names and addresses.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use mlua::{Lua, Table, Value};

use super::AppContext;
use crate::clients::dns::{DnsError, Record, RecordType};
use crate::reactor::timeout;
use crate::script::arguments::Options;

/// How long a question takes at most if nothing else is said.
const LIMIT: Duration = Duration::from_secs(15);

pub(super) fn open(lua: &Lua, app: &Rc<AppContext>) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let context = app.clone();
    module.raw_set(
        "lookup",
        lua.create_async_function(move |_, (host, options): (String, Options)| {
            let app = context.clone();
            async move {
                options.only(&["family", "timeout"])?;
                let family = options.get::<String>("family")?;
                let all = match host.parse::<IpAddr>() {
                    Ok(address) => vec![address],
                    Err(_) => bounded(&options, &host, app.resolver.lookup(&host)).await?,
                };
                let wanted = |address: &IpAddr| match family.as_deref() {
                    None | Some("any") => Ok(true),
                    Some("ipv4") => Ok(address.is_ipv4()),
                    Some("ipv6") => Ok(address.is_ipv6()),
                    Some(other) => Err(fail(format_args!("no family named {other:?}: any, ipv4 or ipv6"))),
                };
                let mut addresses = Vec::new();
                for address in all {
                    if wanted(&address)? {
                        addresses.push(address.to_string());
                    }
                }
                if addresses.is_empty() { Err(fail(DnsError::NoData(host))) } else { Ok(addresses) }
            }
        })?,
    )?;
    let context = app.clone();
    module.raw_set(
        "resolve",
        lua.create_async_function(move |lua, (name, kind, options): (String, String, Options)| {
            let app = context.clone();
            async move {
                options.only(&["timeout"])?;
                let kind = RecordType::from_name(&kind).ok_or_else(|| fail(format_args!("no record type named {kind:?}")))?;
                let records = bounded(&options, &name, app.resolver.resolve(&name, kind)).await?;
                records.into_iter().map(|record| value(&lua, record)).collect::<mlua::Result<Vec<Value>>>()
            }
        })?,
    )?;
    let context = app.clone();
    module.raw_set(
        "reverse",
        lua.create_async_function(move |_, (address, options): (String, Options)| {
            let app = context.clone();
            async move {
                options.only(&["timeout"])?;
                let ip = address.parse().map_err(|_| fail(format_args!("not an IP address ({address})")))?;
                bounded(&options, &address, app.resolver.reverse(ip)).await
            }
        })?,
    )?;
    Ok(module)
}

fn fail(what: impl std::fmt::Display) -> mlua::Error {
    mlua::Error::runtime(format!("dns: {what}"))
}

async fn bounded<T>(options: &Options, name: &str, question: impl Future<Output = Result<T, DnsError>>) -> mlua::Result<T> {
    match timeout(options.span("timeout", LIMIT)?, question).await {
        Ok(result) => result.map_err(fail),
        Err(_) => Err(fail(DnsError::TimedOut(name.to_owned()))),
    }
}

fn value(lua: &Lua, record: Record) -> mlua::Result<Value> {
    let table = match record {
        Record::Address(address) => return lua.create_string(address.to_string()).map(Value::String),
        Record::Name(name) => return lua.create_string(name).map(Value::String),
        Record::Text(text) => return lua.create_string(text).map(Value::String),
        Record::Mx { preference, host } => {
            let table = lua.create_table()?;
            table.raw_set("preference", preference)?;
            table.raw_set("host", host)?;
            table
        }
        Record::Srv { priority, weight, port, host } => {
            let table = lua.create_table()?;
            table.raw_set("priority", priority)?;
            table.raw_set("weight", weight)?;
            table.raw_set("port", port)?;
            table.raw_set("host", host)?;
            table
        }
    };
    Ok(Value::Table(table))
}
