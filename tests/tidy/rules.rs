//! Rules that one file is judged by, each with what it is for.

use crate::source::Source;

/// No file is longer.
pub const LONGEST: usize = 800;
/// Longer files are listed, so that somebody asks whether they are still one thing.
pub const LONG: usize = 400;

/// Rooms without a name: say what is in them.
const NAMELESS: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc"];

/// Where `unsafe` may stand: folders end with a slash.
const UNSAFE_PLACES: &[&str] = &["src/sys/", "src/net/accept.rs"];

/// The only file whose `thread::sleep` is right: the watchdog of scripts, whose thread does nothing but look now and then.
const SLEEPER: &str = "src/script/step.rs";

/// The macros of unfinished code.
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "dbg!"];

/// Marks of unfinished work in comments. Written in two parts so that this file does not break its own rule.
const MARKS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

/// Folders of one developer's machine.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// All problems of one file.
pub fn check(source: &Source) -> Vec<String> {
    let mut problems = [length, name, machine_paths].iter().flat_map(|rule| rule(source)).collect::<Vec<_>>();
    if source.is_rust() {
        problems.extend([unfinished, unsafe_code, sleeps, ignored_tests].iter().flat_map(|rule| rule(source)));
    }
    problems
}

fn lines(source: &Source) -> usize {
    source.text.lines().count()
}

/// Whether the file is long enough to be listed.
pub fn is_long(source: &Source) -> bool {
    is_written_by_hand(source) && lines(source) > LONG
}

/// Documents may be long, and generated files are nobody's reading.
fn is_written_by_hand(source: &Source) -> bool {
    !source.path.ends_with("types/skep.d.luau")
        && source.path.extension().is_some_and(|e| ["rs", "luau", "ts", "svelte", "css", "html", "sh"].iter().any(|k| e == *k))
}

fn length(source: &Source) -> Vec<String> {
    if is_written_by_hand(source) && lines(source) > LONGEST {
        return vec![format!("{}: {} lines; {LONGEST} is the most", source.path.display(), lines(source))];
    }
    Vec::new()
}

fn name(source: &Source) -> Vec<String> {
    let nameless = source.path.iter().any(|part| {
        let part = part.to_string_lossy();
        NAMELESS.contains(&part.split('.').next().unwrap_or(&part))
    });
    if nameless { vec![format!("{}: a name that says nothing: say what is in it", source.path.display())] } else { Vec::new() }
}

fn machine_paths(source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        for path in MACHINE_PATHS {
            let stands_alone =
                line.match_indices(path).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-.*}".contains(c)));
            if stands_alone {
                problems.push(format!("{}:{}: `{path}` is a folder of one machine", source.path.display(), index + 1));
            }
        }
    }
    problems
}

fn unfinished(source: &Source) -> Vec<String> {
    let mut problems: Vec<String> = UNFINISHED
        .iter()
        .flat_map(|word| source.words(word.trim_end_matches('!')).into_iter().map(move |at| (word, at)))
        .filter(|(word, at)| source.code[*at..].starts_with(**word))
        .map(|(word, at)| format!("{}:{}: {word}", source.path.display(), source.line_of(at)))
        .collect();
    for mark in MARKS {
        for at in crate::source::find_words(&source.comments, mark) {
            problems.push(format!("{}:{}: {mark} comment: do it, or open an issue", source.path.display(), source.line_of(at)));
        }
    }
    problems
}

fn unsafe_code(source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    let lines: Vec<&str> = source.text.lines().collect();
    for at in source.words("unsafe").into_iter().filter(|&at| !is_type(source, at)) {
        let place = format!("{}:{}", source.path.display(), source.line_of(at));
        if !UNSAFE_PLACES.iter().any(|allowed| source.path.to_string_lossy().starts_with(allowed)) {
            problems.push(format!("{place}: unsafe outside the places named in tests/tidy/rules.rs"));
        } else if !is_argued(source, &lines, at) {
            problems.push(format!("{place}: unsafe without its SAFETY comment"));
        }
    }
    problems
}

/// Whether an `unsafe` belongs to the type of a function pointer, which promises nothing: `unsafe extern "C" fn(i32)`.
fn is_type(source: &Source, at: usize) -> bool {
    let rest = source.code[at + "unsafe".len()..].trim_start();
    let rest = rest.strip_prefix("extern").unwrap_or(rest).trim_start();
    rest.strip_prefix("fn").is_some_and(|rest| rest.trim_start().starts_with('('))
}

