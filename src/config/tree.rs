//! Where each value of a RON text stands: the tree that finds `servers.web.routes[0].app` in the file.

use std::ops::Range;

use super::lexer::{Kind, Token};

/// Deeper nesting than this has no places; `ron` refuses it anyway.
const DEEPEST: usize = 128;

/// A step from a value to one inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A field of a struct or a key of a map.
    Name(String),
    /// An element of a list.
    Index(usize),
}

/// The way to a value from the top of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place(Vec<Step>);

impl Place {
    /// The whole file.
    #[must_use]
    pub fn top() -> Self {
        Self::default()
    }

    /// A field or key of this value.
    #[must_use]
    pub fn name(&self, name: impl Into<String>) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Name(name.into()));
        Self(steps)
    }

    /// An element of this value.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Self(steps)
    }

    /// The steps, from the top.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}

/// A value and what is inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it stands; for a struct or variant with a name, where the name does; for brackets, where the opening one does.
    pub span: Range<usize>,
    children: Vec<Child>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Child {
    key: Option<Key>,
    node: Node,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    text: String,
    span: Range<usize>,
}

impl Node {
    /// Reads the tree. What is no RON gives a tree of what could be read.
    #[must_use]
    pub fn parse(source: &str, tokens: &[Token]) -> Self {
        let mut reader = Reader { source, tokens, at: 0 };
        reader.skip_attributes();
        reader.value(0)
    }

    /// Where the value stands that a place names; when it is not written, its nearest owner that is, which is then `exact: false`.
    #[must_use]
    pub fn find(&self, place: &Place) -> Found {
        let mut node = self;
        let mut key = None;
        for step in place.steps() {
            match node.child(step) {
                Some(child) => {
                    node = &child.node;
                    key = child.key.as_ref().map(|key| key.span.clone());
                }
                None => return Found { value: key.clone().unwrap_or_else(|| node.span.clone()), key, exact: false },
            }
        }
        Found { value: node.span.clone(), key, exact: true }
    }

    fn child(&self, step: &Step) -> Option<&Child> {
        let found = match step {
            Step::Name(name) => self.children.iter().find(|child| child.key.as_ref().is_some_and(|key| key.text == *name)),
            Step::Index(index) => self.children.get(*index),
        };
        // `Some((…))` and `Http((…))` hold the struct as their only, nameless element.
        found.or_else(|| match (step, self.children.as_slice()) {
            (Step::Name(_), [Child { key: None, node }]) => node.child(step),
            _ => None,
        })
    }

    /// The places of all keys that stand twice in the same map or struct: the text, the later one.
    #[must_use]
    pub fn repeated(&self) -> Vec<(String, Range<usize>)> {
        let mut found = Vec::new();
        for (index, child) in self.children.iter().enumerate() {
            if let Some(key) = &child.key
                && self.children[..index].iter().any(|other| other.key.as_ref().is_some_and(|other| other.text == key.text))
            {
                found.push((key.text.clone(), key.span.clone()));
            }
            found.extend(child.node.repeated());
        }
        found
    }

    /// Where the texts stand that belong to a field of one of these names.
    #[must_use]
    pub fn fields(&self, names: &[&str]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        for child in &self.children {
            if child.key.as_ref().is_some_and(|key| names.contains(&key.text.as_str())) {
                found.push(child.node.span.clone());
                found.extend(child.node.children.iter().map(|inner| inner.node.span.clone()));
            }
            found.extend(child.node.fields(names));
        }
        found
    }
}

/// What [`Node::find`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where the value stands, or the name of its nearest owner.
    pub value: Range<usize>,
    /// Where its name stands, if it has one.
    pub key: Option<Range<usize>>,
    /// Whether it is the value itself.
    pub exact: bool,
}

struct Reader<'a> {
    source: &'a str,
    tokens: &'a [Token],
    at: usize,
}

