//! How the databases find what a directory, a transmitter and an auditor search for: by an index, however many there are.

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, Row as _};
use stepgate_core::id::{Id, PersonId};
use stepgate_core::ports::{EntryQuery, Sought};
use stepgate_testkit::{Postgres, SeededRandomness};

use crate::backend::{Backend, StoreUrl, connect_to_write};
use crate::evidence::Search;
use crate::{accounts, groups, logins, schema, signals};

/// A statement, and the column by whose index alone it may find what it looks for.
struct Lookup {
    what: &'static str,
    by: &'static str,
    sql: String,
    texts: Vec<String>,
    numbers: Vec<i64>,
}

fn lookup(what: &'static str, by: &'static str, (sql, value): (String, String), numbers: &[i64]) -> Lookup {
    Lookup { what, by, sql, texts: vec![value], numbers: numbers.to_vec() }
}

fn entries(what: &'static str, by: &'static str, query: EntryQuery) -> Lookup {
    let Search { sql, texts, numbers } = Search::of(EntryQuery { limit: 100, ..query });
    Lookup { what, by, sql, texts, numbers }
}

fn lookups(backend: Backend) -> Vec<Lookup> {
    let id = |number: u8| -> PersonId { Id::random(&SeededRandomness::new(number.into())) };
    let (person, group) = (id(1), Id::random(&SeededRandomness::new(2)));
    let mut all = Vec::new();
    for (what, by, which) in [
        ("userName", "login", Sought::Named("p17".to_owned())),
        ("externalId", "external_id", Sought::ExternalId("x17".to_owned())),
        ("members", "group_id", Sought::MemberOf(group)),
        ("one account", "id", Sought::With(person)),
    ] {
        all.push(lookup(what, by, accounts::part_of(backend, &which), &[100, 0]));
        all.push(lookup(what, by, accounts::count_of(&which), &[]));
    }
    for (what, by, which) in [
        ("displayName", "folded", Sought::Named("g17".to_owned())),
        ("a group's externalId", "external_id", Sought::ExternalId("x17".to_owned())),
        ("a person's groups", "person", Sought::With(person)),
        ("one group", "id", Sought::MemberOf(group)),
    ] {
        all.push(lookup(what, by, groups::part_of(&which), &[100, 0]));
    }
    all.push(lookup(
        "e-mail",
        "email_folded",
        (signals::PEOPLE_BY_EMAIL.to_owned(), "p17@example.com".to_owned()),
        &[10],
    ));
    all.push(lookup("issuer and subject", "identity", (logins::BY_IDENTITY.to_owned(), "i17".to_owned()), &[]));
    let of = EntryQuery::default;
    all.push(entries("a person's entries", "person", EntryQuery { person: Some(person), ..of() }));
    all.push(entries("an older page of them", "person", EntryQuery { person: Some(person), before: Some(17), ..of() }));
    all.push(entries("a newer page of them", "person", EntryQuery { person: Some(person), from: Some(17), ..of() }));
    all
}

async fn plan(connection: &mut AnyConnection, explain: &str, lookup: &Lookup) -> Vec<String> {
    let mut statement = sqlx::query(AssertSqlSafe(format!("{explain} {}", lookup.sql)));
    for text in &lookup.texts {
        statement = statement.bind(text);
    }
    for number in &lookup.numbers {
        statement = statement.bind(number);
    }
    let rows = statement.fetch_all(connection).await.unwrap_or_else(|error| panic!("{}: {error}", lookup.what));
    // SQLite has numbers of nodes before the words.
    rows.iter().map(|row| row.try_get::<String, _>(row.len() - 1).unwrap()).collect()
}

async fn empty(url: &StoreUrl) -> AnyConnection {
    let mut connection = connect_to_write(url).await.unwrap();
    schema::migrate(&mut connection, url.backend()).await.unwrap();
    connection
}

