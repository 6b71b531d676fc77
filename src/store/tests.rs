use super::filter::Filter;
use super::key::encode;
use super::update::Update;
use super::value::{Document, Value};
use super::view::{FindOptions, Projection, Sort};
use super::{key, text};
use proptest::prelude::*;

/// A document from its text.
pub(super) fn document(written: &str) -> Document {
    raw(written)
}

/// Filters have names that documents must not have, of which one alone would be taken for a value of the stored form.
fn raw(written: &str) -> Document {
    fn value(json: &serde_json::Value) -> Value {
        match json {
            serde_json::Value::Object(fields) => match fields.iter().next() {
                Some((name, _)) if fields.len() == 1 && ["$date", "$binary", "$number"].contains(&name.as_str()) => {
                    text::read(&json.to_string()).unwrap()
                }
                _ => Value::Document(fields.iter().map(|(name, item)| (name.clone(), value(item))).collect()),
            },
            serde_json::Value::Array(items) => Value::Array(items.iter().map(value).collect()),
            other => text::read(&other.to_string()).unwrap(),
        }
    }
    match value(&serde_json::from_str(written).unwrap()) {
        Value::Document(document) => document,
        other => panic!("{other} is no document"),
    }
}

/// Values that are likely to be equal, near, or of another type.
pub(super) fn any_value() -> impl Strategy<Value = Value> {
    let plain = prop_oneof![
        2 => Just(Value::Null),
        2 => any::<bool>().prop_map(Value::Bool),
        6 => (-2i64..3).prop_map(Value::Int),
        1 => prop_oneof![Just(i64::MAX), Just(i64::MIN), Just(1 << 53), Just((1 << 53) + 1), any::<i64>()].prop_map(Value::Int),
        3 => (-2i64..3).prop_map(|half| Value::Double(half as f64 / 2.0)),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-0.0), Just(9007199254740992.0), any::<f64>()]
            .prop_map(Value::Double),
        4 => "[ab\0]{0,2}".prop_map(Value::Text),
        1 => proptest::collection::vec(any::<u8>(), 0..3).prop_map(Value::Binary),
        2 => (-2i64..3).prop_map(Value::Date),
    ];
    plain.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec((proptest::sample::select(&["a", "b", "c"][..]), inner), 0..3)
                .prop_map(|fields| Value::Document(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())),
        ]
    })
}

pub(super) fn any_document() -> impl Strategy<Value = Document> {
    proptest::collection::vec((proptest::sample::select(&["a", "b", "c"][..]), any_value()), 0..4)
        .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn one(name: &str, value: Value) -> Document {
    [(name.to_owned(), value)].into_iter().collect()
}

pub(super) fn any_filter() -> impl Strategy<Value = Document> {
    let comparison = (proptest::sample::select(&["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"][..]), any_value())
        .prop_map(|(operator, value)| (operator.to_owned(), value));
    let list = (proptest::sample::select(&["$in", "$nin"][..]), proptest::collection::vec(any_value(), 0..3))
        .prop_map(|(operator, values)| (operator.to_owned(), Value::Array(values)));
    let exists = any::<bool>().prop_map(|exists| ("$exists".to_owned(), Value::Bool(exists)));
    let operators = proptest::collection::vec(prop_oneof![6 => comparison, 1 => list, 1 => exists], 1..3)
        .prop_map(|operators| Value::Document(operators.into_iter().collect()));
    let test =
        prop_oneof![3 => operators.clone(), 1 => operators.prop_map(|operators| Value::Document(one("$not", operators))), 2 => any_value()];
    let paths = &["a", "b", "c", "a.b", "b.0", "a.b.c", "_id"][..];
    let fields = proptest::collection::vec((proptest::sample::select(paths), test), 0..3)
        .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Document>());
    fields.prop_recursive(2, 6, 3, |inner| {
        (proptest::sample::select(&["$and", "$or", "$nor"][..]), proptest::collection::vec(inner, 1..3))
            .prop_map(|(operator, all)| one(operator, Value::Array(all.into_iter().map(Value::Document).collect())))
    })
}

