//! Whole applications that nobody here wrote the hard part of: PHP with a database, and git.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use crate::programs::Programs;
use crate::support::client::{Client, get};

/// A guest book: the form is answered with a redirect, the list comes from the database.
const GUESTS: &str = "<?php
$database = new PDO('sqlite:' . getenv('PIDS') . '.db', null, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
$database->exec('PRAGMA busy_timeout = 20000');
$database->exec('CREATE TABLE IF NOT EXISTS guest (id INTEGER PRIMARY KEY, name TEXT)');
if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $database->prepare('INSERT INTO guest (name) VALUES (?)')->execute([$_POST['name']]);
    header('Location: ' . $_SERVER['SCRIPT_NAME'] . '/list', true, 303);
    exit;
}
foreach ($database->query('SELECT name FROM guest ORDER BY name') as $guest) echo htmlspecialchars($guest['name']), \"\\n\";
";

#[test]
fn a_php_application_keeps_its_data_in_sqlite() {
    let programs = Programs::start();
    programs.skep.site.write("cgi-bin/guests.php", GUESTS);
    let address = programs.skep.address();
    assert_eq!(get(address, "/cgi/guests.php/list").expect("a reply").text(), "");
    let sign = |name: &str| {
        let mut client = Client::connect(address).expect("a connection");
        let body = format!("name={name}");
        let head = "POST /cgi/guests.php HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n";
        client.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).expect("sent");
        let reply = client.read_reply().expect("a reply");
        assert_eq!((reply.status, reply.header("location")), (303, Some("/cgi/guests.php/list")), "{}", reply.text());
    };
    // At the same time: they wait for each other at the database.
    thread::scope(|scope| {
        for name in ["Ann", "Bj%C3%B6rn", "%3CCleo%3E", "Dan", "Eve", "Fay"] {
            scope.spawn(move || sign(name));
        }
    });
    assert_eq!(get(address, "/cgi/guests.php/list").expect("a reply").text(), "&lt;Cleo&gt;\nAnn\nBjörn\nDan\nEve\nFay\n");
}

/// Runs git in a folder, with nothing of this machine's settings.
fn git(folder: &Path, arguments: &[&str]) {
    let done = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(folder)
        .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_TERMINAL_PROMPT", "0")])
        .env("HOME", folder)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("git: {error}: tests/peers/cgi.sh installs it"));
    assert!(done.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn git_pushes_and_clones_through_its_own_program() {
    let programs = Programs::start();
    let folder = programs.skep.site.path();
    let repositories = folder.join("repositories");
    fs::create_dir_all(repositories.join("one.git")).expect("a folder");
    git(&repositories.join("one.git"), &["init", "-q", "--bare"]);
    git(&repositories.join("one.git"), &["config", "http.receivepack", "true"]);
    let backend = format!(
        "#!/bin/sh\nexport GIT_PROJECT_ROOT={0} GIT_HTTP_EXPORT_ALL=1 HOME={0} PATH=/usr/bin:/bin\nexec /usr/lib/git-core/git-http-backend\n",
        repositories.display()
    );
    programs.program("git.sh", &backend);
    let work = folder.join("work");
    fs::create_dir_all(&work).expect("a folder");
    // What cannot be compressed, so that it streams in many pieces, of a length that git does not know before.
    let mut bytes = vec![0; 16 << 20];
    getrandom::fill(&mut bytes).expect("random bytes");
    fs::write(work.join("large.bin"), &bytes).expect("a file");
    let address = format!("http://{}/cgi/git.sh/one.git", programs.skep.address());
    git(&work, &["init", "-q"]);
    git(&work, &["add", "."]);
    git(&work, &["commit", "-q", "-m", "one"]);
    git(&work, &["push", "-q", &address, "HEAD:refs/heads/main"]);
    git(folder, &["clone", "-q", "-b", "main", &address, "cloned"]);
    assert!(fs::read(folder.join("cloned/large.bin")).expect("a file") == bytes);
}