impl Reader<'_> {
    fn mark(&self, ahead: usize) -> Option<u8> {
        match self.tokens.get(self.at + ahead)?.kind {
            Kind::Mark(mark) => Some(mark),
            _ => None,
        }
    }

    /// `#![enable(…)]` at the top.
    fn skip_attributes(&mut self) {
        while self.mark(0) == Some(b'#') && self.mark(1) == Some(b'!') && self.mark(2) == Some(b'[') {
            self.at += 2;
            self.value(0);
        }
    }

    /// One value. Takes at least one token, unless there is none or a closing mark comes.
    fn value(&mut self, depth: usize) -> Node {
        let Some(first) = self.tokens.get(self.at) else {
            return Node { span: self.source.len()..self.source.len(), children: Vec::new() };
        };
        let span = first.span.clone();
        match first.kind {
            Kind::Mark(b'(' | b'[' | b'{') => Node { span, children: self.children(depth) },
            Kind::Mark(b')' | b']' | b'}') => Node { span, children: Vec::new() },
            Kind::Word if self.tokens.get(self.at + 1).is_some_and(|token| token.kind == Kind::Mark(b'(')) => {
                self.at += 1;
                Node { span, children: self.children(depth) }
            }
            _ => {
                self.at += 1;
                Node { span, children: Vec::new() }
            }
        }
    }

    /// What is between brackets; stands on the opening one.
    fn children(&mut self, depth: usize) -> Vec<Child> {
        self.at += 1;
        let mut children = Vec::new();
        if depth >= DEEPEST {
            self.at = self.tokens.len();
        }
        while let Some(token) = self.tokens.get(self.at) {
            match token.kind {
                Kind::Mark(b')' | b']' | b'}') => {
                    self.at += 1;
                    break;
                }
                Kind::Mark(b'(' | b'[' | b'{') => {}
                Kind::Mark(_) => {
                    self.at += 1;
                    continue;
                }
                _ => {}
            }
            let key =
                (self.mark(1) == Some(b':')).then(|| Key { text: self.source[token.inner.clone()].to_owned(), span: token.span.clone() });
            if key.is_some() {
                self.at += 2;
            }
            let node = self.value(depth + 1);
            children.push(Child { key, node });
        }
        children
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::lexer::tokens;
    use super::*;

    const SOURCE: &str = "#![enable(implicit_some)]\nConfig(\n  servers: {\n    \"web\": Http(listen: [\"a\", \"b\"], routes: [\n      (path: \"/\", app: \"x\"),\n    ]),\n  },\n  log: Some((level: Info)),\n)";

    fn text(place: &Place) -> &'static str {
        &SOURCE[Node::parse(SOURCE, &tokens(SOURCE)).find(place).value]
    }

    #[test]
    fn finds_values_and_owners() {
        let web = Place::top().name("servers").name("web");
        assert_eq!(text(&web), "Http");
        assert_eq!(text(&web.name("listen").index(1)), "\"b\"");
        assert_eq!(text(&web.name("routes").index(0).name("app")), "\"x\"");
        assert_eq!(text(&web.name("max_body")), "\"web\"");
        assert_eq!(text(&Place::top().name("log").name("level")), "Info");
        assert_eq!(text(&Place::top().name("user")), "Config");
        let found = Node::parse(SOURCE, &tokens(SOURCE)).find(&web.name("max_body"));
        assert!(!found.exact);
    }

    #[test]
    fn finds_what_stands_twice() {
        let source = "(a: 1, m: {\"x\": 1, \"y\": 2, \"x\": 3})";
        assert_eq!(Node::parse(source, &tokens(source)).repeated(), [("x".to_owned(), 27..30)]);
    }

    proptest! {
        #[test]
        fn any_text_gives_a_tree(source in "[]\\[(){}:,a\"#! ]{0,80}") {
            let node = Node::parse(&source, &tokens(&source));
            let found = node.find(&Place::top().name("a").index(0));
            prop_assert!(source.get(found.value).is_some());
        }
    }
}
