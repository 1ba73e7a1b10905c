//! Who a shard database is. Written when it is first used, compared at every start and after every
//! outage, so that a wrong URL is an error and never a scattered write.

use crate::routing::{Routing, Scheme, ShardId};

/// The version of the tables that this program makes and understands.
pub const SCHEMA_VERSION: i32 = 3;

/// What a shard database says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Drawn once for all shards that belong together.
    pub deployment: String,
    /// Which shard this is.
    pub shard_id: i32,
    /// How many there are.
    pub num_shards: i32,
    /// The rule from key to shard.
    pub routing: String,
    /// The version of the tables.
    pub schema_version: i32,
}

impl Identity {
    /// The identity that `shard` has in this deployment.
    pub fn of(deployment: &str, shard: ShardId, routing: Routing) -> Self {
        Self {
            deployment: deployment.to_owned(),
            shard_id: shard.index() as i32,
            num_shards: i32::from(routing.num_shards),
            routing: routing.scheme.name().to_owned(),
            schema_version: SCHEMA_VERSION,
        }
    }
}

/// A new deployment's id: 64 random bits. It is part of every entry's name in Redis, so it is short.
pub fn draw_deployment() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// A database at hand: the variable that names it, its place in the configuration, and what it
/// says of itself (`None` if it is blank).
#[derive(Debug)]
pub struct Candidate<'a> {
    /// `SHARD_1_URL`.
    pub variable: &'a str,
    /// Which shard the configuration takes it for.
    pub shard: ShardId,
    /// What it says.
    pub identity: Option<Identity>,
}

/// Something wrong with one of the databases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The shard that it was noticed at.
    pub shard: ShardId,
    /// The variable to look at.
    pub variable: String,
    /// What is wrong, and what to do.
    pub problem: String,
}

