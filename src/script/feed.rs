//! What comes by and by, given to a function of a script one after the other: subscriptions to events, news of other servers.

use std::rc::Rc;

use mlua::{Function, Lua, Table};

use super::context::{self, AppContext};
use super::step::StepKind;
use super::task;

/// Where it comes from.
pub(super) trait Feed {
    /// The next, as the function gets it; `None` when nothing comes any more.
    async fn next(&self, lua: &Lua) -> Option<mlua::Result<Table>>;

    /// Ends it.
    fn close(&self);
}

/// Calls a function with everything that comes, until it ends. A feed made while the application loads is the application's own and ends when newer
/// code takes over, which has its own; one made by a handler ends by itself.
///
/// # Errors
/// When the application has ended.
pub(super) fn call_with_each(lua: &Lua, app: &Rc<AppContext>, feed: impl Feed + 'static, function: Function) -> mlua::Result<()> {
    let vm = app.vm().ok_or_else(|| mlua::Error::runtime("the application has ended"))?;
    let (context, place, is_own) = (app.clone(), task::place(lua), app.handler().is_none());
    app.scope.spawn(async move {
        let reads = async {
            while let Some(next) = feed.next(vm.lua()).await {
                let called = match next {
                    Ok(table) => context::call(&vm, StepKind::Task, &place, &function, table).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = called {
                    context.report(&format!("subscription of {place}"), &context.fault(&error));
                }
            }
        };
        let retired = async {
            if is_own {
                context.until_retired().await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        futures_lite::future::or(reads, retired).await;
        feed.close();
    });
    Ok(())
}
