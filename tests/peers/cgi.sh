#!/bin/sh
# Interpreters of CGI programs, PHP's own FastCGI server and its database, and git.
set -eu
here=$(dirname "$0")
exec "$here/../../tools/need.sh" php-cgi=php8.2-cgi php-fpm8.2=php8.2-fpm perl=perl /usr/bin/python3=python3 \
    /usr/lib/php/20220829/pdo_sqlite.so=php8.2-sqlite3 git=git
