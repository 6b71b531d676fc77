//! CGI programs in shell, Perl, Python and PHP, asked through the real binary by HTTP and by FastCGI.

#[path = "../support/mod.rs"]
mod support;

mod applications;
mod faults;
mod fpm;
mod front;
mod limits;
mod programs;
mod requests;
mod streams;
mod upstream;