/// Compares what the databases say with the configuration and with each other. `deployment` is
/// the one they have to belong to, if that is known already.
///
/// Returns the deployment that they belong to; `None` if all are blank.
///
/// # Errors
///
/// Everything that does not fit, one entry each.
pub fn reconcile(
    candidates: &[Candidate<'_>],
    routing: Routing,
    deployment: Option<&str>,
) -> Result<Option<String>, Vec<Mismatch>> {
    let named = || {
        candidates
            .iter()
            .filter_map(|c| c.identity.as_ref().map(|i| (c, i)))
    };
    let belongs_to = deployment
        .map(str::to_owned)
        .or_else(|| most_frequent(named().map(|(_, identity)| identity.deployment.as_str())));
    let mut mismatches = Vec::new();
    for (candidate, identity) in named() {
        let problem = problem_with(candidate, identity, routing, belongs_to.as_deref());
        if let Some((variable, problem)) = problem {
            mismatches.push(Mismatch {
                shard: candidate.shard,
                variable,
                problem,
            });
        }
    }
    if mismatches.is_empty() {
        Ok(belongs_to)
    } else {
        Err(mismatches)
    }
}

fn problem_with(
    candidate: &Candidate<'_>,
    identity: &Identity,
    routing: Routing,
    deployment: Option<&str>,
) -> Option<(String, String)> {
    let Candidate {
        variable, shard, ..
    } = candidate;
    let at_variable = |problem: String| Some(((*variable).to_owned(), problem));
    if identity.schema_version > SCHEMA_VERSION {
        return at_variable(format!(
            "the database's tables have version {}, this program knows {SCHEMA_VERSION}; run the newer release that made them",
            identity.schema_version
        ));
    }
    if identity.routing != routing.scheme.name() {
        return Some(wrong_scheme(variable, identity, routing.scheme));
    }
    let num_shards = routing.num_shards;
    if Some(identity.deployment.as_str()) != deployment {
        return at_variable(format!(
            "the database belongs to another deployment ({}) than the other shards ({}); correct the URL",
            identity.deployment,
            deployment.unwrap_or("unknown"),
        ));
    }
    if identity.num_shards != i32::from(num_shards) {
        return Some((
            "NUM_SHARDS".to_owned(),
            format!(
                "is {num_shards}, but the database of {variable} is one of {} shards; with another number keys would be looked for on the wrong shard. Configure all {} shards in their order",
                identity.num_shards, identity.num_shards
            ),
        ));
    }
    if identity.shard_id != shard.index() as i32 {
        return at_variable(format!(
            "names the database of shard_{}, not of {shard}; the URLs are in the wrong order, SHARD_{}_URL is the one for it",
            identity.shard_id, identity.shard_id
        ));
    }
    None
}

/// With another rule keys would be looked for on the wrong shard.
fn wrong_scheme(variable: &str, identity: &Identity, scheme: Scheme) -> (String, String) {
    let of_the_database = [(Scheme::WholeKey, "off"), (Scheme::HashTags, "on")]
        .into_iter()
        .find(|(known, _)| known.name() == identity.routing);
    match of_the_database {
        Some((_, setting)) => (
            "HASH_TAGS".to_owned(),
            format!(
                "has to be `{setting}`, as it was when the database of {variable} was filled; otherwise keys would be looked for on the wrong shard"
            ),
        ),
        None => (
            variable.to_owned(),
            format!(
                "the database was filled with the routing scheme '{}', this program routes by '{}'",
                identity.routing,
                scheme.name()
            ),
        ),
    }
}

fn most_frequent<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for name in names {
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    // Of equals the first: the shards are in the order of their numbers.
    let most = counts.iter().map(|(_, count)| *count).max()?;
    counts
        .iter()
        .find(|(_, count)| *count == most)
        .map(|(name, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VARIABLES: [&str; 3] = ["SHARD_0_URL", "SHARD_1_URL", "SHARD_2_URL"];

    fn identity(deployment: &str, shard: u16, num_shards: u16) -> Option<Identity> {
        let routing = Routing {
            num_shards,
            scheme: Scheme::WholeKey,
        };
        Some(Identity::of(deployment, ShardId::new(shard), routing))
    }

    fn check(found: [Option<Identity>; 3]) -> Result<Option<String>, Vec<String>> {
        let candidates: Vec<_> = found
            .into_iter()
            .zip(VARIABLES)
            .zip(0..)
            .map(|((identity, variable), shard)| Candidate {
                variable,
                shard: ShardId::new(shard),
                identity,
            })
            .collect();
        let routing = Routing {
            num_shards: 3,
            scheme: Scheme::WholeKey,
        };
        reconcile(&candidates, routing, None).map_err(|found| {
            found
                .into_iter()
                .map(|m| format!("{}: {}", m.variable, m.problem))
                .collect()
        })
    }

    #[test]
    fn shards_that_belong_together_fit() {
        let found = [
            identity("a", 0, 3),
            identity("a", 1, 3),
            identity("a", 2, 3),
        ];
        assert_eq!(check(found), Ok(Some("a".into())));
    }

    #[test]
    fn blank_shards_join_those_that_are_not() {
        assert_eq!(check([None, None, None]), Ok(None));
        assert_eq!(
            check([None, identity("a", 1, 3), None]),
            Ok(Some("a".into()))
        );
    }

    #[test]
    fn swapped_shards_are_both_named() {
        let found = [
            identity("a", 1, 3),
            identity("a", 0, 3),
            identity("a", 2, 3),
        ];
        let mistakes = check(found).unwrap_err();
        assert_eq!(mistakes.len(), 2);
        assert!(mistakes[0].starts_with("SHARD_0_URL: names the database of shard_1"));
        assert!(mistakes[1].starts_with("SHARD_1_URL: names the database of shard_0"));
    }

    #[test]
    fn another_number_of_shards_is_told_at_its_variable() {
        let mistakes = check([identity("a", 0, 4), None, None]).unwrap_err();
        assert!(
            mistakes[0]
                .starts_with("NUM_SHARDS: is 3, but the database of SHARD_0_URL is one of 4")
        );
    }

    #[test]
    fn the_odd_one_out_is_of_another_deployment() {
        let found = [
            identity("b", 0, 3),
            identity("a", 1, 3),
            identity("a", 2, 3),
        ];
        let mistakes = check(found).unwrap_err();
        assert_eq!(mistakes.len(), 1);
        assert!(
            mistakes[0].starts_with("SHARD_0_URL: the database belongs to another deployment (b)")
        );
    }

    #[test]
    fn tables_of_an_older_release_are_taken_over() {
        let mut older = identity("a", 0, 3);
        if let Some(older) = older.as_mut() {
            older.schema_version = 1;
        }
        let found = [older, identity("a", 1, 3), None];
        assert_eq!(check(found), Ok(Some("a".into())));
    }

    #[test]
    fn tables_of_a_newer_release_and_another_routing_are_refused() {
        let mut newer = identity("a", 0, 3);
        if let Some(newer) = newer.as_mut() {
            newer.schema_version = SCHEMA_VERSION + 1;
        }
        let mut other = identity("a", 1, 3);
        if let Some(other) = other.as_mut() {
            other.routing = "crc16".into();
        }
        let mistakes = check([newer, other, None]).unwrap_err();
        assert!(mistakes[0].contains(&format!("version {}", SCHEMA_VERSION + 1)));
        assert!(mistakes[1].contains("'crc16'"));
    }

    #[test]
    fn a_database_filled_with_hash_tags_needs_them() {
        let mut tagged = identity("a", 0, 3);
        if let Some(tagged) = tagged.as_mut() {
            tagged.routing = Scheme::HashTags.name().into();
        }
        let mistakes = check([tagged, None, None]).unwrap_err();
        assert!(mistakes[0].starts_with("HASH_TAGS: has to be `on`"));
    }
}
