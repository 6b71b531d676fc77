use super::*;
use crate::store::call::{ChangeKind, IndexSpec, StoreAnswer, Write};
use crate::store::config::EmbeddedStore;
use crate::store::filter::Filter;
use crate::store::key::Direction;
use crate::store::tests::{any_document, any_filter, document};
use crate::store::value::{Document, Value};
use crate::store::view::{Fields, FindOptions, Sort};
use crate::store::{EmbeddedSettings, StoreError};
use proptest::prelude::*;

struct Place {
    _directory: tempfile::TempDir,
    settings: EmbeddedSettings,
    writer: Writer,
}

fn place_with(options: EmbeddedStore) -> Place {
    let directory = tempfile::tempdir().unwrap();
    let settings = EmbeddedSettings { path: directory.path().join("deep/store.db"), options };
    let writer = Writer::open(&settings).unwrap();
    Place { _directory: directory, settings, writer }
}

fn place() -> Place {
    place_with(EmbeddedStore { sync: crate::store::config::Sync::Normal, ..EmbeddedStore::default() })
}

impl Place {
    fn one(&mut self, write: Write) -> Result<StoreAnswer, StoreError> {
        self.writer.commit(&[("c".to_owned(), write)]).unwrap().remove(0)
    }

    fn insert(&mut self, text: &str) -> Result<StoreAnswer, StoreError> {
        self.one(Write::Insert(vec![document(text)]))
    }

    fn index(&mut self, fields: &[(&str, Direction)], unique: bool) -> Result<StoreAnswer, StoreError> {
        let fields: Fields = fields.iter().map(|(path, direction)| ((*path).to_owned(), *direction)).collect();
        self.one(Write::CreateIndex(IndexSpec { name: String::new(), fields, unique, expire_after: None }))
    }

    fn find(&self, filter: &str, options: FindOptions) -> Result<Vec<Document>, StoreError> {
        let (reader, filter) = (Reader::new(&self.settings), document(filter));
        crate::reactor::run(async move { reader.find("c".to_owned(), filter, options).await }).unwrap()
    }

    fn ids(&self, filter: &str, sort: &[(&str, Direction)]) -> Vec<String> {
        let sort = sort.iter().map(|(path, direction)| ((*path).to_owned(), *direction)).collect();
        let found = self.find(filter, FindOptions { sort, ..FindOptions::default() }).unwrap();
        found.iter().map(|document| document.get("_id").unwrap().to_string()).collect()
    }

    fn changes(&self, after: u64) -> Result<(Vec<(ChangeKind, String)>, u64), StoreError> {
        let reader = Reader::new(&self.settings);
        let (changes, number) = crate::reactor::run(async move {
            let (epoch, _) = reader.now().await?;
            reader.changes("c".to_owned(), epoch, after).await
        })
        .unwrap()?;
        Ok((changes.into_iter().map(|change| (change.kind, change.id.to_string())).collect(), number))
    }
}

