//! The applications in `apps/` are part of the binary: a file that comes or goes there makes it anew.

fn main() {
    println!("cargo:rerun-if-changed=apps");
}
