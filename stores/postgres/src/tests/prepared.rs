//! Statements with and without names.

use std::{sync::Arc, time::Duration};

use tokio_postgres::types::Type;

use crate::{connection::Connection, endpoint::Endpoint, tests::SERVER};

const DEADLINE: Duration = Duration::from_secs(20);

const NAMES: &str = "SELECT name FROM pg_prepared_statements WHERE $1 > 0";

#[tokio::test]
async fn a_statement_is_prepared_once_and_only_if_the_options_say_so() {
    for (prepares, count) in [(false, 0), (true, 1)] {
        let endpoint = Endpoint::parse(&SERVER.url("postgres"), None, DEADLINE).unwrap();
        let connection =
            Connection::open(&Arc::new(endpoint.with_prepares(prepares))).await.unwrap();
        for _ in 0..3 {
            let rows = connection.query("read", NAMES, &[(&1, Type::INT4)]).await.unwrap();
            assert_eq!(rows.len(), count);
        }
    }
}
