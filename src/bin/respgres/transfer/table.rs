//! A source that is a table of a PostgreSQL database, with a column for keys and one for values.
//!
//! One query reads it, in the order of the keys, so that it is of one moment, and a later one can go on behind the last
//! key. The server sorts, unless there is an index on the key column in that order (`COLLATE "C"` for text).

use std::pin::Pin;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use respgres::config::SecretUrl;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, RowStream};

use super::connect::{self, described};
use super::page::{Page, Position};
use super::record::Record;
use crate::failure::{Failure, failure, refused};

/// Which table, and which of its columns.
#[derive(Debug, Clone)]
pub struct Columns {
    pub table: String,
    pub key: String,
    pub value: String,
    pub expires: Option<String>,
    /// A condition in SQL.
    pub condition: Option<String>,
}

impl Columns {
    /// The same with names as SQL takes them.
    fn quoted(&self) -> Self {
        Self {
            table: qualified(&self.table),
            key: quoted(&self.key),
            value: quoted(&self.value),
            expires: self.expires.as_deref().map(quoted),
            condition: self.condition.clone(),
        }
    }

    /// Where the rows are.
    fn origin(&self) -> String {
        let condition = self.condition.as_deref().unwrap_or("true");
        format!("FROM {} WHERE ({condition})", self.table)
    }
}

pub struct Table {
    client: Client,
    label: String,
    /// As SQL takes them.
    columns: Columns,
    key_is_bytes: bool,
    value_is_bytes: bool,
    rows: Option<Pin<Box<RowStream>>>,
    is_over: bool,
    from: Option<Vec<u8>>,
    last_key: Option<Vec<u8>>,
}

impl Table {
    pub async fn open(url: &str, columns: Columns) -> Result<Self, Failure> {
        let label = format!("{} table {}", SecretUrl::new(url), columns.table);
        let client = connect::postgres(url, &label).await?;
        let mut table = Self {
            client,
            label,
            columns: columns.quoted(),
            key_is_bytes: false,
            value_is_bytes: false,
            rows: None,
            is_over: false,
            from: None,
            last_key: None,
        };
        table.look().await?;
        Ok(table)
    }

    /// How it is called, without a password.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Looks at the columns' types.
    async fn look(&mut self) -> Result<(), Failure> {
        let Columns { key, value, .. } = &self.columns;
        let expires = self.columns.expires.as_deref().unwrap_or("NULL");
        let sql = format!("SELECT {key}, {value}, {expires} {}", self.columns.origin());
        let statement = self.client.prepare(&sql).await.map_err(|error| {
            refused(format!(
                "{}: {}; correct --table, --key-column, --value-column, --expires-column or --where (names are taken \
                 as they are, upper and lower case)",
                self.label,
                described(&error)
            ))
        })?;
        let types: Vec<&Type> = statement
            .columns()
            .iter()
            .map(tokio_postgres::Column::type_)
            .collect();
        self.key_is_bytes = *types[0] == Type::BYTEA;
        self.value_is_bytes = *types[1] == Type::BYTEA;
        if let Some(column) = &self.columns.expires
            && ![Type::TIMESTAMPTZ, Type::TIMESTAMP].contains(types[2])
        {
            return Err(refused(format!(
                "{}: the column {column} is of type {}; --expires-column takes a timestamptz (or a timestamp, in UTC)",
                self.label, types[2]
            )));
        }
        Ok(())
    }

