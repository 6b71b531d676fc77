//! Query strings and `application/x-www-form-urlencoded` bodies (WHATWG URL §5.1).

use super::{FormError, FormLimits, FormMap};
use crate::codec::percent::decode_form;

/// Adds the fields of a query string or a body to `into`. `+` is a space; `%XX` and `%uXXXX` are decoded, in names
/// before their brackets are looked at; what cannot be decoded stays as it is.
///
/// # Errors
/// See [`FormError`]; the limits are for this input alone.
pub fn parse_urlencoded(input: &[u8], limits: &FormLimits, into: &mut FormMap) -> Result<(), FormError> {
    if input.len() > limits.bytes {
        return Err(FormError::TooLarge);
    }
    let pairs = input.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty());
    for (count, pair) in pairs.enumerate() {
        if count == limits.fields {
            return Err(FormError::TooManyFields);
        }
        let (name, value) = match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        into.insert(&decode_form(name), decode_form(value).into_owned(), limits)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::FormValue;
    use super::*;

    /// The form as one line, for comparing.
    fn show(map: &FormMap) -> String {
        let value = |value: &FormValue| match value {
            FormValue::Text(text) => String::from_utf8_lossy(text).into_owned(),
            FormValue::List(items) => {
                let items: Vec<_> =
                    items.iter().map(|item| item.as_map().map_or_else(|| item.as_str().unwrap_or("?").into(), show)).collect();
                format!("[{}]", items.join(","))
            }
            FormValue::Map(map) => show(map),
        };
        let entries: Vec<_> = map.iter().map(|(name, found)| format!("{}:{}", String::from_utf8_lossy(name), value(found))).collect();
        format!("{{{}}}", entries.join(","))
    }

    fn parse(input: &str) -> Result<FormMap, FormError> {
        let mut map = FormMap::new();
        let limits = FormLimits { bytes: 200, fields: 30, depth: 3 };
        parse_urlencoded(input.as_bytes(), &limits, &mut map).map(|()| map)
    }

    #[test]
    fn fields_go_where_their_names_say() {
        for (input, shown) in [
            ("", "{}"),
            ("&&", "{}"),
            ("a=1&b=2", "{a:1,b:2}"),
            ("a=1&a=2", "{a:2}"),
            ("a", "{a:}"),
            ("=1", "{:1}"),
            ("a=b=c", "{a:b=c}"),
            ("a+b=c+d%2B", "{a b:c d+}"),
            ("n=%u041f%uD83D%uDE00", "{n:\u{41f}\u{1f600}}"),
            ("n=%zz%u12&100%", "{n:%zz%u12,100%:}"),
            ("a[]=1&a[]=2", "{a:[1,2]}"),
            ("a%5B%5D=1", "{a:[1]}"),
            ("a[k]=1&a[l]=2&a[k]=3", "{a:{k:3,l:2}}"),
            ("a[k][]=1&a[k][]=2", "{a:{k:[1,2]}}"),
            ("a[][k]=1&a[][k]=2", "{a:[{k:1},{k:2}]}"),
            ("a[]=1&a[k]=2&a[]=3", "{a:{0:1,k:2,2:3}}"),
            ("a=1&a[]=2", "{a:[2]}"),
            ("a[]=1&a=2", "{a:2}"),
            ("a[b=1", "{a[b:1}"),
            ("a]=1", "{a]:1}"),
            ("[]=1", "{[]:1}"),
            ("a[b]c=1", "{a[b]c:1}"),
            ("a[b]c]=1", "{a[b]c]:1}"),
            ("a[[b]]=1", "{a[[b]]:1}"),
        ] {
            assert_eq!(show(&parse(input).unwrap()), shown, "{input:?}");
        }
    }

    #[test]
    fn limits_are_kept() {
        assert!(parse("a[b][c][d]=1").is_ok());
        assert_eq!(parse("a[b][c][d][e]=1"), Err(FormError::TooDeep));
        assert!(parse(&"a&".repeat(30)).is_ok());
        assert_eq!(parse(&"a&".repeat(31)), Err(FormError::TooManyFields));
        assert_eq!(parse(&"a".repeat(201)), Err(FormError::TooLarge));
    }

    #[test]
    fn many_names_are_found_by_their_index() {
        let input: Vec<String> = (0..900).map(|number| format!("name{number}={number}")).collect();
        let mut map = FormMap::new();
        parse_urlencoded(input.join("&").as_bytes(), &FormLimits::default(), &mut map).unwrap();
        assert_eq!(map.len(), 900);
        for number in 0..900 {
            assert_eq!(map.text(format!("name{number}")), Some(number.to_string().as_str()));
        }
    }

    proptest! {
        #[test]
        fn any_input_is_taken_or_refused(input in "[ab\\[\\]=&%u0D+]{0,60}") {
            if let Ok(map) = parse(&input) {
                prop_assert!(map.len() <= 30);
            }
        }
    }
}
