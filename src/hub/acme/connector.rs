//! Connections to authorities: always TLS, with the public roots or given ones.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;

use crate::clients::dns::Resolver;
use crate::clients::http::{Connected, Connector, Url};
use crate::net::{TlsSettings, connect_any, connect_tls_with};

/// Connects to whatever host an authority names.
pub(super) struct Secure;

impl Connector for Secure {
    fn connect<'a>(&'a self, url: &'a Url, authorities: Option<&'a str>) -> Pin<Box<dyn Future<Output = Result<Connected, String>> + 'a>> {
        Box::pin(async move {
            let (host, port) = (url.host(), url.port());
            let said = |error: &dyn std::fmt::Display| format!("{error} ({host}:{port})");
            if !url.is_secure() || url.socket().is_some() {
                return Err(said(&"an authority is spoken with over https only"));
            }
            let ips = match host.parse::<IpAddr>() {
                Ok(ip) => vec![ip],
                Err(_) => Resolver::of_thread().lookup(host).await.map_err(|error| error.to_string())?,
            };
            let addresses: Vec<SocketAddr> = ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
            let socket = connect_any(&addresses).await.map_err(|(error, _)| said(&error))?;
            let settings = match authorities {
                Some(pem) => TlsSettings::with_authorities(pem),
                None => TlsSettings::shared(),
            };
            let settings = settings.map_err(|error| said(&error))?.offering("http/1.1");
            let stream = connect_tls_with(socket, host, settings).await.map_err(|error| said(&error))?;
            Ok(Connected { stream, kept: Box::new(()) })
        })
    }
}