    fn sql(&self) -> String {
        let Columns { key, value, .. } = &self.columns;
        let order = match self.key_is_bytes {
            true => key.clone(),
            false => format!("({key})::text COLLATE \"C\""),
        };
        let bytes = |column: &str, is_bytes| match is_bytes {
            true => column.to_owned(),
            false => format!("convert_to(({column})::text, 'UTF8')"),
        };
        let expires = self.columns.expires.as_deref().map_or_else(
            || "NULL::bigint".to_owned(),
            |at| format!("CASE WHEN isfinite({at}) THEN (extract(epoch FROM {at}) * 1000)::bigint WHEN {at} < now() THEN 0 END"),
        );
        let mut sql = format!(
            "SELECT {}, {}, {expires} {}",
            bytes(key, self.key_is_bytes),
            bytes(value, self.value_is_bytes),
            self.columns.origin()
        );
        if self.from.is_some() {
            // Not only greater: rows may have the same key.
            let from = match self.key_is_bytes {
                true => "$1::bytea",
                false => "convert_from($1::bytea, 'UTF8')",
            };
            sql.push_str(&format!(" AND {order} >= {from}"));
        }
        format!("{sql} ORDER BY {order}")
    }

    /// Rows, as the statistics have it.
    pub async fn expected(&self) -> Option<u64> {
        if self.columns.condition.is_some() {
            return None;
        }
        let sql = "SELECT reltuples::bigint FROM pg_class WHERE oid = $1::text::regclass";
        let row = self
            .client
            .query_one(sql, &[&self.columns.table])
            .await
            .ok()?;
        u64::try_from(row.try_get::<_, i64>(0).ok()?)
            .ok()
            .filter(|rows| *rows > 0)
    }

    /// Goes on at `position`, or from the beginning.
    pub fn rewind(&mut self, position: Option<&Position>) -> bool {
        self.rows = None;
        self.is_over = false;
        self.last_key = None;
        self.from = match position {
            Some(Position::Key { base64 }) => STANDARD.decode(base64).ok(),
            _ => None,
        };
        position.is_none() || self.from.is_some()
    }

    /// The next page; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Page>, Failure> {
        if self.is_over {
            return Ok(None);
        }
        let label = self.label.clone();
        let broken = |error: tokio_postgres::Error| {
            failure(format!(
                "{label}: {}; run the same again: it goes on where it stopped",
                described(&error)
            ))
        };
        let rows = match &mut self.rows {
            Some(rows) => rows,
            None => {
                let sql = self.sql();
                let parameters: Vec<&(dyn ToSql + Sync)> = self
                    .from
                    .iter()
                    .map(|from| from as &(dyn ToSql + Sync))
                    .collect();
                let parameters = parameters
                    .into_iter()
                    .map(|parameter| parameter as &dyn ToSql);
                let rows = self.client.query_raw(&sql, parameters).await;
                self.rows.insert(Box::pin(rows.map_err(&broken)?))
            }
        };
        let mut page = Page::default();
        let mut bytes = 0;
        loop {
            let Some(row) = rows.next().await else {
                self.is_over = true;
                break;
            };
            let row = row.map_err(&broken)?;
            page.amount += 1;
            let key: Option<Vec<u8>> = row.try_get(0).map_err(&broken)?;
            let value: Option<Vec<u8>> = row.try_get(1).map_err(&broken)?;
            let expires_at: Option<i64> = row.try_get(2).map_err(&broken)?;
            let (Some(key), Some(value)) = (key, value) else {
                page.nulls += 1;
                continue;
            };
            if self.last_key.as_ref() == Some(&key) {
                page.duplicates += 1;
            }
            self.last_key = Some(key.clone());
            let record = Record {
                key,
                value,
                expires_at: expires_at.map(|at| u64::try_from(at).unwrap_or(0)),
            };
            bytes += record.size();
            page.records.push(record);
            if page.records.len() >= super::page::PAGE_KEYS || bytes >= super::page::PAGE_BYTES {
                break;
            }
        }
        page.position = self.last_key.as_ref().map(|key| Position::Key {
            base64: STANDARD.encode(key),
        });
        Ok((page.amount > 0).then_some(page))
    }
}

/// A name as SQL takes it, whatever is in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `schema.table`, each quoted.
fn qualified(table: &str) -> String {
    let parts: Vec<String> = table.split('.').map(quoted).collect();
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        assert_eq!(quoted("a\"; drop"), "\"a\"\"; drop\"");
        assert_eq!(qualified("app.Sessions"), "\"app\".\"Sessions\"");
    }
}
