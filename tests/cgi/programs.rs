//! The programs that are asked, and the instance that runs them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use crate::support::server::{Site, Skep, is_gone};
use crate::support::wait;

/// Gives back its query, decoded: any output at all.
const RAW: &str = "import os, sys, urllib.parse\nsys.stdout.buffer.write(urllib.parse.unquote_to_bytes(os.environ['QUERY_STRING']))\n";

/// Its environment, directory and descriptors, as JSON.
const ENV: &str = "#!/usr/bin/python3
import json, os, sys
fds = sorted(int(fd) for fd in os.listdir('/proc/self/fd'))
told = {'env': dict(os.environ), 'cwd': os.getcwd(), 'fds': [fd for fd in fds if os.path.exists(f'/proc/self/fd/{fd}')], 'uid': os.getuid(), 'gids': os.getgroups(), 'args': sys.argv, 'body': sys.stdin.read()}
print('Content-Type: application/json\\n')
print(json.dumps(told))
";

/// A form the way Python programs have read it for decades.
const FORM_PY: &str = "import warnings; warnings.simplefilter('ignore')
import cgi
form = cgi.FieldStorage()
print('Content-Type: text/plain')
print()
for name in sorted(form):
    item = form[name]
    print(name, item.filename or '', len(item.file.read()) if item.filename else item.value)
";

const FORM_PHP: &str = "<?php
header('X-Kind: php');
foreach ($_POST as $name => $value) echo \"$name=$value\\n\";
foreach ($_FILES as $name => $file) echo \"$name \", $file['name'], ' ', $file['size'], ' ', md5_file($file['tmp_name']), \"\\n\";
echo $_SERVER['PATH_INFO'] ?? '-', ' ', $_SERVER['SCRIPT_NAME'], ' ', $_GET['q'] ?? '-', \"\\n\";
";

/// Gives its input back as it comes.
const ECHO_PL: &str = "#!/usr/bin/perl
use strict;
$| = 1;
print \"Content-Type: application/octet-stream\\r\\nX-Length: \", $ENV{CONTENT_LENGTH} // 'unknown', \"\\r\\n\\r\\n\";
binmode STDIN; binmode STDOUT;
while (sysread(STDIN, my $piece, 65536)) { my $at = 0; while ($at < length $piece) { $at += syswrite(STDOUT, $piece, 65536, $at) } }
";

/// Writes what its query says, then its process id and that of another that it leaves behind, and waits for ever.
const WAIT: &str = "#!/bin/sh
printf \"$(echo \"$QUERY_STRING\" | sed 's/%0a/\\\\n/g; s/%20/ /g')\"
sleep 100000 >/dev/null 2>&1 &
echo \"$$ $!\" >> \"$PIDS\"
exec sleep 100000
";

/// Where the programs are asked: the options of `Cgi` by the first segment of the path.
const OPTIONS: &[(&str, &str)] = &[
    ("cgi", "sendfile_roots: [\"sent\"], index: [\"index.py\"]"),
    ("hasty", "timeout: \"400ms\""),
    ("narrow", "max_processes: 1, queue: 1, queue_timeout: \"300ms\""),
    ("patient", "max_processes: 1, queue: 100, queue_timeout: \"30s\""),
    ("collect", "chunked: Collect"),
    ("loud", "stderr: Output"),
    ("bounded", "max_output: \"100 KiB\""),
    ("open", "authorization: true, follow_symlinks: false"),
    (
        "overridden",
        "overrides: (binpath: {\"own\": \"/usr/bin/perl\"}, cwd: [\"/usr\"], setuser: [\"61001\"], setgroup: [\"61002\"], chroot: [\"jail\"])",
    ),
];

/// What the shell needs in a root directory of its own.
const SHELL: [&str; 3] = ["/bin/sh", "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"];

/// A running instance with programs.
pub struct Programs {
    pub skep: Skep,
}