/// Whether an `unsafe` has its argument: a `// SAFETY:` on its line or right above it, or `# Safety` in the documentation of a function.
fn is_argued(source: &Source, lines: &[&str], at: usize) -> bool {
    let line = source.line_of(at) - 1;
    let states = |text: &str| text.contains("SAFETY:") || text.contains("# Safety");
    if states(lines[line]) {
        return true;
    }
    // Attributes and the head of a statement broken over lines may stand between the comment and the keyword.
    let mut above = lines[..line].iter().rev().map(|l| l.trim_start());
    let continued = |l: &&str| !l.starts_with("//") && !l.is_empty() && (l.starts_with("#[") || !l.ends_with([';', '{', '}']));
    let mut next = above.next();
    while next.as_ref().is_some_and(continued) {
        next = above.next();
    }
    while let Some(comment) = next.filter(|l| l.starts_with("//") || l.starts_with("#[")) {
        if states(comment) {
            return true;
        }
        next = above.next();
    }
    false
}

/// A worker that sleeps serves nobody, and a test that sleeps is either slow or wrong.
fn sleeps(source: &Source) -> Vec<String> {
    if source.is_under(SLEEPER) {
        return Vec::new();
    }
    source
        .words("thread::sleep")
        .into_iter()
        .map(|at| format!("{}:{}: thread::sleep: wait for a condition", source.path.display(), source.line_of(at)))
        .collect()
}

fn ignored_tests(source: &Source) -> Vec<String> {
    source
        .words("ignore")
        .into_iter()
        .filter(|&at| source.code[..at].ends_with("#["))
        .map(|at| format!("{}:{}: a test that does not run", source.path.display(), source.line_of(at)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, check};
    use crate::source::Source;

    fn problems(path: &str, text: &str) -> Vec<String> {
        check(&Source::new(path, text))
    }

    fn only(path: &str, text: &str, expected: &str) {
        let found = problems(path, text);
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
    }

    #[test]
    fn a_file_has_at_most_800_lines() {
        assert_eq!(problems("src/a.rs", &"\n".repeat(LONGEST)), [""; 0]);
        only("src/a.rs", &"\n".repeat(LONGEST + 1), "801 lines");
    }

    #[test]
    fn names_say_something() {
        only("src/net/util.rs", "", "says nothing");
        only("src/helpers/mod.rs", "", "says nothing");
        assert_eq!(problems("src/utility_bill.rs", ""), [""; 0]);
    }

    #[test]
    fn unfinished_code_is_found_and_talk_about_it_is_not() {
        only("src/a.rs", "fn f() { todo!() }", "src/a.rs:1: todo!");
        only("src/a.rs", "\nlet x = dbg!(y);", "src/a.rs:2: dbg!");
        only("src/a.rs", &format!("// {}: later", concat!("TO", "DO")), "open an issue");
        assert_eq!(problems("src/a.rs", "let todo = \"todo!()\"; // the todo list"), [""; 0]);
    }

    #[test]
    fn unsafe_has_its_places_and_its_argument() {
        only("src/net/stream.rs", "// SAFETY: none\nunsafe { f() }", "outside the places");
        only("src/sys/fork.rs", "fn a() {\n    unsafe { f() }\n}", "without its SAFETY comment");
        only("src/sys/fork.rs", "// SAFETY: of another block.\nlet a = 1;\nunsafe { f() }", "without its SAFETY comment");
        let argued = "// SAFETY: this process has one thread,\n// so nothing is torn.\nlet child =\n    unsafe { fork() };\nlet b = unsafe { g() }; // SAFETY: pure\n";
        assert_eq!(problems("src/sys/fork.rs", argued), [""; 0]);
        assert_eq!(problems("src/sys/fork.rs", "/// # Safety\n/// The pointer is valid.\n#[inline]\npub unsafe fn read() {}"), [""; 0]);
        assert_eq!(problems("src/sys/fork.rs", "type Entry = unsafe extern \"C\" fn(i32);"), [""; 0]);
        only("src/sys/fork.rs", "unsafe extern \"C\" fn entry(i: i32) {}", "without its SAFETY comment");
        assert_eq!(problems("src/lib.rs", "#![deny(unsafe_op_in_unsafe_fn)]"), [""; 0]);
    }

    #[test]
    fn nobody_sleeps_and_every_test_runs() {
        only("tests/a.rs", "std::thread::sleep(d);", "wait for a condition");
        only("tests/a.rs", "#[test]\n#[ignore]\nfn a() {}", "tests/a.rs:2: a test that does not run");
        only("tests/a.rs", "#[ignore = \"slow\"]", "does not run");
    }

    #[test]
    fn folders_of_a_machine_are_found() {
        only("README.md", concat!("see /wo", "rk/skep"), "folder of one machine");
        assert_eq!(problems("README.md", concat!("https://example.com/net/wo", "rk/x and frame", "/wo", "rk/")), [""; 0]);
    }
}