#[test]
fn what_is_written_is_found_by_another_connection() {
    let mut place = place();
    assert_eq!(place.find("{}", FindOptions::default()).unwrap(), []);
    assert_eq!(place.insert(r#"{"_id":1,"a":{"b":[1,2]}}"#), Ok(StoreAnswer::Inserted(vec![Value::Int(1)], None)));
    let Ok(StoreAnswer::Inserted(ids, None)) = place.insert(r#"{"a":5}"#) else { panic!() };
    assert!(matches!(&ids[..], [Value::Text(id)] if id.len() == 24));
    assert_eq!(place.ids(r#"{"a.b":2}"#, &[]), ["1"]);
    let error = place.insert(r#"{"_id":1.0}"#).unwrap_err();
    assert_eq!(error.to_string(), "duplicate key: _id_ {_id: 1.0}");
    assert_eq!(place.find("{}", FindOptions::default()).unwrap().len(), 2);
}

#[test]
fn of_one_transaction_what_fails_leaves_the_rest_alone() {
    let mut place = place();
    let insert = |id: i64| ("c".to_owned(), Write::Insert(vec![document(&format!("{{\"_id\":{id}}}"))]));
    let answers = place.writer.commit(&[insert(1), insert(1), insert(2)]).unwrap();
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(place.ids("{}", &[]), ["1", "2"]);
    let several = Write::Insert(vec![document(r#"{"_id":3}"#), document(r#"{"_id":1}"#), document(r#"{"_id":4}"#)]);
    let Ok(StoreAnswer::Inserted(ids, Some(why))) = place.one(several) else { panic!() };
    assert_eq!((ids, why.as_str()), (vec![Value::Int(3)], "duplicate key: _id_ {_id: 1}"));
}

#[test]
fn a_unique_index_holds_for_inserts_updates_and_what_was_there() {
    let mut place = place();
    place.insert(r#"{"_id":1,"mail":"a"}"#).unwrap();
    place.insert(r#"{"_id":2,"mail":"b"}"#).unwrap();
    place.index(&[("mail", Direction::Up)], true).unwrap();
    let error = place.insert(r#"{"_id":3,"mail":"a"}"#).unwrap_err();
    assert_eq!(error.to_string(), "duplicate key: mail_1 {mail: \"a\"}, as in the document 1");
    let update =
        |filter: &str, update: &str, many| Write::Update { filter: document(filter), update: document(update), many, upsert: false };
    assert!(place.one(update(r#"{"_id":2}"#, r#"{"$set":{"mail":"a"}}"#, false)).is_err());
    assert!(place.one(update("{}", r#"{"$set":{"mail":"z"}}"#, true)).is_err(), "of many all or none");
    assert_eq!(place.ids(r#"{"mail":"a"}"#, &[]), ["1"]);
    place.one(Write::Delete { filter: document(r#"{"_id":1}"#), many: false }).unwrap();
    place.insert(r#"{"_id":3,"mail":"a"}"#).unwrap();
    place.insert(r#"{"_id":4,"mail":"c","n":1}"#).unwrap();
    place.insert(r#"{"_id":5,"mail":"d","n":1}"#).unwrap();
    assert!(place.index(&[("n", Direction::Up)], true).is_err());
    assert_eq!(place.index(&[("mail", Direction::Up)], true), Ok(StoreAnswer::Done(false)));
    assert!(place.index(&[("mail", Direction::Up)], false).is_err(), "another one of this name");
    assert_eq!(place.one(Write::DropIndex("mail_1".into())), Ok(StoreAnswer::Done(true)));
    place.insert(r#"{"_id":6,"mail":"a"}"#).unwrap();
}

#[test]
fn updates_replacements_and_upserts() {
    let mut place = place();
    let update =
        |filter: &str, update: &str, upsert| Write::Update { filter: document(filter), update: document(update), many: false, upsert };
    let updated = |matched, modified, upserted| Ok(StoreAnswer::Updated { matched, modified, upserted });
    assert_eq!(place.one(update(r#"{"_id":"x"}"#, r#"{"$inc":{"n":1}}"#, false)), updated(0, 0, None));
    let upsert = update(r#"{"_id":"x"}"#, r#"{"$inc":{"n":1},"$setOnInsert":{"new":true}}"#, true);
    assert_eq!(place.one(upsert.clone()), updated(0, 0, Some(Value::Text("x".into()))));
    assert_eq!(place.one(upsert), updated(1, 1, None));
    assert_eq!(place.find("{}", FindOptions::default()).unwrap(), [document(r#"{"_id":"x","n":2,"new":true}"#)]);
    assert_eq!(place.one(update("{}", r#"{"$set":{"n":2}}"#, false)), updated(1, 0, None));
    assert!(place.one(update("{}", r#"{"$set":{"_id":"y"}}"#, false)).is_err());
    assert!(place.one(update("{}", r#"{"n":2}"#, false)).is_err());
    let replace =
        |filter: &str, document_: &str, upsert| Write::Replace { filter: document(filter), document: document(document_), upsert };
    assert_eq!(place.one(replace(r#"{"n":2}"#, r#"{"m":1}"#, false)), updated(1, 1, None));
    assert_eq!(place.find("{}", FindOptions::default()).unwrap(), [document(r#"{"_id":"x","m":1}"#)]);
    assert_eq!(place.one(replace(r#"{"_id":7}"#, r#"{"m":2}"#, true)), updated(0, 0, Some(Value::Int(7))));
    assert_eq!(place.changes(0).unwrap().0.len(), 4);
    assert_eq!(place.one(Write::Drop), Ok(StoreAnswer::Done(true)));
    assert_eq!(place.ids("{}", &[]), [""; 0]);
    assert_eq!(place.one(Write::Drop), Ok(StoreAnswer::Done(false)));
}

#[test]
fn documents_go_when_their_time_is_over() {
    let mut place = place();
    let fields = vec![("at".to_owned(), Direction::Down)];
    place.one(Write::CreateIndex(IndexSpec { name: String::new(), fields, unique: false, expire_after: Some(10) })).unwrap();
    for (id, at) in [(1, r#"{"$date":1000}"#), (2, r#"{"$date":5000}"#), (3, "7"), (4, r#"[{"$date":1000},{"$date":99000}]"#), (5, "null")]
    {
        place.insert(&format!("{{\"_id\":{id},\"at\":{at}}}")).unwrap();
    }
    assert_eq!(place.writer.expire(10_999), Ok(0));
    assert_eq!(place.writer.expire(11_000), Ok(2));
    assert_eq!(place.ids("{}", &[]), ["2", "3", "5"]);
    assert_eq!(place.writer.expire(100_000), Ok(1));
    let changes = place.changes(5).unwrap().0;
    assert_eq!(changes, [(ChangeKind::Delete, "1".into()), (ChangeKind::Delete, "4".into()), (ChangeKind::Delete, "2".into())]);
}

#[test]
fn changes_are_kept_within_limits_and_one_who_comes_too_late_is_told() {
    let mut place = place_with(EmbeddedStore { changes: 3, ..EmbeddedStore::default() });
    for id in 1..=5 {
        place.insert(&format!("{{\"_id\":{id}}}")).unwrap();
    }
    assert_eq!(place.changes(1), Err(StoreError::TooOld));
    let (changes, number) = place.changes(2).unwrap();
    assert_eq!(changes.iter().map(|(_, id)| id.as_str()).collect::<Vec<_>>(), ["3", "4", "5"]);
    assert_eq!(number, 5);
    assert_eq!(place.changes(5).unwrap(), (vec![], 5));
    assert_eq!(place.changes(6), Err(StoreError::TooOld));
    place.writer = Writer::open(&place.settings).unwrap();
    place.insert(r#"{"_id":6}"#).unwrap();
    assert_eq!(place.changes(2), Err(StoreError::TooOld));
    assert_eq!(place.changes(5).unwrap().0, [(ChangeKind::Insert, "6".into())]);
}

#[test]
fn two_writers_see_what_the_other_one_did() {
    let mut place = place();
    let mut other = Writer::open(&place.settings).unwrap();
    place.insert(r#"{"_id":1,"a":1}"#).unwrap();
    let spec = IndexSpec { name: "a".into(), fields: vec![("a".into(), Direction::Up)], unique: true, expire_after: None };
    other.commit(&[("c".to_owned(), Write::CreateIndex(spec))]).unwrap().remove(0).unwrap();
    assert!(place.insert(r#"{"_id":2,"a":1}"#).is_err(), "the index is known");
    place.insert(r#"{"_id":2,"a":2}"#).unwrap();
    assert_eq!(place.ids(r#"{"a":2}"#, &[]), ["2"]);
}

#[test]
fn limits_are_said() {
    let options = EmbeddedStore {
        max_document: crate::units::HumanSize::kib(1),
        max_collections: 1,
        max_result: crate::units::HumanSize::kib(2),
        ..EmbeddedStore::default()
    };
    let mut place = place_with(options);
    assert!(matches!(place.insert(&format!("{{\"a\":\"{}\"}}", "x".repeat(2000))), Err(StoreError::Limit(_))));
    for _ in 0..5 {
        place.insert(&format!("{{\"a\":\"{}\"}}", "x".repeat(700))).unwrap();
    }
    assert!(matches!(place.find("{}", FindOptions::default()), Err(StoreError::Limit(_))));
    let sort = vec![("a".to_owned(), Direction::Up)];
    assert!(matches!(place.find("{}", FindOptions { sort: sort.clone(), ..FindOptions::default() }), Err(StoreError::Limit(_))));
    assert_eq!(place.find("{}", FindOptions { sort, limit: Some(1), ..FindOptions::default() }).unwrap().len(), 1);
    let other = place.writer.commit(&[("d".to_owned(), Write::Insert(vec![Document::new()]))]).unwrap().remove(0);
    assert_eq!(other, Err(StoreError::Limit("there are 1 collections already".into())));
    assert!(place.insert(r#"{"a.b":1}"#).is_err());
    assert!(place.insert(r#"{"a":{"$x":1,"b":2}}"#).is_err());
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("other.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    let settings = EmbeddedSettings { path: path.clone(), options: EmbeddedStore::default() };
    assert!(Writer::open(&settings).err().unwrap().to_string().contains("another program"));
    std::fs::write(&path, "no database at all, only some text that is long enough").unwrap();
    assert!(matches!(Writer::open(&settings), Err(StoreError::Unavailable(_))));
}

#[test]
fn an_index_is_used_where_it_helps() {
    let mut place = place();
    place.index(&[("room", Direction::Up), ("at", Direction::Down)], false).unwrap();
    for id in 0..20 {
        place.insert(&format!("{{\"_id\":{id},\"room\":\"r{}\",\"at\":{}}}", id % 2, id / 4)).unwrap();
    }
    let connection = file::open_reader(&place.settings.path).unwrap();
    let collection = catalog::Collection::load(&connection, "c").unwrap().unwrap();
    let plan_of = |filter: &str, sort: &[(&str, Direction)]| {
        let sort = sort.iter().map(|(path, direction)| ((*path).to_owned(), *direction)).collect();
        let (filter, sort) = (Filter::parse(&document(filter)).unwrap(), Sort::parse(&sort).unwrap());
        let plan = plan::plan(&collection, &filter, &sort);
        (plan.index.map(|(index, ranges)| (index.spec.name.clone(), ranges.len())), plan.ordered)
    };
    let name = |name: &str, ranges| Some((name.to_owned(), ranges));
    assert_eq!(plan_of("{}", &[]), (None, false));
    assert_eq!(plan_of(r#"{"_id":{"$in":[1,2,2]}}"#, &[]), (name("_id_", 2), false));
    assert_eq!(plan_of(r#"{"room":"r1"}"#, &[("at", Direction::Down)]), (name("room_1_at_-1", 1), true));
    assert_eq!(plan_of(r#"{"room":"r1","at":{"$lt":3}}"#, &[("at", Direction::Up)]), (name("room_1_at_-1", 1), true));
    assert_eq!(plan_of("{}", &[("_id", Direction::Down)]), (name("_id_", 1), true));
    assert_eq!(plan_of(r#"{"room":[1]}"#, &[]), (None, false));
    assert_eq!(place.ids(r#"{"room":"r1"}"#, &[("at", Direction::Down)])[..4], ["19", "17", "15", "13"]);
}

const PATHS: &[&str] = &["a", "b", "a.b", "b.0", "_id"];

/// Indexes to choose from; the question is whether answers are the same with them.
fn some_fields() -> impl Strategy<Value = Fields> {
    let direction = prop_oneof![Just(Direction::Up), Just(Direction::Down)];
    proptest::collection::vec((proptest::sample::select(PATHS), direction), 1..3)
        .prop_map(|fields| fields.into_iter().map(|(path, direction)| (path.to_owned(), direction)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// With any indexes, before and after updates, the answer is the one of a look at every document.
    #[test]
    fn indexes_never_change_an_answer(
        documents in proptest::collection::vec(any_document(), 1..30),
        indexes in proptest::collection::vec(some_fields(), 0..4),
        filters in proptest::collection::vec(any_filter(), 1..8),
        sort in proptest::option::of(some_fields()),
        (skip, limit, early) in (0usize..4, proptest::option::of(0usize..6), 0usize..30),
        removed in any_filter(),
    ) {
        let mut place = place();
        let mut kept: Vec<Document> = Vec::new();
        let specs = |indexes: &[Fields]| indexes.iter().map(|fields| Write::CreateIndex(
            IndexSpec { name: String::new(), fields: fields.clone(), unique: false, expire_after: None })).collect::<Vec<_>>();
        for (number, mut document) in documents.into_iter().enumerate() {
            if number == early {
                for write in specs(&indexes) { place.one(write).unwrap(); }
            }
            document.set_first("_id", Value::Int(number as i64));
            place.one(Write::Insert(vec![document.clone()])).unwrap();
            kept.push(document);
        }
        for write in specs(&indexes) { place.one(write).unwrap(); }
        let first = Filter::parse(&removed).unwrap();
        let update = document(r#"{"$set":{"b":1}}"#);
        place.one(Write::Update { filter: removed.clone(), update: update.clone(), many: true, upsert: false }).unwrap();
        let update = crate::store::update::Update::parse(&update).unwrap();
        for document in &mut kept {
            if first.matches(document) { update.apply(document, false).unwrap(); }
        }
        let gone = Write::Delete { filter: document(r#"{"_id":{"$in":[0,7]}}"#), many: true };
        place.one(gone).unwrap();
        kept.retain(|document| !matches!(document.get("_id"), Some(Value::Int(0 | 7))));
        let reader = Reader::new(&place.settings);
        for asked in filters {
            let filter = Filter::parse(&asked).unwrap();
            let mut wanted: Vec<Document> = kept.iter().filter(|document| filter.matches(document)).cloned().collect();
            let (again, order) = (reader.clone(), sort.clone());
            let whole = FindOptions { sort: order.clone().unwrap_or_default(), ..FindOptions::default() };
            let part = FindOptions { skip: skip as u64, limit: limit.map(|limit| limit as u64), ..whole.clone() };
            let (mut found, cut, count) = crate::reactor::run(async move {
                let found = again.find("c".to_owned(), asked.clone(), whole).await.unwrap();
                let cut = again.find("c".to_owned(), asked.clone(), part).await.unwrap();
                (found, cut, again.count("c".to_owned(), asked).await.unwrap())
            }).unwrap();
            prop_assert_eq!(count, wanted.len() as u64);
            if let Some(order) = order {
                let order = Sort::parse(&order).unwrap();
                if order.last() == Direction::Down { wanted.reverse(); }
                wanted.sort_by_key(|document| order.key(document));
                let wanted_cut: Vec<Document> = wanted.iter().skip(skip).take(limit.unwrap_or(usize::MAX)).cloned().collect();
                prop_assert_eq!(show(&cut), show(&wanted_cut));
            } else {
                let by_id = |document: &Document| crate::store::key::encode(document.get("_id").unwrap());
                found.sort_by_key(by_id);
                prop_assert_eq!(cut.len(), wanted.len().saturating_sub(skip).min(limit.unwrap_or(usize::MAX)));
            }
            prop_assert_eq!(show(&found), show(&wanted));
        }
    }
}

/// NaN is not equal to itself, its text is.
fn show(documents: &[Document]) -> Vec<String> {
    documents.iter().map(crate::store::text::write_document).collect()
}

#[test]
fn commits_are_shared_and_waited_for() {
    let place = place();
    let settings = place.settings.clone();
    crate::reactor::run(async move {
        let commits = Commits::new(&settings);
        let insert = |id: i64| crate::store::StoreCall::Write {
            collection: "c".to_owned(),
            write: Write::Insert(vec![document(&format!("{{\"_id\":{id}}}"))]),
        };
        let waiting = commits.submit(crate::store::StoreCall::Wait { after: 0 });
        let waiting = crate::reactor::spawn(waiting);
        let many: Vec<_> = (0..500).map(|id| commits.submit(insert(id))).collect();
        for (id, answer) in many.into_iter().enumerate() {
            assert_eq!(answer.await, Ok(StoreAnswer::Inserted(vec![Value::Int(id as i64)], None)));
        }
        let Ok(StoreAnswer::Changed(number)) = waiting.await else { panic!() };
        assert!(number >= 1);
        assert!(commits.submit(insert(3)).await.is_err());
        let reader = Reader::new(&settings);
        assert_eq!(reader.count("c".to_owned(), Document::new()).await, Ok(500));
    })
    .unwrap();
}
