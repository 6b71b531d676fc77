#!/bin/sh
# HTTP peers: nginx with its Lua module, HAProxy, load generators, an independent client. (Debian's `luajit` package would remove the Lua module.)
set -eu
here=$(dirname "$0")
exec "$here/../../tools/need.sh" \
    nginx=nginx-light \
    /usr/lib/nginx/modules/ngx_http_lua_module.so=libnginx-mod-http-lua \
    haproxy=haproxy \
    wrk=wrk \
    ab=apache2-utils \
    curl=curl