#[tokio::test]
async fn sqlite_finds_by_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = empty(&StoreUrl::sqlite(&folder.path().join("plans.db"))).await;
    for lookup in lookups(Backend::Sqlite) {
        let plan = plan(&mut connection, "EXPLAIN QUERY PLAN", &lookup).await;
        let searched = format!("({}=?", lookup.by);
        assert!(plan.iter().any(|line| line.contains(&searched)), "{}: {plan:#?}", lookup.what);
        // What a statement within has found is read as a whole; a table is not.
        let found_before = ["SCAN (", "SCAN sought", "SCAN theirs", "SCAN named"];
        let whole =
            |line: &&String| line.starts_with("SCAN ") && !found_before.iter().any(|known| line.starts_with(known));
        assert_eq!(plan.iter().find(whole), None, "{}: {plan:#?}", lookup.what);
    }
    let (part, value) = accounts::part_of(Backend::Sqlite, &Sought::All);
    let plan_of = async |connection: &mut AnyConnection, sql, numbers: &[i64]| {
        plan(connection, "EXPLAIN QUERY PLAN", &lookup("all", "", (sql, value.clone()), numbers)).await
    };
    let page = plan_of(&mut connection, part, &[100, 99_900]).await;
    assert_eq!(page.first().map(String::as_str), Some("SCAN p USING INDEX people_provisioned"), "{page:#?}");
    let count = plan_of(&mut connection, accounts::count_of(&Sought::All).0, &[]).await;
    assert_eq!(count, ["SCAN p USING COVERING INDEX people_provisioned"]);
}

/// PostgreSQL plans by how much is there: so many that reading a table as a whole does not pay.
const MANY: &str = "
    INSERT INTO people (id, login, name, email, email_folded, external_id, group_names, provisioned, directory_active,
        blocked, given_name, family_name, version, added_at, changed_at)
    SELECT 'p' || n, 'p' || n, '', 'p' || n || '@example.com', 'p' || n || '@example.com', 'x' || n, '[]', 1, 1, 0, '', '', 1, 1, 1
    FROM generate_series(1, 20000) AS n;
    INSERT INTO provisioned_groups (id, name, folded, external_id, version, added_at, changed_at)
    SELECT 'g' || n, 'g' || n, 'g' || n, 'x' || n, 1, 1, 1 FROM generate_series(1, 5000) AS n;
    INSERT INTO memberships (group_id, person)
    SELECT 'g' || 1 + (n * 7 + k * 13) % 5000, 'p' || n FROM generate_series(1, 20000) AS n, generate_series(1, 3) AS k;
    INSERT INTO factors (id, person, kind, name, enrolled_at, ordinal, identity, sealed)
    SELECT 'f' || n, 'p' || n, 'idp', '', 1, 1, 'i' || n, '' FROM generate_series(1, 20000) AS n;
    INSERT INTO entries (number, id, at, kind, person, leaf)
    SELECT n, 'e' || n, n, 'kind' || n % 10, 'p' || n % 20000, '' FROM generate_series(0, 99999) AS n;
    INSERT INTO entry_people (person, number) SELECT 'p' || n % 20000, n FROM generate_series(0, 99999) AS n;
    INSERT INTO details (number, salt, body) SELECT n, '', '{}' FROM generate_series(0, 99999) AS n;
    ANALYZE;";

#[tokio::test]
async fn postgresql_finds_by_an_index() {
    let url = tokio::task::spawn_blocking(|| Postgres::shared().fresh_database()).await.unwrap();
    let mut connection = empty(&StoreUrl::parse(&url).unwrap()).await;
    connection.execute(sqlx::raw_sql(MANY)).await.unwrap();
    for lookup in lookups(Backend::Postgres) {
        let plan = plan(&mut connection, "EXPLAIN", &lookup).await;
        let searched = format!("{} = ", lookup.by);
        let by_it = |line: &String| line.contains("Index Cond:") && line.contains(&searched);
        assert!(plan.iter().any(by_it), "{}: {plan:#?}", lookup.what);
        assert!(!plan.iter().any(|line| line.contains("Seq Scan")), "{}: {plan:#?}", lookup.what);
        // An index without a condition is a table that is read as a whole, in order.
        let many = |what: &str| plan.iter().filter(|line| line.contains(what)).count();
        assert!(many("Index Cond:") >= many(" Scan using "), "{}: {plan:#?}", lookup.what);
        if lookup.what.ends_with("entries") || lookup.what.ends_with("of them") {
            // Of what is a person's and of what names them, before both become one.
            assert_eq!(many("Limit "), 3, "{}: {plan:#?}", lookup.what);
        }
    }
    connection.close().await.unwrap();
}
