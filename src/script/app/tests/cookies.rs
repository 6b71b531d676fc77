//! Cookies that an application sets.

use super::*;

async fn set_by(reply: &str) -> (u16, Vec<String>, String) {
    let app = load(&format!("local skep = require('@skep') return {{ request = function(req) {reply} end }}")).await;
    let response = answer(&app, request("GET", "/", &[], "")).await;
    let cookies = response.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"set-cookie"));
    let cookies = cookies.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect();
    (response.status, cookies, text(response).await)
}

#[test]
fn cookies_are_safe_unless_said_otherwise() {
    run(async {
        let (status, cookies, body) = set_by(
            "return { body = 'set', cookies = {
                skep.cookie('id', 'x y;é'),
                skep.cookie('count', 7, { max_age = '1d', path = '/shop', domain = 'example.com', http_only = false }),
                skep.cookie('embedded', '1', { secure = true, same_site = 'none', partitioned = true, expires = 784111777 }),
                skep.cookie('gone', nil, { path = '/shop' }),
            } }",
        )
        .await;
        assert_eq!((status, body.as_str()), (200, "set"));
        assert_eq!(
            cookies,
            [
                "id=x%20y%3B%C3%A9; Path=/; HttpOnly; SameSite=Lax",
                "count=7; Path=/shop; Domain=example.com; Max-Age=86400; SameSite=Lax",
                "embedded=1; Path=/; Expires=Sun, 06 Nov 1994 08:49:37 GMT; Secure; HttpOnly; Partitioned; SameSite=None",
                "gone=; Path=/shop; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax",
            ]
        );
    });
}

#[test]
fn every_kind_of_reply_can_set_them() {
    run(async {
        for reply in [
            "local r = skep.redirect('/') r.cookies = { skep.cookie('a', '1') } return r",
            "local r = skep.json_reply({}) r.cookies = { skep.cookie('a', '1') } return r",
            "local r = skep.sse(function(events) events:send('x') end) r.cookies = { skep.cookie('a', '1') } return r",
            "return { status = 204, headers = { ['set-cookie'] = { skep.cookie('a', '1') } } }",
            "req:head(200, { ['set-cookie'] = { skep.cookie('a', '1') } }) req:write('x') req:flush()",
            "return { cookies = { skep.cookie('a', '1') } }",
        ] {
            assert_eq!(set_by(reply).await.1, ["a=1; Path=/; HttpOnly; SameSite=Lax"], "{reply}");
        }
        assert_eq!(
            set_by("return { body = '', headers = { ['set-cookie'] = 'b=2' }, cookies = { skep.cookie('a', '1') } }").await.1.len(),
            2
        );
    });
}

#[test]
fn mistakes_are_named() {
    run(async {
        for (reply, said) in [
            ("skep.cookie('a b', '1')", "cookie \"a b\": a cookie name may have only"),
            ("skep.cookie('a', {})", "cookie \"a\": the value is a string, a number or nil, not a table"),
            ("skep.cookie('a', '1', { same_site = 'None' })", "same_site is \"strict\", \"lax\" or \"none\", not \"None\""),
            ("skep.cookie('a', '1', { same_site = 'none' })", "this cookie must be secure"),
            ("skep.cookie('a', '1', { httponly = true })", "no option named httponly, did you mean http_only?"),
            ("skep.cookie('a', '1', { path = 'x' })", "a cookie path starts with /"),
            ("skep.cookie('a', '1', { expires = -1 })", "expires between 1970 and 9999"),
            ("skep.cookie('a', nil, { max_age = 5 })", "takes no max_age"),
            ("return { cookies = { a = '1' } }", "a list of what skep.cookie gives, not a table by name"),
            ("return { cookies = 'a=1' }", "a list of what skep.cookie gives, not a string"),
            ("return { cookies = { 'a=1\\r\\nx: y' } }", "the header Set-Cookie"),
        ] {
            let (status, cookies, page) = set_by(reply).await;
            let page = page.replace("&quot;", "\"").replace("&#34;", "\"");
            assert!(status == 500 && cookies.is_empty() && page.contains(said), "{reply}: {status} {page}");
        }
    });
}