impl Programs {
    pub fn start() -> Self {
        let site = Site::new();
        let folder = site.path().to_owned();
        for (name, text) in [
            ("raw.py", RAW),
            ("index/index.py", RAW),
            ("env.cgi", ENV),
            ("form.py", FORM_PY),
            ("form.php", FORM_PHP),
            ("echo.pl", ECHO_PL),
            ("wait.sh", WAIT),
            ("plain.txt", "no program"),
            (".hidden.sh", "#!/bin/sh\n"),
            ("nobang.cgi", "printf 'A: b\\n\\nby the shell'\n"),
            ("badbang.cgi", "#!/nowhere/at/all\n"),
            ("big.pl", "print \"Content-Length: 1000000\\n\\n\", 'x' x 1000000;"),
            ("short.pl", "print \"Content-Length: 10\\n\\nshort\";"),
            ("long.pl", "print \"Content-Length: 5\\n\\nlonger than that\";"),
            ("killed.sh", "#!/bin/sh\nprintf 'A: b\\n\\nhalf'; kill -9 $$\n"),
            ("fails.sh", "#!/bin/sh\nprintf 'A: b\\n\\nwhole'; exit 3\n"),
            (
                "early.py",
                "import os, sys\nprint('Status: 204\\n', flush=True)\nopen(os.environ['PIDS'], 'a').write(str(len(sys.stdin.buffer.read())))",
            ),
            ("deaf.sh", "#!/bin/sh\nprintf 'A: b\\n\\nnothing read'\n"),
            (
                "complains.pl",
                "print STDERR \"first words\\n\" . ('y' x 5000) . \"\\n\"; print STDERR \"line $_\\n\" for 1..200; print \"A: b\\n\\nfine\";",
            ),
            ("leaves.sh", "#!/bin/sh\n(setsid sleep 100000 & echo \"$!\" >> \"$PIDS\") \nprintf 'A: b\\n\\nleft'\n"),
            ("wantsfile.pl", "print \"X-Sendfile: $ENV{QUERY_STRING}\\nX-Own: 1\\n\\nignored\";"),
        ] {
            site.write(&format!("cgi-bin/{name}"), text);
        }
        for name in
            ["env.cgi", "echo.pl", "wait.sh", ".hidden.sh", "nobang.cgi", "badbang.cgi", "killed.sh", "fails.sh", "deaf.sh", "leaves.sh"]
        {
            fs::set_permissions(folder.join("cgi-bin").join(name), fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        symlink("../outside.sh", folder.join("cgi-bin/outside.sh")).expect("a link");
        symlink("env.cgi", folder.join("cgi-bin/linked.cgi")).expect("a link");
        site.write("outside.sh", "#!/bin/sh\nprintf 'A: b\\n\\nsecret'\n");
        fs::set_permissions(folder.join("outside.sh"), fs::Permissions::from_mode(0o755)).expect("a mode");
        site.write("sent/file.txt", &"0123456789".repeat(100));
        site.write("jail/cgi/where.sh", "#!/bin/sh\nprintf 'A: b\\n\\n'; echo $SCRIPT_FILENAME $DOCUMENT_ROOT; pwd; echo /*\n");
        fs::set_permissions(folder.join("jail/cgi/where.sh"), fs::Permissions::from_mode(0o755)).expect("a mode");
        for file in SHELL {
            let inside = folder.join("jail").join(file.trim_start_matches('/'));
            fs::create_dir_all(inside.parent().expect("a folder")).expect("a folder");
            fs::copy(file, inside).expect("a copy");
        }
        site.write("static/there.txt", "a file of the site");
        let (address, pids) = (site.address, folder.join("pids"));
        let programs = "interpreters: {\".php\": \"/usr/bin/php-cgi\", \".py\": \"/usr/bin/python3\", \".pl\": \"/usr/bin/perl\"}";
        let app = |(name, options): &(&str, &str)| {
            format!(
                "\"{name}\": Cgi(root: \"cgi-bin\", {programs}, env: {{\"PIDS\": \"{}\", \"OWN\": \"value\"}}, {options}),\n",
                pids.display()
            )
        };
        let mut apps: String = OPTIONS.iter().map(app).collect();
        apps += "\"jailed\": Cgi(root: \"jail/cgi\", overrides: (chroot: [\"jail\"])),\n";
        let route = |(name, _): &(&str, &str)| format!("(path: \"/{name}\", app: \"{name}\"), ");
        let routes: String = OPTIONS.iter().map(route).collect();
        let routes = format!(
            "[{routes} (path: \"/jailed\", app: \"jailed\"), (path: \"/static\", app: \"static\"), (path: \"/\", reply: (status: 200, body: \"up\"))]"
        );
        site.write(
            "config.ron",
            &format!(
                "Config(data: \"data\", run: \"run\", auto_reload: false, log: (level: Info), workers: (start: 1, min: 1, max: 1, max_spare: 1),\n\
                 admin: (listen: []), apps: {{ {apps} \"static\": Files(root: \"static\") }},\n\
                 servers: {{ \"web\": Http(listen: [\"{address}\"], max_body: \"1 GiB\", routes: {routes}),\n\
                 \"fcgi\": FastCgi(listen: [\"unix:run/fcgi.sock\"], routes: {routes}) }})"
            ),
        );
        Self { skep: site.start() }
    }

    pub fn socket(&self) -> PathBuf {
        self.skep.site.path().join("run/fcgi.sock")
    }

    /// Adds a program that runs by itself.
    pub fn program(&self, name: &str, text: &str) {
        self.skep.site.write(&format!("cgi-bin/{name}"), text);
        fs::set_permissions(self.path(&format!("cgi-bin/{name}")), fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    /// A path of the site's folder.
    pub fn path(&self, name: &str) -> String {
        self.skep.site.path().join(name).display().to_string()
    }

    /// The processes that programs have told of.
    pub fn told(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.skep.site.path().join("pids")).unwrap_or_default();
        text.split_ascii_whitespace().map(|pid| pid.parse().expect("a process id")).collect()
    }

    /// Waits until so many processes have been told of, and gives them.
    pub fn tell(&self, count: usize) -> Vec<i32> {
        wait::until(format!("{count} processes"), || self.told().len() >= count);
        self.told()
    }

    /// Waits until all that were told of are gone.
    pub fn gone(&self) {
        let told = self.told();
        assert!(!told.is_empty(), "no process was told of");
        wait::until("the processes to be gone", || told.iter().all(|&pid| is_gone(pid)));
    }

    /// Waits until the log has a line with all of these.
    pub fn logged(&self, parts: &[&str]) {
        wait::until(format!("a line of the log with {parts:?}"), || {
            self.skep.output().lines().any(|line| parts.iter().all(|part| line.contains(part)))
        });
    }

    pub fn worker(&self) -> i32 {
        self.skep.settled(1).workers[0].pid
    }
}
