#!/bin/sh
# Interpreters of CGI programs, and PHP's own FastCGI server.
set -eu
here=$(dirname "$0")
exec "$here/../../tools/need.sh" php-cgi=php8.2-cgi php-fpm8.2=php8.2-fpm perl=perl /usr/bin/python3=python3
