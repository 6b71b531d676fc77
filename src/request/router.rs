//! Finding the route of a request without trying one after the other.

use std::collections::{BTreeMap, HashMap};

use super::route::{Host, Route};

/// Routes by host and path: a lookup costs a few comparisons, however many routes there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RouteIndex {
    exact: HashMap<String, PathIndex>,
    /// By what follows the `*`, which begins with a dot.
    below: HashMap<String, PathIndex>,
    any: PathIndex,
}

/// The routes of one host by their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PathIndex {
    places: BTreeMap<Vec<u8>, usize>,
    /// The place of the route `/`.
    root: Option<usize>,
    /// How long the longest path is: what is behind that in a request's path needs no look.
    longest: usize,
    /// A bit for each length below [`LONG`] that a path has: only there can a request's path have a match.
    lengths: u64,
}

/// Paths from this length on are looked for at every border of a request's path.
const LONG: usize = 63;

impl RouteIndex {
    /// Indexes routes by their places; of equal ones the first counts.
    pub(super) fn new(routes: &[Route]) -> Self {
        let mut index = Self::default();
        for (place, route) in routes.iter().enumerate() {
            let paths = match &route.host {
                Host::Exact(name) => index.exact.entry(name.clone()).or_default(),
                Host::Below(suffix) => index.below.entry(suffix.clone()).or_default(),
                Host::Any => &mut index.any,
            };
            paths.insert(&route.path, place);
        }
        index
    }

    /// Whether any route asks for the host.
    pub(super) fn names_hosts(&self) -> bool {
        !self.exact.is_empty() || !self.below.is_empty()
    }

    /// The place of the route for a host (lower case, no port) and a path.
    pub(super) fn find(&self, host: &str, path: &[u8]) -> Option<usize> {
        if self.names_hosts() {
            if let Some(found) = self.exact.get(host).and_then(|paths| paths.find(path)) {
                return Some(found);
            }
            // The longest suffix comes first. It must leave something in front of it.
            let dots = host.match_indices('.').map(|(at, _)| at).filter(|&at| at > 0);
            if let Some(found) = dots.into_iter().find_map(|at| self.below.get(&host[at..])?.find(path)) {
                return Some(found);
            }
        }
        self.any.find(path)
    }
}

impl PathIndex {
    fn insert(&mut self, path: &str, place: usize) {
        if path == "/" {
            self.root.get_or_insert(place);
        } else {
            self.longest = self.longest.max(path.len());
            if path.len() < LONG {
                self.lengths |= 1 << path.len();
            }
            self.places.entry(path.into()).or_insert(place);
        }
    }

    /// The longest path that is the request's or ends at a border of its segments.
    fn find(&self, path: &[u8]) -> Option<usize> {
        // A slash is never a part of a longer character, so every border is a character's border.
        let border = |end: usize| end == path.len() || path[end] == b'/';
        let look = |end: usize| if border(end) { self.places.get(&path[..end]).copied() } else { None };
        if self.longest >= LONG && path.len() >= LONG {
            let reach = path.len().min(self.longest);
            if let Some(place) = (LONG..=reach).rev().find_map(look) {
                return Some(place);
            }
        }
        let mut lengths = self.lengths & ((2 << path.len().min(LONG - 1)) - 1);
        while lengths != 0 {
            let end = lengths.ilog2() as usize;
            if let Some(place) = look(end) {
                return Some(place);
            }
            lengths &= !(1 << end);
        }
        self.root
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::route::{Action, RouteTable};
    use super::*;

    /// The definition: of all that match, the closest host, then the longest path, then the first.
    fn naive(table: &RouteTable, host: &str, path: &str) -> Option<usize> {
        let of_host = |route: &Route| match &route.host {
            Host::Any => true,
            Host::Exact(name) => name == host,
            Host::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        };
        let of_path = |route: &Route| {
            route.path == "/" || path.strip_prefix(route.path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        table.routes().iter().position(|route| of_host(route) && of_path(route))
    }

    fn table(routes: &[(&str, &str)]) -> RouteTable {
        let action = |number: usize| Action::App(number.to_string());
        let route = |(number, (host, path)): (usize, &(&str, &str))| {
            let host = if host.is_empty() { Host::Any } else { Host::parse(host).unwrap() };
            Route::new(host, *path, action(number))
        };
        RouteTable::new(routes.iter().enumerate().map(route).collect())
    }

    #[test]
    fn hosts_fall_back_to_less_close_ones() {
        let table = table(&[("a.b", "/x"), ("*.b", "/x/y"), ("*.b", "/"), ("", "/z"), ("a.b", "/x")]);
        let found = |host: &str, path: &str| table.find(host, path).map(|route| (route.host.to_string(), route.path.clone()));
        let is = |host: &str, path: &str| Some((host.to_owned(), path.to_owned()));
        assert_eq!(found("a.b", "/x/y"), is("a.b", "/x"));
        assert_eq!(found("a.b", "/z"), is("*.b", "/"));
        assert_eq!(found("c.d.b", "/x/y/z"), is("*.b", "/x/y"));
        assert_eq!(found(".b", "/z"), is("*", "/z"));
        assert_eq!(found("b", "/"), None);
    }

    proptest! {
        #[test]
        fn the_index_finds_what_the_definition_says(
            routes in prop::collection::vec(("(|a|b|\\*\\.a|\\*\\.b\\.a|b\\.a|c\\.b\\.a)", "(/|(/[ab\u{fc}]{1,2}){1,3}|(/a{30}){1,3})"), 0..12),
            host in "[abc.]{0,6}",
            path in "((/[ab\u{fc}]{0,2}){1,4}|(/a{30}){1,3}(/[ab]{0,2})?)",
        ) {
            let routes: Vec<_> = routes.iter().map(|(host, path)| (host.as_str(), path.as_str())).collect();
            let table = table(&routes);
            prop_assert_eq!(table.position(&host, path.as_bytes()).map(|(place, _)| place), naive(&table, &host, &path));
        }
    }
}
