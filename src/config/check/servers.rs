//! Servers: limits that make sense, routes that lead somewhere.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::Checker;
use crate::config::problem::{Problem, did_you_mean};
use crate::config::tree::Place;
use crate::config::written::{Admin, App, Server};
use crate::net::Address;
use crate::request::access::{Auth, Basic, Users};
use crate::request::compression::{Coding, Compression};
use crate::request::errors::ErrorPage;
use crate::request::headers::{Headers, Hsts};
use crate::request::limits::Limits;
use crate::request::route::{Action, Host, Route, RouteError, RouteTable};
use crate::request::trusted::Trusted;
use crate::servers::fastcgi::config::{FastCgi, Field, SendFile};
use crate::servers::http::config::Http;
use crate::servers::limits::{Http2, Uploads};
use crate::servers::script::config::ScriptServer;
use crate::units::{HumanDuration, HumanSize};

/// How often a request may be rewritten, as [`crate::request::route::WrittenRoute::rewrite`] says.
const MOST_REWRITES: usize = 10;

/// Shorter tokens can be guessed.
const SHORTEST_TOKEN: usize = 16;

impl Checker<'_> {
    /// Every server.
    pub(super) fn servers(
        &mut self,
        servers: BTreeMap<String, Server>,
        apps: &BTreeMap<String, App>,
        data: &Path,
    ) -> BTreeMap<String, Server> {
        if servers.is_empty() && !self.sources.files.is_empty() {
            self.warning(&Place::top().name("servers"), "there are no `servers`: nothing but the admin listener will answer");
        }
        let mut checked = BTreeMap::new();
        for (name, server) in servers {
            let place = Place::top().name("servers").name(name.as_str());
            self.not_empty(
                &place,
                server.listen().is_empty(),
                &format!("the server `{name}` listens nowhere"),
                "write for example `listen: [\"127.0.0.1:8080\"]`",
            );
            let server = match server {
                Server::FastCgi(fastcgi) => Server::FastCgi(self.fastcgi(&place, fastcgi, apps, data)),
                Server::Http(http) => Server::Http(self.http(&place, http, apps, data)),
                Server::Lock(lock) => Server::Lock(self.lock_server(&place, lock)),
                Server::FlashPolicy(policy) => Server::FlashPolicy(self.flash_policy(&place, policy)),
                Server::Rtep(rtep) => Server::Rtep(self.rtep_server(&place, rtep)),
                Server::Script(script) => Server::Script(self.raw(&place, script, apps, data)),
            };
            checked.insert(name, server);
        }
        checked
    }

    fn http(&mut self, place: &Place, mut http: Http, apps: &BTreeMap<String, App>, data: &Path) -> Http {
        self.within(&place.name("max_line"), http.max_line, HumanSize::bytes(64), HumanSize::mib(1));
        self.within(&place.name("max_headers"), http.max_headers, 1, 10_000);
        self.within(&place.name("max_header_bytes"), http.max_header_bytes, HumanSize::bytes(256), HumanSize::mib(16));
        self.at_least(&place.name("max_connections"), http.max_connections, 1);
        self.at_least(&place.name("keep_alive_requests"), http.keep_alive_requests, 1);
        let timeouts = place.name("timeouts");
        for (name, span) in
            [("header", http.timeouts.header), ("body", http.timeouts.body), ("idle", http.timeouts.idle), ("write", http.timeouts.write)]
        {
            self.at_least(&timeouts.name(name), span, HumanDuration::milliseconds(10));
        }
        self.trusted(&place.name("trusted"), http.trusted.as_ref());
        if http.routes.is_empty() && !http.https_only {
            self.warning(place, "a server without `routes` answers everything with 404");
        }
        let routes = self.routes(&place.name("routes"), http.routes, apps);
        self.compression(&place.name("compress"), http.compress.as_deref());
        self.hsts(&place.name("hsts"), http.hsts.as_ref());
        self.headers(&place.name("headers"), http.headers.as_deref());
        self.error_pages(&place.name("errors"), &mut http.errors);
        self.limits_by_address(&place.name("limits"), http.limits.as_deref());
        if http.hsts.is_some() && http.tls.is_none() && http.trusted.is_none() {
            self.warning(&place.name("hsts"), "this is told over encrypted connections alone, and the server has no `tls`");
        }
        let listen = self.addresses(place, http.listen);
        let tls = http.tls.map(|tls| self.tls(&place.name("tls"), tls, data));
        self.http2(&place.name("http2"), &http.http2);
        let dir = self.upload_directory(&place.name("uploads").name("dir"), http.uploads.dir.as_deref(), data);
        let uploads = Uploads { dir: Some(dir), ..http.uploads };
        Http { listen, tls, routes, uploads, ..http }
    }

    fn trusted(&mut self, place: &Place, trusted: Option<&Trusted>) {
        if trusted.is_some_and(|trusted| trusted.proxies.is_empty()) {
            let so = "as in trusted: (proxies: [\"10.0.0.0/24\"])".to_owned();
            self.error_with(place, "it must be said which proxies are trusted: `proxies`", Some(so));
        }
    }

    fn http2(&mut self, place: &Place, http2: &Http2) {
        self.within(&place.name("streams"), http2.streams, 1, 10_000);
        // A window has 31 bits (RFC 9113 §6.9.1), and one below its first size would be too small for the preface to say.
        let most = HumanSize::bytes((1 << 31) - 1);
        self.within(&place.name("window"), http2.window, HumanSize::kib(1), most);
        self.within(&place.name("connection_window"), http2.connection_window, HumanSize::bytes(65_535), most);
        self.within(&place.name("send_buffer"), http2.send_buffer, HumanSize::kib(1), HumanSize::mib(64));
        self.within(&place.name("resets"), http2.resets, 1, 100_000);
    }

    fn fastcgi(&mut self, place: &Place, mut server: FastCgi, apps: &BTreeMap<String, App>, data: &Path) -> FastCgi {
        self.within(&place.name("max_parameters"), server.max_parameters, 1, 10_000);
        self.within(&place.name("max_parameter_bytes"), server.max_parameter_bytes, HumanSize::bytes(256), HumanSize::mib(16));
        self.at_least(&place.name("max_connections"), server.max_connections, 1);
        self.within(&place.name("max_requests"), server.max_requests, 1, 65_535);
        let timeouts = place.name("timeouts");
        let spans = &server.timeouts;
        for (name, span) in [("header", spans.header), ("body", spans.body), ("idle", spans.idle), ("write", spans.write)] {
            self.at_least(&timeouts.name(name), span, HumanDuration::milliseconds(10));
        }
        self.trusted(&place.name("trusted"), server.trusted.as_ref());
        if server.routes.is_empty() {
            self.warning(place, "a server without `routes` answers everything with 404");
        }
        let routes = self.routes(&place.name("routes"), server.routes, apps);
        self.compression(&place.name("compress"), server.compress.as_deref());
        self.hsts(&place.name("hsts"), server.hsts.as_ref());
        self.headers(&place.name("headers"), server.headers.as_deref());
        self.error_pages(&place.name("errors"), &mut server.errors);
        self.limits_by_address(&place.name("limits"), server.limits.as_deref());
        if server.limits.as_ref().is_some_and(|limits| limits.connections.is_some()) {
            let why =
                "the connections of a FastCGI server are those of the web server in front: `concurrent` counts the requests of a client";
            self.error(&place.name("limits").name("connections"), why);
        }
        let listen = self.addresses(place, server.listen);
        let dir = self.upload_directory(&place.name("uploads").name("dir"), server.uploads.dir.as_deref(), data);
        let uploads = Uploads { dir: Some(dir), ..server.uploads };
        let body_files = place.name("body_files");
        let read = server.body_files.iter().enumerate().map(|(index, path)| self.directory_to_read(&body_files.index(index), path));
        let body_files = read.collect();
        let sendfile = server.sendfile.map(|sendfile| self.sendfile(&place.name("sendfile"), sendfile));
        FastCgi { listen, routes, uploads, body_files, sendfile, ..server }
    }

    fn sendfile(&mut self, place: &Place, sendfile: SendFile) -> SendFile {
        let directory = self.worker_directory(&place.name("directory"), &sendfile.directory);
        let prefix = match (sendfile.prefix, sendfile.field) {
            (Some(prefix), _) => prefix,
            // As the front sees it, which is not in the chroot.
            (None, Field::Sendfile) => format!("{}/", directory.display()),
            (None, Field::AccelRedirect) => {
                self.error(&place.name("field"), "AccelRedirect needs `prefix`, the address of an internal location of the front");
                String::new()
            }
        };
        if prefix.contains(|c: char| c.is_control()) {
            self.error(&place.name("prefix"), "`prefix` has a character that cannot stand in a field");
        }
        if sendfile.field == Field::AccelRedirect && !prefix.is_empty() && !prefix.starts_with('/') {
            self.error(&place.name("prefix"), format!("{prefix:?} is no address of an internal location: it begins with a slash"));
        }
        self.at_least(&place.name("keep"), sendfile.keep, HumanDuration::milliseconds(100));
        self.at_least(&place.name("max_total"), sendfile.max_total, sendfile.max_file);
        SendFile { directory, prefix: Some(prefix), ..sendfile }
    }

    fn raw(&mut self, place: &Place, script: ScriptServer, apps: &BTreeMap<String, App>, data: &Path) -> ScriptServer {
        self.at_least(&place.name("max_connections"), script.max_connections, 1);
        if let Some(idle) = script.idle {
            self.at_least(&place.name("idle"), idle, HumanDuration::milliseconds(10));
        }
        let at = place.name("app");
        match apps.get(&script.app) {
            Some(App::Script(_)) => {}
            Some(other) => self.error(
                &at,
                format!("`{}` is an application of the kind {}; raw connections need one of the kind Script", script.app, other.kind()),
            ),
            None if script.app.is_empty() => self.error(place, "a server of the kind Script needs an application: `app`"),
            None => self.unknown_app(&at, &script.app, apps),
        }
        let listen = self.addresses(place, script.listen);
        let tls = script.tls.map(|tls| self.tls(&place.name("tls"), tls, data));
        ScriptServer { listen, tls, ..script }
    }

    fn unknown_app(&mut self, place: &Place, name: &str, apps: &BTreeMap<String, App>) {
        let names = || apps.keys().map(String::as_str);
        let all = || {
            if apps.is_empty() {
                "there are no `apps`".to_owned()
            } else {
                format!("there are: {}", names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
            }
        };
        let help = did_you_mean(name, names()).unwrap_or_else(all);
        self.error_with(place, format!("there is no application `{name}`"), Some(help));
    }

    /// Routes with the files that they name made absolute.
    fn routes(&mut self, place: &Place, mut routes: Vec<Route>, apps: &BTreeMap<String, App>) -> Vec<Route> {
        let mut seen: HashMap<(&Host, &str), usize> = HashMap::new();
        let table = RouteTable::new(routes.clone());
        for (index, route) in routes.iter().enumerate() {
            let place = place.index(index);
            if let Some(first) = seen.insert((&route.host, &route.path), index) {
                let host = if route.host == Host::Any { String::new() } else { format!(" on {}", route.host) };
                self.error(&place, format!("the route for {}{host} stands twice: it is also number {} of the list", route.path, first + 1));
            }
            match &route.action {
                Action::App(name) if !apps.contains_key(name) => self.unknown_app(&place.name("app"), name, apps),
                Action::Rewrite(_) if rewrites_forever(&table, route) => {
                    self.error(&place.name("rewrite"), format!("a request for {} is rewritten for ever", route.path));
                }
                _ => {}
            }
        }
        for (index, route) in routes.iter_mut().enumerate() {
            if let Some(Auth::Basic(basic)) = route.access.as_mut().and_then(|access| access.auth.as_mut()) {
                self.file_of_users(&place.index(index).name("auth"), basic);
            }
            self.error_pages(&place.index(index).name("errors"), &mut route.errors);
        }
        routes
    }

    /// Pages in the place of errors; files are read here and nowhere else.
    fn error_pages(&mut self, place: &Place, pages: &mut [ErrorPage]) {
        for (index, page) in pages.iter_mut().enumerate() {
            let place = place.index(index);
            // At a route this was refused before.
            if let Some(why) = page.nonsense() {
                self.error(&place, why);
            } else if let Some(file) = &mut page.file {
                *file = self.secret(&place.name("file"), file).0;
            }
        }
    }

    /// A file of users, which is read here and nowhere else.
    fn file_of_users(&mut self, place: &Place, basic: &mut Basic) {
        self.at_least(&place.name("attempts"), basic.attempts, 1);
        self.within(&place.name("remember"), basic.remember, HumanDuration::seconds(0), HumanDuration::seconds(3600));
        let place = place.name("users");
        let (path, text) = self.secret(&place, &basic.users);
        match text.map(|text| Users::read(&text)) {
            Some(Err(error)) => self.error(&place, format!("{}, {error}", path.display())),
            Some(Ok(users)) if users.is_empty() => {
                self.warning(
                    &place,
                    format!("{} names nobody, so nobody gets in: `skep password NAME` writes a line for it", path.display()),
                );
            }
            _ => {}
        }
        basic.users = path;
    }

    /// How answers are compressed.
    fn compression(&mut self, place: &Place, compression: Option<&Compression>) {
        let Some(compression) = compression else { return };
        self.within(&place.name("gzip_level"), compression.gzip_level, 1, 9);
        self.within(&place.name("brotli_level"), compression.brotli_level, 0, 11);
        self.within(&place.name("zstd_level"), compression.zstd_level, 1, 19);
        self.codings(&place.name("codings"), &compression.codings);
        if compression.codings.is_empty() {
            self.error(&place.name("codings"), "there is no coding to compress with: leave `compress` out instead");
        }
        for (index, kind) in compression.types.iter().enumerate() {
            let part =
                |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte));
            if !kind.split_once('/').is_some_and(|(one, other)| part(one) && part(other)) {
                let place = place.name("types").index(index);
                self.error(&place, format!("{kind:?} is no content type: write for example \"text/html\", without parameters"));
            }
        }
    }

    /// Header fields of all answers of a server.
    fn headers(&mut self, place: &Place, headers: Option<&Headers>) {
        if let Some(headers) = headers
            && let Some(name) = headers.unusable()
        {
            let at = match headers.remove.iter().position(|removed| removed == name) {
                Some(index) => place.name("remove").index(index),
                None => place.name("set").name(name),
            };
            self.error(&at, RouteError::BadHeader(name.to_owned()).to_string());
        }
        if let Some(request) = headers.map(|headers| &headers.request)
            && let Some(name) = request.unusable()
        {
            let place = place.name("request");
            let at = match request.remove.iter().position(|removed| removed == name) {
                Some(index) => place.name("remove").index(index),
                None => place.name("set").name(name),
            };
            self.error(&at, RouteError::BadRequestHeader(name.to_owned()).to_string());
        }
    }

    /// How much an address may ask for.
    fn limits_by_address(&mut self, place: &Place, limits: Option<&Limits>) {
        if let Some(why) = limits.and_then(Limits::nonsense) {
            self.error(place, why);
        }
    }

    /// What browsers are told of HTTPS.
    fn hsts(&mut self, place: &Place, hsts: Option<&Hsts>) {
        let Some(hsts) = hsts else { return };
        self.within(&place.name("max_age"), hsts.max_age, HumanDuration::seconds(0), HumanDuration::seconds(100 * 366 * 86_400));
        // What https://hstspreload.org demands.
        if hsts.preload && !(hsts.subdomains && hsts.max_age >= Hsts::default().max_age) {
            self.error(&place.name("preload"), "browsers take over only who says `subdomains: true` and a `max_age` of at least a year");
        }
    }

    /// Codings, each once.
    pub(super) fn codings(&mut self, place: &Place, codings: &[Coding]) {
        for (index, coding) in codings.iter().enumerate() {
            if codings[..index].contains(coding) {
                self.error(&place.index(index), format!("{coding:?} stands twice"));
            }
        }
    }

    /// Addresses with their socket paths made absolute.
    pub(super) fn addresses(&mut self, place: &Place, listen: Vec<Address>) -> Vec<Address> {
        let place = place.name("listen");
        let mut checked = Vec::new();
        for (index, address) in listen.into_iter().enumerate() {
            let place = place.index(index);
            match address.under(self.base) {
                Err(error) => self.error(&place, error.to_string()),
                Ok(address) => {
                    if let Address::Unix(path) = &address {
                        let parent = path.parent().unwrap_or(path);
                        if let Err(message) = super::disk::usable_directory(parent) {
                            self.error(&place, message);
                        }
                    }
                    checked.push(address);
                }
            }
        }
        checked
    }

    /// The admin listener.
    pub(super) fn admin(&mut self, admin: Admin) -> Admin {
        let place = Place::top().name("admin");
        if admin.token.as_ref().is_some_and(|token| token.reveal().len() < SHORTEST_TOKEN) {
            self.error(&place.name("token"), format!("the token is too short to be safe: at least {SHORTEST_TOKEN} characters"));
        }
        for (index, address) in admin.listen.iter().enumerate() {
            if let Address::Tcp(address) = address
                && !address.ip().is_loopback()
            {
                let place = place.name("listen").index(index);
                let problem = Problem::warning(
                    format!("the admin listener on {address} can be reached from other machines, without encryption"),
                    self.sources.value(&place),
                );
                self.problems.push(problem.help("listen on 127.0.0.1 and reach it through a tunnel"));
            }
        }
        let listen = self.addresses(&place, admin.listen);
        Admin { listen, ..admin }
    }
}

/// Whether a request for the route's own path is rewritten more often than is allowed.
fn rewrites_forever(table: &RouteTable, route: &Route) -> bool {
    let host = match &route.host {
        Host::Any => String::new(),
        Host::Exact(name) => name.clone(),
        Host::Below(suffix) => format!("x{suffix}"),
    };
    let mut path = route.path.clone();
    for _ in 0..=MOST_REWRITES {
        match table.find(&host, &path) {
            Some(Route { action: Action::Rewrite(to), .. }) => path.clone_from(to),
            _ => return false,
        }
    }
    true
}
