//! The kinds of applications that are written in Rust: what `Native(kind: …)` in the configuration can name.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::{App, Handler, StartError};

/// An application on its way.
type Starting = Pin<Box<dyn Future<Output = Result<Rc<dyn Handler>, StartError>>>>;

/// Makes an application from its `config`.
type Constructor = fn(Value) -> Starting;

static KINDS: Mutex<BTreeMap<&'static str, Constructor>> = Mutex::new(BTreeMap::new());

/// Registers an application under the name of its kind. Call it before [`crate::main`]; a second one of the same name takes its place.
pub fn register<A: App>(kind: &'static str) {
    KINDS.lock().unwrap_or_else(PoisonError::into_inner).insert(kind, construct::<A>);
}

fn construct<A: App>(config: Value) -> Starting {
    Box::pin(async move {
        // An application without options may leave `config` out.
        let config = if config == Value::Null { Value::Object(serde_json::Map::new()) } else { config };
        let config = serde_json::from_value(config).map_err(|error| StartError(format!("its config: {error}")))?;
        let app = A::start(config).await?;
        Ok(Rc::new(app) as Rc<dyn Handler>)
    })
}

/// The kinds there are, in order.
#[must_use]
pub fn kinds() -> Vec<&'static str> {
    KINDS.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
}

/// Starts an application of a registered kind.
///
/// # Errors
/// No such kind, a `config` that the application does not understand, or whatever keeps it from starting.
pub async fn start(kind: &str, config: Value) -> Result<Rc<dyn Handler>, StartError> {
    let constructor = KINDS.lock().unwrap_or_else(PoisonError::into_inner).get(kind).copied();
    match constructor {
        Some(construct) => construct(config).await,
        None => Err(StartError(format!("there is no application kind `{kind}` in this binary"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Request, Response};

    struct Sized;

    #[derive(serde::Deserialize)]
    struct Config {
        size: u32,
    }

    impl App for Sized {
        type Config = Config;

        async fn start(config: Config) -> Result<Self, StartError> {
            if config.size == 0 { Err(StartError("size is 0".into())) } else { Ok(Self) }
        }

        async fn request(self: Rc<Self>, _: Request) -> Response {
            Response::text(200, "ok")
        }
    }

    #[test]
    fn a_registered_kind_starts_with_its_config() {
        register::<Sized>("sized");
        assert!(kinds().contains(&"sized"));
        let start = |kind: &'static str, config| crate::reactor::run(async move { start(kind, config).await.map(|_| ()) }).unwrap();
        assert_eq!(start("sized", serde_json::json!({"size": 1})), Ok(()));
        assert_eq!(start("sized", serde_json::json!({"size": 0})), Err(StartError("size is 0".into())));
        assert!(start("sized", Value::Null).unwrap_err().0.contains("missing field `size`"));
        assert!(start("other", Value::Null).unwrap_err().0.contains("`other`"));
    }
}