proptest! {
    #[test]
    fn stored_values_read_back_the_same(value in any_value()) {
        let written = text::write(&value);
        let read = text::read(&written).unwrap();
        prop_assert!(read.same(&value), "{} became {}", written, read);
        prop_assert_eq!(text::write(&read), written);
    }

    #[test]
    fn keys_compare_as_values_do(a in any_value(), b in any_value()) {
        prop_assert_eq!(encode(&a).cmp(&encode(&b)), a.order(&b), "{} {}", a, b);
        let mut inverted = (Vec::new(), Vec::new());
        key::append(&mut inverted.0, &encode(&a), key::Direction::Down);
        key::append(&mut inverted.1, &encode(&b), key::Direction::Down);
        prop_assert_eq!(inverted.0.cmp(&inverted.1), b.order(&a));
    }

    #[test]
    fn any_filter_is_understood_and_its_opposite_is_the_opposite(filter in any_filter(), document in any_document()) {
        let opposite = one("$nor", Value::Array(vec![Value::Document(filter.clone())]));
        let (filter, opposite) = (Filter::parse(&filter).unwrap(), Filter::parse(&opposite).unwrap());
        prop_assert_eq!(filter.matches(&document), !opposite.matches(&document));
    }
}

fn matches(filter: &str, document_: &str) -> bool {
    Filter::parse(&document(filter)).unwrap().matches(&document(document_))
}

