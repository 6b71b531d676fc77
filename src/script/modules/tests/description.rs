//! Reading the descriptions: types with their fields and the comments before them. Only the layout that the descriptions keep to is understood.

/// One `export type`.
#[derive(Clone, Debug)]
pub(super) struct Type {
    pub name: String,
    pub docs: String,
    /// What it is, of one without fields.
    pub text: String,
    pub fields: Vec<Field>,
}

/// One field of a table type.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub name: String,
    pub kind: String,
    pub docs: String,
}

impl Field {
    /// Whether it is always a function.
    pub(super) fn is_function(&self) -> bool {
        (self.kind.starts_with('(') || self.kind.starts_with('<')) && self.kind.contains("->") && !self.kind.ends_with(")?")
    }
}

/// The types of a file in order.
pub(super) fn read(text: &str) -> Result<Vec<Type>, String> {
    let mut types: Vec<Type> = Vec::new();
    let mut docs: Vec<&str> = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        let wrong = |what: &str| format!("line {}: {what}: {line}", number + 1);
        if let Some(comment) = line.trim_start().strip_prefix("---") {
            docs.push(comment.trim());
        } else if line.trim().is_empty() {
            if !docs.is_empty() {
                return Err(wrong("a comment that belongs to nothing"));
            }
        } else if let Some(rest) = line.strip_prefix("export type ") {
            let (name, kind) = rest.split_once(" = ").ok_or_else(|| wrong("no ="))?;
            inside = kind.ends_with('{');
            types.push(Type { name: name.to_owned(), docs: joined(&mut docs), text: kind.to_owned(), fields: Vec::new() });
        } else if inside && line.starts_with('}') {
            inside = false;
        } else if inside && line.starts_with("    ") {
            let (name, kind) = line.trim().split_once(": ").ok_or_else(|| wrong("no field"))?;
            let kind = kind.strip_suffix(',').ok_or_else(|| wrong("no comma"))?;
            let field = Field { name: name.to_owned(), kind: kind.to_owned(), docs: joined(&mut docs) };
            types.last_mut().ok_or_else(|| wrong("a field of nothing"))?.fields.push(field);
        } else {
            return Err(wrong("not understood"));
        }
    }
    Ok(types)
}

/// The comment's lines as paragraphs.
fn joined(docs: &mut Vec<&str>) -> String {
    let mut text = String::new();
    for line in docs.drain(..) {
        if line.is_empty() {
            text.push_str("\n\n");
        } else {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push(' ');
            }
            text.push_str(line);
        }
    }
    text
}