#[test]
fn filters_mean_what_they_mean_in_mongodb() {
    for (filter, yes, no) in [
        ("{}", vec!["{}", r#"{"a":1}"#], vec![]),
        (r#"{"a":1}"#, vec![r#"{"a":1}"#, r#"{"a":1.0}"#, r#"{"a":[3,1]}"#], vec!["{}", r#"{"a":"1"}"#, r#"{"a":[[1]]}"#]),
        (r#"{"a":null}"#, vec!["{}", r#"{"a":null}"#, r#"{"a":[null]}"#], vec![r#"{"a":[]}"#, r#"{"a":0}"#]),
        (
            r#"{"a.b":null}"#,
            vec!["{}", r#"{"a":4}"#, r#"{"a":{}}"#, r#"{"a":[{"b":4},{"c":1}]}"#],
            vec![r#"{"a":[]}"#, r#"{"a":[1,2]}"#, r#"{"a":[{"b":4}]}"#],
        ),
        (r#"{"a":[1,2]}"#, vec![r#"{"a":[1,2]}"#, r#"{"a":[[1,2],3]}"#], vec![r#"{"a":[2,1]}"#, r#"{"a":[1,2,3]}"#]),
        (r#"{"a":{"$gt":1}}"#, vec![r#"{"a":2}"#, r#"{"a":[0,5]}"#], vec![r#"{"a":1}"#, r#"{"a":"x"}"#, "{}", r#"{"a":{"$date":5}}"#]),
        (r#"{"a":{"$gt":1,"$lt":3}}"#, vec![r#"{"a":2}"#, r#"{"a":[0,5]}"#], vec![r#"{"a":3}"#]),
        (r#"{"a":{"$ne":1}}"#, vec!["{}", r#"{"a":2}"#], vec![r#"{"a":[1,2]}"#]),
        (r#"{"a":{"$in":[1,null]}}"#, vec!["{}", r#"{"a":1}"#], vec![r#"{"a":2}"#]),
        (r#"{"a":{"$nin":[1,null]}}"#, vec![r#"{"a":2}"#], vec!["{}", r#"{"a":1}"#]),
        (r#"{"a":{"$exists":false}}"#, vec!["{}"], vec![r#"{"a":null}"#]),
        (r#"{"a":{"$not":{"$gt":1}}}"#, vec!["{}", r#"{"a":1}"#, r#"{"a":"x"}"#], vec![r#"{"a":2}"#]),
        (r#"{"a.b":1}"#, vec![r#"{"a":{"b":1}}"#, r#"{"a":[{"b":0},{"b":1}]}"#], vec![r#"{"a":1}"#, r#"{"a":[[{"b":1}]]}"#]),
        (r#"{"a.1":1}"#, vec![r#"{"a":[0,1]}"#, r#"{"a":{"1":1}}"#, r#"{"a":[{"1":1}]}"#], vec![r#"{"a":[1]}"#]),
        (r#"{"$or":[{"a":1},{"b":1}]}"#, vec![r#"{"a":1}"#, r#"{"b":1}"#], vec!["{}"]),
        (r#"{"a":{"$lte":{"$number":"NaN"}}}"#, vec![r#"{"a":{"$number":"NaN"}}"#], vec![r#"{"a":1}"#]),
        (r#"{"a":{"$lt":5}}"#, vec![r#"{"a":{"$number":"-Infinity"}}"#], vec![r#"{"a":{"$number":"NaN"}}"#, r#"{"a":null}"#]),
        (r#"{"a":{"$gte":null}}"#, vec!["{}", r#"{"a":null}"#], vec![r#"{"a":1}"#]),
        (r#"{"a":{"b":1,"c":2}}"#, vec![r#"{"a":{"b":1,"c":2}}"#], vec![r#"{"a":{"b":1}}"#]),
    ] {
        yes.iter().for_each(|document| assert!(matches(filter, document), "{filter} means {document}"));
        no.iter().for_each(|document| assert!(!matches(filter, document), "{filter} does not mean {document}"));
    }
}

#[test]
fn what_is_no_filter_is_told() {
    for (filter, why) in [
        (r#"{"$and":[]}"#, "$and takes a list of filters that is not empty"),
        (r#"{"$where":1}"#, "there is no $where at this place of a filter: $and, $or, $nor"),
        (r#"{"a":{"$near":1}}"#, "there is no operator \"$near\" ($eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists, $not)"),
        (r#"{"a":{"$in":1}}"#, "$in takes a list of values"),
        (r#"{"a":{"$not":1}}"#, "$not takes operators, such as {[\"$gt\"] = 5}"),
        (r#"{"a..b":1}"#, "\"a..b\" is no path of a field: names with dots between them"),
    ] {
        assert_eq!(Filter::parse(&document(filter)).unwrap_err(), why);
    }
    let deep = (0..40).fold("{}".to_owned(), |inner, _| format!("{{\"$and\":[{inner}]}}"));
    assert!(Filter::parse(&document(&deep)).unwrap_err().contains("deep"));
}

#[test]
fn updates_do_what_they_do_in_mongodb() {
    for (before, update, after) in [
        ("{}", r#"{"$set":{"a.b":1}}"#, r#"{"a":{"b":1}}"#),
        (r#"{"a":[1]}"#, r#"{"$set":{"a.2":3}}"#, r#"{"a":[1,null,3]}"#),
        (r#"{"a":[{"b":1}]}"#, r#"{"$inc":{"a.0.b":2}}"#, r#"{"a":[{"b":3}]}"#),
        (r#"{"a":1,"b":2}"#, r#"{"$unset":{"a":""}}"#, r#"{"b":2}"#),
        (r#"{"a":[1,2]}"#, r#"{"$unset":{"a.0":""}}"#, r#"{"a":[null,2]}"#),
        ("{}", r#"{"$unset":{"a.b":""}}"#, "{}"),
        (r#"{"a":1}"#, r#"{"$inc":{"a":0.5}}"#, r#"{"a":1.5}"#),
        ("{}", r#"{"$inc":{"a":2}}"#, r#"{"a":2}"#),
        (r#"{"a":5}"#, r#"{"$min":{"a":3}}"#, r#"{"a":3}"#),
        (r#"{"a":5}"#, r#"{"$min":{"a":7}}"#, r#"{"a":5}"#),
        (r#"{"a":5}"#, r#"{"$max":{"a":7}}"#, r#"{"a":7}"#),
        (r#"{"a":[1]}"#, r#"{"$push":{"a":[2]}}"#, r#"{"a":[1,[2]]}"#),
        (r#"{"a":[1]}"#, r#"{"$push":{"a":{"$each":[2,3],"$slice":-2}}}"#, r#"{"a":[2,3]}"#),
        (r#"{"a":[1]}"#, r#"{"$addToSet":{"a":{"$each":[1.0,2,2]}}}"#, r#"{"a":[1,2]}"#),
        (r#"{"a":[1,2,1]}"#, r#"{"$pull":{"a":1}}"#, r#"{"a":[2]}"#),
        (r#"{"a":[1,2,3]}"#, r#"{"$pull":{"a":{"$gte":2}}}"#, r#"{"a":[1]}"#),
        (r#"{"a":[{"b":1,"c":1},{"b":2}]}"#, r#"{"$pull":{"a":{"b":1}}}"#, r#"{"a":[{"b":2}]}"#),
        (r#"{"a":1}"#, r#"{"$setOnInsert":{"a":2}}"#, r#"{"a":1}"#),
    ] {
        let mut changed = document(before);
        Update::parse(&document(update)).unwrap().apply(&mut changed, false).unwrap();
        assert_eq!(changed, document(after), "{update} of {before}");
    }
}

#[test]
fn what_is_no_update_is_told() {
    for update in [
        "{}",
        r#"{"a":1}"#,
        r#"{"$rename":{"a":"b"}}"#,
        r#"{"$set":1}"#,
        r#"{"$inc":{"a":"x"}}"#,
        r#"{"$set":{"a":1},"$inc":{"a.b":1}}"#,
        r#"{"$push":{"a":{"$slice":1}}}"#,
    ] {
        assert!(Update::parse(&document(update)).is_err(), "{update}");
    }
    for (before, update) in [
        (r#"{"a":"x"}"#, r#"{"$inc":{"a":1}}"#),
        (r#"{"a":9223372036854775807}"#, r#"{"$inc":{"a":1}}"#),
        (r#"{"a":1}"#, r#"{"$set":{"a.b":1}}"#),
        (r#"{"a":1}"#, r#"{"$push":{"a":1}}"#),
        (r#"{"a":1}"#, r#"{"$pull":{"a":1}}"#),
        (r#"{"a":[1]}"#, r#"{"$set":{"a.b":1}}"#),
        (r#"{"a":[]}"#, r#"{"$set":{"a.99999999":1}}"#),
    ] {
        assert!(Update::parse(&document(update)).unwrap().apply(&mut document(before), false).is_err(), "{update} of {before}");
    }
}

#[test]
fn orders_go_through_the_types_and_lists_count_by_their_first() {
    let sort = Sort::parse(&vec![("a".into(), key::Direction::Up)]).unwrap();
    let in_order = [
        r#"{"a":[]}"#,
        "{}",
        r#"{"a":{"$number":"NaN"}}"#,
        r#"{"a":-1}"#,
        r#"{"a":[5,0]}"#,
        r#"{"a":1.5}"#,
        r#"{"a":"a"}"#,
        r#"{"a":"b"}"#,
        r#"{"a":{"b":1}}"#,
        r#"{"a":{"$binary":"AA=="}}"#,
        r#"{"a":false}"#,
        r#"{"a":{"$date":1}}"#,
    ];
    let keys: Vec<Vec<u8>> = in_order.iter().map(|written| sort.key(&document(written))).collect();
    assert!(keys.is_sorted());
    let down = Sort::parse(&vec![("a".into(), key::Direction::Down)]).unwrap();
    assert!(down.key(&document(r#"{"a":[5,0]}"#)) < down.key(&document(r#"{"a":4}"#)));
    assert_eq!(FindOptions::default().limit, None);
}

#[test]
fn fields_are_shown_as_asked() {
    let whole = r#"{"_id":1,"a":{"b":1,"c":2},"d":[{"b":1,"c":2},3]}"#;
    for (fields, shown) in [
        (r#"{"a":true}"#, r#"{"_id":1,"a":{"b":1,"c":2}}"#),
        (r#"{"a.b":true,"_id":false}"#, r#"{"a":{"b":1}}"#),
        (r#"{"d.b":true}"#, r#"{"_id":1,"d":[{"b":1}]}"#),
        (r#"{"a.b":false,"d":false}"#, r#"{"_id":1,"a":{"c":2}}"#),
        (r#"{"_id":false}"#, r#"{"a":{"b":1,"c":2},"d":[{"b":1,"c":2},3]}"#),
        (r#"{"_id":true}"#, r#"{"_id":1}"#),
        ("{}", whole),
    ] {
        assert_eq!(Projection::parse(&document(fields)).unwrap().apply(document(whole)), document(shown), "{fields}");
    }
    assert!(Projection::parse(&document(r#"{"a":true,"b":false}"#)).is_err());
}
